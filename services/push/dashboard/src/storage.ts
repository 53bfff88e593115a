/** The browser's storage; where it may not be used, one that forgets. */
export function storageOf(kind: "localStorage" | "sessionStorage"): Pick<Storage, "getItem" | "setItem"> {
  try {
    return window[kind];
  } catch {
    return { getItem: () => null, setItem: () => undefined };
  }
}
