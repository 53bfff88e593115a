interface Windowed {
  window_start_ns: number;
}

/** Index of the bar whose window holds a moment, else of the last one before it; 0 where all are later, -1 of no bars. */
export function indexAt(bars: readonly Windowed[], ns: number): number {
  let [low, high] = [0, bars.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((bars[middle]?.window_start_ns ?? 0) <= ns) low = middle + 1;
    else high = middle;
  }
  return bars.length ? Math.max(0, low - 1) : -1;
}
