/** Rows in the order they are shown in already, new ones last: what a pointer aims at does not move under it. */
export function steady<T>(rows: readonly T[], shown: readonly string[], keyOf: (row: T) => string): readonly T[] {
  const place = new Map(shown.map((key, index) => [key, index]));
  return rows
    .map((row, index) => ({ row, at: place.get(keyOf(row)) ?? shown.length + index }))
    .sort((a, b) => a.at - b.at)
    .map(({ row }) => row);
}
