/** Comma-separated values (RFC 4180) that a spreadsheet cannot mistake for formulas. Pure. */

/** One header and any number of rows, lines ended by CRLF. */
export function csvOf(header: readonly string[], rows: Iterable<readonly (string | number)[]>): string {
  let text = `${header.map(cell).join(',')}\r\n`;
  for (const row of rows) text += `${row.map(cell).join(',')}\r\n`;
  return text;
}

function cell(value: string | number): string {
  if (typeof value === 'number') return String(value);
  // A name such as "=HYPERLINK(…)" would run in the reader's spreadsheet: an apostrophe makes it text.
  const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
}
