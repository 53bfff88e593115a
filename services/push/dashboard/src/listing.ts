// Sorting and filtering of the blotters.

export type Value = string | number | bigint;

export interface Sorting {
  column: string;
  down: boolean;
}

/** The next sorting after a press on a column's head: down, up, and back to the blotter's own order. */
export function pressedHead(sorting: Sorting | undefined, column: string): Sorting | undefined {
  if (sorting?.column !== column) return { column, down: true };
  return sorting.down ? { column, down: false } : undefined;
}

/** The rows by the value of one column; equal ones stay in the order given. */
export function sorted<T>(rows: readonly T[], value: (row: T) => Value, down: boolean): T[] {
  const sign = down ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [one, other] = [value(a), value(b)];
    return one < other ? -sign : one > other ? sign : 0;
  });
}

/** Whether every word of the filter begins or lies in one of the texts, in upper or lower case. */
export function matches(filter: string, texts: readonly string[]): boolean {
  const text = texts.join(" ").toLowerCase();
  return filter.toLowerCase().split(/\s+/).every((word) => text.includes(word));
}
