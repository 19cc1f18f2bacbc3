/**
 * The head of an HTTP/1 message (RFC 9112 sections 2 to 5), read strictly: what two parsers might read differently
 * is refused, since that is how requests are smuggled. Bare CR or LF, folded lines, blanks before a colon, control
 * bytes and empty names are errors. Bodies are http-body.ts, what a proxy makes of a head is http-proxy.ts.
 */

export interface HeaderField {
  /** As it was written. */
  name: string;
  /** Lower case. */
  key: string;
  /** Without blanks around it; latin1, so that every byte survives. */
  value: string;
}

export interface RequestHead {
  method: string;
  /** The request target as it was written. */
  target: string;
  /** 0 for HTTP/1.0, 1 for HTTP/1.1. */
  minor: 0 | 1;
  fields: HeaderField[];
}

export interface ResponseHead {
  minor: 0 | 1;
  status: number;
  reason: string;
  fields: HeaderField[];
}

/** Bytes of one head, everything included. */
export const MAX_HEAD_BYTES = 32 * 1024;
/** Lines of one head. */
export const MAX_HEADER_FIELDS = 128;

export type HeadEnd =
  /** `end` is the first byte behind the head. */
  { kind: 'end'; end: number } | { kind: 'more' } | { kind: 'bad' } | { kind: 'too-large' };

const CR = 13;
const LF = 10;

/**
 * Where the head in `bytes` ends. `from` is where the last call stopped (bytes before it were seen already), so that
 * a client that sends single bytes does not make us read everything again.
 */
export function findHeadEnd(bytes: Buffer, from = 0): HeadEnd {
  let at = bytes.indexOf(LF, Math.max(0, from - 3));
  while (at !== -1 && at < MAX_HEAD_BYTES) {
    if (bytes[at - 1] !== CR) return { kind: 'bad' };
    if (at >= 3 && bytes[at - 2] === LF && bytes[at - 3] === CR) return { kind: 'end', end: at + 1 };
    // A head that begins with its own end has no first line at all.
    if (at === 1) return { kind: 'bad' };
    at = bytes.indexOf(LF, at + 1);
  }
  return bytes.length >= MAX_HEAD_BYTES ? { kind: 'too-large' } : { kind: 'more' };
}

const TOKEN = /^[!#$%&'*+\-.^_`|~0-9A-Za-z]+$/;
/** Visible characters, blanks and bytes above 127 (RFC 9110 section 5.5). */
const VALUE = /^[\t\x20-\x7e\x80-\xff]*$/;
const REQUEST_LINE = /^([!#$%&'*+\-.^_`|~0-9A-Za-z]{1,32}) ([\x21-\x7e]+) HTTP\/([0-9])\.([0-9])$/;
const STATUS_LINE = /^HTTP\/1\.([01]) ([1-9][0-9]{2})(?: ([\t\x20-\x7e\x80-\xff]*))?$/;

export type RequestOutcome =
  | { ok: true; head: RequestHead }
  | { ok: false; reason: 'bad-request' | 'unsupported-version' | 'head-too-large' };

/** Parses the head that `findHeadEnd` found: `bytes` ends with its empty line. */
export function parseRequestHead(bytes: Buffer): RequestOutcome {
  const lines = splitLines(bytes);
  const match = REQUEST_LINE.exec(lines[0] ?? '');
  if (!match) return { ok: false, reason: 'bad-request' };
  if (match[3] !== '1' || (match[4] !== '0' && match[4] !== '1'))
    return { ok: false, reason: 'unsupported-version' };
  if (lines.length - 1 > MAX_HEADER_FIELDS) return { ok: false, reason: 'head-too-large' };
  const fields = parseFields(lines);
  if (!fields) return { ok: false, reason: 'bad-request' };
  const minor = match[4] === '1' ? 1 : 0;
  return { ok: true, head: { method: match[1] ?? '', target: match[2] ?? '', minor, fields } };
}

/** The same for a response; null when it is malformed. */
export function parseResponseHead(bytes: Buffer): ResponseHead | null {
  const lines = splitLines(bytes);
  const match = STATUS_LINE.exec(lines[0] ?? '');
  if (!match || lines.length - 1 > MAX_HEADER_FIELDS) return null;
  const fields = parseFields(lines);
  return (
    fields && { minor: match[1] === '1' ? 1 : 0, status: Number(match[2]), reason: match[3] ?? '', fields }
  );
}

/** The lines before the empty one. Any stray CR or LF is left in its line, where no pattern matches it. */
function splitLines(bytes: Buffer): string[] {
  return bytes.toString('latin1', 0, bytes.length - 4).split('\r\n');
}

function parseFields(lines: string[]): HeaderField[] | null {
  const fields: HeaderField[] = [];
  for (let at = 1; at < lines.length; at += 1) {
    const field = parseField(lines[at] ?? '');
    if (!field) return null;
    fields.push(field);
  }
  return fields;
}

/** One `name: value` line without its end; null when malformed (RFC 9112 section 5.1). */
export function parseField(line: string): HeaderField | null {
  const colon = line.indexOf(':');
  if (colon < 1) return null;
  const name = line.slice(0, colon);
  const value = trimBlanks(line.slice(colon + 1));
  if (!TOKEN.test(name) || !VALUE.test(value)) return null;
  return { name, key: name.toLowerCase(), value };
}

/** Blanks in HTTP are space and tab; String#trim would also take other bytes (0xA0) away. */
function trimBlanks(text: string): string {
  let start = 0;
  let end = text.length;
  while (start < end && isBlank(text.charCodeAt(start))) start += 1;
  while (end > start && isBlank(text.charCodeAt(end - 1))) end -= 1;
  return text.slice(start, end);
}

const isBlank = (code: number) => code === 0x20 || code === 0x09;

/** All values of a list field, lower case, split at commas (RFC 9110 section 5.6.1); empty members are dropped. */
export function listOf(fields: readonly HeaderField[], key: string): string[] {
  const members: string[] = [];
  for (const field of fields)
    if (field.key === key)
      for (const member of field.value.split(',')) {
        const text = trimBlanks(member).toLowerCase();
        if (text !== '') members.push(text);
      }
  return members;
}

/** Writes a head: first line, fields, empty line. */
export function formatHead(first: string, fields: readonly Pick<HeaderField, 'name' | 'value'>[]): Buffer {
  let text = `${first}\r\n`;
  for (const field of fields) text += `${field.name}: ${field.value}\r\n`;
  return Buffer.from(`${text}\r\n`, 'latin1');
}
