// What a person typed as a number, by the rules of their language: one integer, or the reason why it is none.

export interface NumberRules {
  /** Digits after the decimal separator that the field's unit has; the value is an integer in that unit. */
  decimals: number;
  /** The field's name in a sentence: "price". */
  name: string;
  group: string;
  decimal: string;
  locale: string;
}

export type Parsed = { value: bigint; refusal?: never } | { value?: never; refusal: string };

const INT64_MAX = 2n ** 63n - 1n;
const SPACES = /[\u0020\u00a0\u2009\u202f]/g;
const APOSTROPHES = /['\u2019]/g;

/** The first of the languages that the browser can write numbers in; systems name some that it cannot. */
export function usableLocale(languages: readonly string[]): string {
  const usable = languages.find((one) => {
    try {
      return Intl.NumberFormat.supportedLocalesOf(one).length > 0;
    } catch {
      return false;
    }
  });
  return usable ?? "en-US";
}

/** The separators of a language, as the browser writes its numbers. */
export function rulesOf(locale: string, name: string, decimals: number): NumberRules {
  const parts = new Intl.NumberFormat(locale, { useGrouping: true, numberingSystem: "latn" }).formatToParts(-12_345_678.9);
  const of = (type: string): string => parts.find((part) => part.type === type)?.value ?? "";
  return { decimals, name, locale, group: of("group"), decimal: of("decimal") || "." };
}

/**
 * The integer that the text stands for, in units of 10^-decimals.
 *
 * A point or comma that comes with exactly three digits behind it may group thousands or part decimals. In a field of whole
 * numbers the language decides; in one with decimals it is refused, because the two readings lie a thousandfold apart.
 */
export function parseNumber(typed: string, rules: NumberRules): Parsed {
  const text = typed.trim();
  if (!text) return { refusal: `Enter a ${rules.name}` };
  const odd = oddity(text);
  if (odd) return { refusal: odd };
  const plain = text.replace(SPACES, " ").replace(APOSTROPHES, "'");
  const split = separate(plain, rules);
  if ("refusal" in split) return split;
  return inUnits(split.whole, split.fraction, rules);
}

/** What no number field takes, told apart so that the reason helps. */
function oddity(text: string): string | undefined {
  if (/^[+\-\u2212]/.test(text)) return "A number without a sign";
  if (/\d\s*e\s*[+-]?\d/i.test(text) && !/^0x/i.test(text)) return "Write all digits; powers of ten are not read";
  if (!/^[\d.,'\u2019\u0020\u00a0\u2009\u202f]+$/.test(text)) return "Only digits 0 to 9 and separators";
  if (!/\d/.test(text)) return "Not a number";
  return undefined;
}

interface Split {
  whole: string;
  fraction: string;
}

/** The digits before and after the decimal separator. */
function separate(text: string, rules: NumberRules): Split | { refusal: string } {
  const marks = [...text].filter((one) => one < "0" || one > "9");
  const last = marks.at(-1);
  if (last === undefined) return { whole: text, fraction: "" };
  const kinds = new Set(marks);
  if (kinds.size > 2) return { refusal: "Separators that do not fit together" };
  if (last === " " || last === "'") return kinds.size === 1 ? grouped(text, last, rules) : { refusal: "Separators that do not fit together" };
  const count = marks.filter((one) => one === last).length;
  if (kinds.size === 1 && count > 1) return grouped(text, last, rules);
  if (count > 1) return { refusal: "Two decimal separators" };
  const at = text.lastIndexOf(last);
  const [before, after] = [text.slice(0, at), text.slice(at + 1)];
  if (kinds.size === 1) return lone(before, after, last, rules);
  const [group] = [...kinds].filter((one) => one !== last);
  const whole = grouped(before, group ?? "", rules);
  return "refusal" in whole ? whole : { whole: whole.whole, fraction: after };
}

/** One point or comma and nothing else. */
function lone(before: string, after: string, mark: string, rules: NumberRules): Split | { refusal: string } {
  if (!after) return { refusal: "Digits are missing after the separator" };
  const either = after.length === 3 && before.length >= 1 && before.length <= 3 && !before.startsWith("0");
  if (!either) return { whole: before || "0", fraction: after };
  if (rules.decimals === 0 && mark === rules.group) return { whole: before + after, fraction: "" };
  const thousands = before + after;
  if (rules.decimals === 0) return { refusal: `Ambiguous: for ${thousands} leave the separator out` };
  return { refusal: `Ambiguous: ${thousands} or ${before}.${after}? Write ${thousands}${rules.decimal}00 or ${before}${rules.decimal}${after}0` };
}

/** Groups of three, or the groups that the language itself would write. */
function grouped(text: string, mark: string, rules: NumberRules): Split | { refusal: string } {
  const pieces = text.split(mark);
  const digits = pieces.join("");
  const [first = "", ...rest] = pieces;
  const threes = /^[1-9]\d{0,2}$/.test(first) && rest.every((piece) => piece.length === 3);
  const own = mark === plainMark(rules.group) && digits.length <= 18 && localeGroups(digits, rules) === text;
  return threes || own ? { whole: digits, fraction: "" } : { refusal: "Thousands separators stand before three digits each" };
}

const plainMark = (mark: string): string => mark.replace(SPACES, " ").replace(APOSTROPHES, "'");

function localeGroups(digits: string, rules: NumberRules): string {
  const written = new Intl.NumberFormat(rules.locale, { numberingSystem: "latn" }).format(BigInt(digits));
  return plainMark(written);
}

function inUnits(whole: string, fraction: string, rules: NumberRules): Parsed {
  if (rules.decimals === 0 && fraction) return { refusal: `A whole ${rules.name}, without decimals` };
  if (fraction.length > rules.decimals) return { refusal: `At most ${rules.decimals} decimals` };
  const digits = (whole + fraction.padEnd(rules.decimals, "0")).replace(/^0+(?=\d)/, "");
  if (digits.length > 19) return { refusal: `Too large a ${rules.name}` };
  const value = BigInt(digits);
  if (value > INT64_MAX) return { refusal: `Too large a ${rules.name}` };
  return value === 0n ? { refusal: `A ${rules.name} above zero` } : { value };
}

/** A value as it can be typed in any language: digits, and a point where the unit has decimals. */
export function typable(value: bigint, decimals: number, shown = decimals): string {
  const digits = value.toString().padStart(decimals + 1, "0");
  if (!decimals) return digits;
  const fraction = digits.slice(-decimals);
  const kept = fraction.slice(shown).replaceAll("0", "") ? fraction : fraction.slice(0, shown);
  return `${digits.slice(0, -decimals)}.${kept}`;
}
