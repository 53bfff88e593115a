import { expect, it } from "vitest";

import { csv } from "./csv";

it("quotes what needs it, keeps every digit, and hands a spreadsheet no formula", () => {
  const text = csv(["id", "qty", "text"], [["A.1", 2n ** 63n - 1n, 'said "no", then\nleft'], ["A.2", -5, "=HYPERLINK(1)"]]);
  expect(text).toBe('\ufeffid,qty,text\r\nA.1,9223372036854775807,"said ""no"", then\nleft"\r\nA.2,-5,\'=HYPERLINK(1)\r\n');
});
