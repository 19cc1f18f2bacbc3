/** Splits what stands after the colon of a reply line into fields. Pure; what the fields mean is the parsers'. */
import { splitLine } from './urcs';

/** Fields of `1,"a, b",,5`: split at commas outside quotes, trimmed, without their quotes. */
export function fieldsOf(rest: string): string[] {
  const fields: string[] = [];
  let field = '';
  let quoted = false;
  for (const letter of rest) {
    if (letter === '"') quoted = !quoted;
    else if (letter === ',' && !quoted) {
      fields.push(field.trim());
      field = '';
    } else field += letter;
  }
  return [...fields, field.trim()];
}

/** Fields of the first line named `name`; null when there is none. */
export function fieldsNamed(lines: readonly string[], name: string): string[] | null {
  return allFieldsNamed(lines, name)[0] ?? null;
}

/** Fields of every line named `name`. A body on a line of its own is left out. */
export function allFieldsNamed(lines: readonly string[], name: string): string[][] {
  return lines.flatMap(line => {
    const split = splitLine(line.split('\n', 1)[0] ?? '');
    return split.name === name ? [fieldsOf(split.rest)] : [];
  });
}

/** A whole number, or null for anything else (empty, `-`, text). */
export function wholeOf(field: string | undefined): number | null {
  if (field === undefined || !/^-?\d{1,15}$/.test(field)) return null;
  return Number(field);
}

/** A whole number inside a range; modems say -32768, 255 or 0 for "none". */
export function wholeWithin(field: string | undefined, min: number, max: number): number | null {
  const value = wholeOf(field);
  return value !== null && value >= min && value <= max ? value : null;
}

/** A hexadecimal number, with or without `0x`; null when it is none or past 2^53. */
export function hexOf(field: string | undefined): number | null {
  if (field === undefined || !/^(0x)?[0-9a-f]{1,16}$/i.test(field)) return null;
  const value = Number.parseInt(field.replace(/^0x/i, ''), 16);
  return Number.isSafeInteger(value) ? value : null;
}
