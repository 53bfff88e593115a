import { describe, expect, it } from "vitest";

import { parseNumber, rulesOf, typable, usableLocale } from "./number_field";

const price = (typed: string, locale = "en-US") => parseNumber(typed, rulesOf(locale, "price", 4));
const qty = (typed: string, locale = "en-US") => parseNumber(typed, rulesOf(locale, "quantity", 0));

describe("a price", () => {
  it.each([
    ["47.40", "en-US", 474_000n],
    ["47,40", "en-US", 474_000n],
    ["47,40", "de-DE", 474_000n],
    ["47.40", "de-DE", 474_000n],
    ["47,4", "de-DE", 474_000n],
    ["8,03", "de-DE", 80_300n],
    ["1.234,56", "de-DE", 12_345_600n],
    ["1,234.56", "en-US", 12_345_600n],
    ["1 234,56", "fr-FR", 12_345_600n],
    ["1\u202f234,56", "fr-FR", 12_345_600n],
    ["1’234.56", "de-CH", 12_345_600n],
    ["1,234,567", "en-US", 12_345_670_000n],
    ["12,34,567.5", "en-IN", 12_345_675_000n],
    ["0.123", "en-US", 1_230n],
    ["0,123", "de-DE", 1_230n],
    ["0.0001", "en-US", 1n],
    [".5", "en-US", 5_000n],
    [" 585 ", "en-US", 5_850_000n],
    ["4592.0000", "de-DE", 45_920_000n],
  ])("%s in %s", (typed, locale, value) => expect(price(typed, locale)).toEqual({ value }));

  it.each(["en-US", "de-DE", "fr-FR", "sv-SE", "de-CH", "en-IN", "pt-BR", "ja-JP", "ar-EG", "hi-IN"])(
    "as the language of %s itself writes it",
    (locale) => {
      for (const value of [12.5, 1234.56, 987_654.25, 0.5]) {
        const written = new Intl.NumberFormat(locale, { numberingSystem: "latn", minimumFractionDigits: 2 }).format(value);
        expect(price(written.replace(/[\u061c\u200e\u200f]/g, ""), locale)).toEqual({ value: BigInt(Math.round(value * 10_000)) });
      }
    },
  );

  it.each([
    "", "1e2", "1E2", "1e-2", "0x64", "4 7,1", "47.1.2", "47,1,2", "-5", "+5", "−5", "47..4", "1.2.3,4", "1,23.4.5", "abc", "47€", "$47",
    "Infinity", "NaN", "47,", ".", "1_000", "١٢", "１２", "1.00000", "0", "0.0000", "1,234.567,8", "10 0", "1 2", "1'23",
    "922337203685477.5808", "99999999999999999999", "1/2", "1;2", "1\u200b2", "007 7",
  ])("refuses %j with a reason", (typed) => {
    for (const locale of ["en-US", "de-DE", "fr-FR", "de-CH"]) expect(price(typed, locale).refusal).toMatch(/\w/);
  });

  it.each(["1,234", "1.234", "12.345", "123,456"])("refuses %s, which two people read a thousandfold apart", (typed) => {
    for (const locale of ["en-US", "de-DE"]) expect(price(typed, locale).refusal).toContain("Ambiguous");
  });

  it("offers spellings for an ambiguous one that are then understood", () => {
    for (const locale of ["en-US", "de-DE"]) {
      const offered = price("1.234", locale).refusal?.match(/Write (\S+) or (\S+)$/);
      expect(price(offered?.[1] ?? "", locale)).toEqual({ value: 12_340_000n });
      expect(price(offered?.[2] ?? "", locale)).toEqual({ value: 12_340n });
    }
  });

  it("is exact to the last digit of 64 bits", () => {
    expect(price("922337203685477.5807")).toEqual({ value: 2n ** 63n - 1n });
    expect(price("900719925474.0993")).toEqual({ value: 2n ** 53n + 1n });
  });
});

describe("a quantity", () => {
  it.each([
    ["1500", "en-US", 1_500n],
    ["1,500", "en-US", 1_500n],
    ["1.500", "de-DE", 1_500n],
    ["1 000", "de-DE", 1_000n],
    ["1.500.000", "de-DE", 1_500_000n],
    ["9223372036854775807", "en-US", 2n ** 63n - 1n],
  ])("%s in %s", (typed, locale, value) => expect(qty(typed, locale)).toEqual({ value }));

  it.each([
    ["1.5", "en-US"],
    ["1,5", "de-DE"],
    ["1.500", "en-US"],
    ["1,500", "de-DE"],
    ["100.00", "en-US"],
    ["1k", "en-US"],
    ["1e3", "en-US"],
    ["0", "en-US"],
    ["9223372036854775808", "en-US"],
  ])("refuses %s in %s", (typed, locale) => expect(qty(typed, locale).refusal).toMatch(/\w/));
});

it("takes the first language that numbers can be written in", () => {
  expect(usableLocale(["en-US@posix", "C", "de-DE", "fr-FR"])).toBe("de-DE");
  expect(usableLocale(["en-US@posix"])).toBe("en-US");
  expect(usableLocale([])).toBe("en-US");
});

it("writes a value so that every language reads it back", () => {
  for (const locale of ["en-US", "de-DE", "fr-FR", "de-CH"]) {
    for (const value of [1n, 5_000n, 12_300n, 12_345n, 12_340_000n, 474_000n, 2n ** 63n - 1n]) {
      expect(price(typable(value, 4, 2), locale)).toEqual({ value });
    }
    for (const value of [1n, 1_500n, 1_500_000n]) expect(qty(typable(value, 0), locale)).toEqual({ value });
  }
  expect(typable(474_000n, 4, 2)).toBe("47.40");
  expect(typable(12_345n, 4, 2)).toBe("1.2345");
});
