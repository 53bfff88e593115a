// Generated from libs/common/src/common/contracts/windows.py by `make schemas`.
export const WINDOWS = [
  { label: "1 s", ns: 1000000000 },
  { label: "1 min", ns: 60000000000 },
] as const;
