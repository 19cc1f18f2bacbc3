/**
 * Parameters that a customer puts into the proxy's user name, where every client has room for them:
 *
 *     alice-session-abc12-ttl-10m-country-de
 *
 *     username   = name *( "-" parameter )                  ; at most 255 bytes (RFC 1929)
 *     name       = 1*64( namechar / "--" )                  ; "--" stands for one dash
 *     namechar   = %x21-2C / %x2E-39 / %x3B-7E              ; printable ASCII but dash and colon
 *     parameter  = "session-" 1*32( ALPHA / DIGIT / "_" )   ; case matters
 *                / "ttl-" 1*6DIGIT ( "s" / "m" / "h" / "d" ) ; 10 s to 7 d, needs session
 *                / "modem-" 1*5DIGIT                        ; slot number, 0 to 65535
 *                / "carrier-" 1*32( ALPHA / DIGIT / "_" )
 *                / "country-" 2ALPHA                        ; ISO 3166-1 alpha-2
 *                / "rotate-" 1*9DIGIT                       ; at least 1
 *
 * Each parameter at most once, in any order. A dash in a name is written twice, so that where the name ends does not
 * depend on which names or parameters exist: no customer is surprised when a new parameter appears, a misspelt one is
 * an error instead of another name, and the error tells nothing about which names exist. Parameter words and the
 * values of country, carrier and ttl ignore case (as ABNF's quoted strings do); names and sessions do not.
 *
 * `rotate` is a number that the client raises: a flow that brings a higher one than the session (or credential) has
 * seen asks for a new address once. It is no switch, since clients send the same user name with every connection.
 *
 * A credential whose name is the whole user name, dashes and all, should be tried before this is parsed: then names
 * with single dashes work for clients that send no parameters. What the parameters do is the data plane's business.
 */
import { CodedError } from '../base/coded-error';

export interface UsernameParameters {
  name: string;
  /** Flows with the same session keep to one modem. */
  session?: string;
  /** How long after its last flow a session is kept, milliseconds. */
  ttlMs?: number;
  /** Slot number. */
  modem?: number;
  /** Lower case. */
  carrier?: string;
  /** ISO 3166-1 alpha-2, upper case. */
  country?: string;
  rotate?: number;
}

export type UsernameParse =
  | { kind: 'parsed'; username: UsernameParameters }
  /** `parameter` is the word that is wrong, cut short; `problem` says why and what would be right. */
  | { kind: 'invalid'; parameter: string; problem: string };

export const MAX_USERNAME_BYTES = 255;
export const MAX_NAME_LENGTH = 64;
export const MIN_TTL_MS = 10_000;
export const MAX_TTL_MS: number = 7 * 24 * 3_600_000;

const UNIT_MS: Readonly<Record<string, number>> = { s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const NAME = /^[\x21-\x39\x3b-\x7e]+$/;
const WORD = /^[A-Za-z0-9_]{1,32}$/;

type Values = Omit<UsernameParameters, 'name'>;

interface Parameter {
  /** What a value looks like, for error messages. */
  form: string;
  /** The value as a property, or null when it has not the form. */
  read(text: string): Values | null;
}

const PARAMETERS: Readonly<Record<string, Parameter>> = {
  session: {
    form: '1 to 32 letters, digits or underscores',
    read: text => (WORD.test(text) ? { session: text } : null),
  },
  ttl: {
    form: 'a whole number and s, m, h or d, from 10s to 7d',
    read: text => {
      const match = /^([0-9]{1,6})([smhd])$/.exec(text.toLowerCase());
      const ttlMs = Number(match?.[1]) * (UNIT_MS[match?.[2] ?? ''] ?? Number.NaN);
      return ttlMs >= MIN_TTL_MS && ttlMs <= MAX_TTL_MS ? { ttlMs } : null;
    },
  },
  modem: {
    form: 'the number of a slot, 0 to 65535',
    read: text => (/^[0-9]{1,5}$/.test(text) && Number(text) <= 65_535 ? { modem: Number(text) } : null),
  },
  carrier: {
    form: '1 to 32 letters, digits or underscores',
    read: text => (WORD.test(text) ? { carrier: text.toLowerCase() } : null),
  },
  country: {
    form: 'two letters (ISO 3166-1), like de',
    read: text => (/^[A-Za-z]{2}$/.test(text) ? { country: text.toUpperCase() } : null),
  },
  rotate: {
    form: 'a whole number from 1 to 999999999',
    read: text => (/^[0-9]{1,9}$/.test(text) && Number(text) >= 1 ? { rotate: Number(text) } : null),
  },
};

/** Takes a user name apart. Never throws. */
export function parseUsername(text: string): UsernameParse {
  if (Buffer.byteLength(text, 'utf8') > MAX_USERNAME_BYTES)
    return invalid('name', `a user name has at most ${MAX_USERNAME_BYTES} bytes`);
  const { name, rest } = splitName(text);
  if (name === '') return invalid('name', 'a user name begins with the name of the credential');
  if (name.length > MAX_NAME_LENGTH)
    return invalid('name', `the name of a credential has at most ${MAX_NAME_LENGTH} characters`);
  if (!NAME.test(name)) return invalid('name', 'the name must be printable ASCII without spaces and colons');
  const username: UsernameParameters = { name };
  const seen = new Set<string>();
  for (let at = 0; at < rest.length; at += 2) {
    const word = (rest[at] ?? '').toLowerCase();
    const value = rest[at + 1];
    const parameter = Object.hasOwn(PARAMETERS, word) ? PARAMETERS[word] : undefined;
    if (!parameter)
      return invalid(
        word,
        `unknown parameter; known are ${Object.keys(PARAMETERS).join(', ')} (a dash in a name is written twice)`,
      );
    if (seen.has(word)) return invalid(word, 'given twice');
    seen.add(word);
    const read = value === undefined ? null : parameter.read(value);
    if (!read) return invalid(word, `must be ${parameter.form}`);
    Object.assign(username, read);
  }
  if (username.ttlMs !== undefined && username.session === undefined)
    return invalid('ttl', 'needs a session to keep');
  return { kind: 'parsed', username };
}

/** The name at the beginning of a user name, whatever stands behind it. */
export function credentialNameOf(text: string): string {
  return splitName(text).name;
}

/** The user name that `parseUsername` takes apart into the same. Throws `username/invalid`. */
export function formatUsername(username: UsernameParameters): string {
  const { name, session, ttlMs, modem, carrier, country, rotate } = username;
  const parts: [string, string | number | undefined][] = [
    ['session', session],
    ['ttl', ttlMs === undefined ? undefined : formatTtl(ttlMs)],
    ['modem', modem],
    ['carrier', carrier],
    ['country', country?.toLowerCase()],
    ['rotate', rotate],
  ];
  const given = parts.filter(([, value]) => value !== undefined).map(([word, value]) => `-${word}-${value}`);
  const text = name.replaceAll('-', '--') + given.join('');
  const parsed = parseUsername(text);
  if (parsed.kind === 'invalid')
    throw new CodedError('username/invalid', `${parsed.parameter}: ${parsed.problem}`);
  return text;
}

/** In the largest unit that is whole. */
function formatTtl(ttlMs: number): string {
  for (const unit of ['d', 'h', 'm', 's']) {
    const count = ttlMs / (UNIT_MS[unit] ?? Number.NaN);
    if (Number.isInteger(count)) return `${count}${unit}`;
  }
  // No whole second has this form: let parsing refuse it.
  return String(ttlMs);
}

/** The name without doubled dashes, and what stands between the single dashes behind it. */
function splitName(text: string): { name: string; rest: string[] } {
  let name = '';
  for (let at = 0; at < text.length; at += 1) {
    const char = text[at] ?? '';
    if (char === '-' && text[at + 1] !== '-') return { name, rest: text.slice(at + 1).split('-') };
    if (char === '-') at += 1;
    name += char;
  }
  return { name, rest: [] };
}

function invalid(parameter: string, problem: string): UsernameParse {
  return { kind: 'invalid', parameter: parameter.slice(0, 32), problem };
}
