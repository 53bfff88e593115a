// Generated from libs/common/src/common/contracts/windows.py by `make schemas`.
export const WINDOWS = [
  { label: "1 s", ns: 1000000000 },
  { label: "1 min", ns: 60000000000 },
  { label: "5 min", ns: 300000000000 },
  { label: "1 h", ns: 3600000000000 },
  { label: "1 d", ns: 86400000000000 },
] as const;
