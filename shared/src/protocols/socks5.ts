/**
 * SOCKS5 as a server sees it: RFC 1928 with user name and password (RFC 1929). Owns no socket: bytes go in by
 * `feed`, steps come out of `next`, and what follows the request is handed back as surplus. The other side of the
 * wire is socks5-client.ts; what to do with a request is the caller's business.
 *
 *     greeting   | 05 | n | n methods |          →  | 05 | method |
 *     password   | 01 | n | user | n | secret |  →  | 01 | 00 = accepted |
 *     request    | 05 | command | 00 | type | address | port |
 */
import { type RefusalReason, socks5Refusal } from './refusal';
import { normalizeHost, type Target } from './target';

export const SOCKS_VERSION = 0x05;
const PASSWORD_VERSION = 0x01;
const METHOD_NONE = 0x00;
const METHOD_PASSWORD = 0x02;
const METHOD_UNACCEPTABLE = 0xff;

export type Socks5Command = 'connect' | 'bind' | 'udp-associate';

export type Socks5Step =
  /** Feed more bytes. */
  | { kind: 'more' }
  /** Send these bytes, then ask `next` again. */
  | { kind: 'reply'; bytes: Buffer }
  /** Check these, call `authenticated`, then ask `next` again. */
  | { kind: 'authenticate'; username: string; secret: string }
  /** The request is whole. `surplus` is what came behind it: a view into the fed bytes. */
  | { kind: 'request'; command: Socks5Command; target: Target; surplus: Buffer }
  /** Send `bytes`, then close. */
  | { kind: 'refuse'; reason: RefusalReason; bytes: Buffer };

type State =
  | { at: 'greeting' }
  | { at: 'password' }
  | { at: 'verdict' }
  | { at: 'judged'; accepted: boolean }
  | { at: 'request' }
  | { at: 'done' };

const MORE: Socks5Step = { kind: 'more' };
const EMPTY = Buffer.alloc(0);
const CHOSE_NONE = Buffer.from([SOCKS_VERSION, METHOD_NONE]);
const CHOSE_PASSWORD = Buffer.from([SOCKS_VERSION, METHOD_PASSWORD]);
const CHOSE_NOTHING = Buffer.from([SOCKS_VERSION, METHOD_UNACCEPTABLE]);
const PASSWORD_ACCEPTED = Buffer.from([PASSWORD_VERSION, 0x00]);
const PASSWORD_REFUSED = Buffer.from([PASSWORD_VERSION, 0x01]);
/** SOCKS4 reply 91: "request rejected or failed"; its version byte is 0. */
const SOCKS4_REFUSED = Buffer.from([0x00, 0x5b, 0, 0, 0, 0, 0, 0]);

/** One handshake. Steps that ask for bytes keep a copy of what is unread, so the caller may reuse its buffer. */
export class Socks5Handshake {
  #state: State = { at: 'greeting' };
  #unread: Buffer = EMPTY;
  readonly #withoutPassword: boolean;

  /** `withoutPassword`: the client is known by its address, so method 0 is taken if offered. */
  constructor(options: { withoutPassword: boolean }) {
    this.#withoutPassword = options.withoutPassword;
  }

  /** Takes bytes as they come; they need to stay valid until `next` has answered `more`. */
  feed(bytes: Buffer): void {
    this.#unread = this.#unread.length === 0 ? bytes : Buffer.concat([this.#unread, bytes]);
  }

  next(): Socks5Step {
    const step = this.#step();
    // What is kept beyond this call must be ours: the caller reads its next bytes into the same memory.
    if (step.kind === 'more' && this.#unread.length > 0) this.#unread = Buffer.from(this.#unread);
    return step;
  }

  /** The caller's answer to `authenticate`. */
  authenticated(accepted: boolean): void {
    if (this.#state.at === 'verdict') this.#state = { at: 'judged', accepted };
  }

  #step(): Socks5Step {
    switch (this.#state.at) {
      case 'greeting':
        return this.#greeting();
      case 'password':
        return this.#password();
      case 'judged':
        if (!this.#state.accepted) return this.#refuse('bad-credentials', PASSWORD_REFUSED);
        this.#state = { at: 'request' };
        return { kind: 'reply', bytes: PASSWORD_ACCEPTED };
      case 'request':
        return this.#request();
      case 'verdict':
      case 'done':
        return MORE;
    }
  }

  #greeting(): Socks5Step {
    const bytes = this.#unread;
    const version = bytes[0];
    if (version === undefined) return MORE;
    if (version === 0x04) return this.#refuse('unsupported-protocol', SOCKS4_REFUSED);
    if (version !== SOCKS_VERSION) return this.#refuse('unsupported-protocol', EMPTY);
    const count = bytes[1];
    if (count === undefined || bytes.length < 2 + count) return MORE;
    const methods = bytes.subarray(2, 2 + count);
    this.#unread = bytes.subarray(2 + count);
    if (this.#withoutPassword && methods.includes(METHOD_NONE)) {
      this.#state = { at: 'request' };
      return { kind: 'reply', bytes: CHOSE_NONE };
    }
    if (!methods.includes(METHOD_PASSWORD)) return this.#refuse('credentials-required', CHOSE_NOTHING);
    this.#state = { at: 'password' };
    return { kind: 'reply', bytes: CHOSE_PASSWORD };
  }

  #password(): Socks5Step {
    const bytes = this.#unread;
    if (bytes.length === 0) return MORE;
    if (bytes[0] !== PASSWORD_VERSION) return this.#refuse('bad-request', PASSWORD_REFUSED);
    const userLength = bytes[1];
    if (userLength === undefined) return MORE;
    const secretLength = bytes[2 + userLength];
    if (secretLength === undefined) return MORE;
    const end = 3 + userLength + secretLength;
    if (bytes.length < end) return MORE;
    this.#unread = bytes.subarray(end);
    this.#state = { at: 'verdict' };
    return {
      kind: 'authenticate',
      username: bytes.toString('utf8', 2, 2 + userLength),
      secret: bytes.toString('utf8', 3 + userLength, end),
    };
  }

  #request(): Socks5Step {
    const bytes = this.#unread;
    if (bytes.length === 0) return MORE;
    if (bytes[0] !== SOCKS_VERSION) return this.#refuse('bad-request');
    if (bytes.length > 2 && bytes[2] !== 0) return this.#refuse('bad-request');
    const type = bytes[3];
    if (type === undefined) return MORE;
    const addressLength = this.#addressLength(type, bytes[4]);
    if (addressLength === 'more') return MORE;
    if (addressLength === 'unknown') return this.#refuse('address-type-not-supported');
    const end = 4 + addressLength + 2;
    if (bytes.length < end) return MORE;
    const command = commandOf(bytes[1]);
    if (command === null) return this.#refuse('command-not-supported');
    const host = readHost(type, bytes.subarray(4, 4 + addressLength));
    const port = bytes.readUInt16BE(end - 2);
    // UDP ASSOCIATE names the client's own end, where port 0 means "not known yet" (RFC 1928 section 7).
    if (host === null || (port === 0 && command !== 'udp-associate')) return this.#refuse('bad-request');
    this.#state = { at: 'done' };
    this.#unread = EMPTY;
    return { kind: 'request', command, target: { host, port }, surplus: bytes.subarray(end) };
  }

  #addressLength(type: number, first: number | undefined): number | 'more' | 'unknown' {
    if (type === 0x01) return 4;
    if (type === 0x04) return 16;
    if (type !== 0x03) return 'unknown';
    return first === undefined ? 'more' : 1 + first;
  }

  #refuse(reason: RefusalReason, bytes?: Buffer): Socks5Step {
    this.#state = { at: 'done' };
    this.#unread = EMPTY;
    return { kind: 'refuse', reason, bytes: bytes ?? socks5Refusal(reason) };
  }
}

function commandOf(byte: number | undefined): Socks5Command | null {
  if (byte === 0x01) return 'connect';
  if (byte === 0x02) return 'bind';
  return byte === 0x03 ? 'udp-associate' : null;
}

/** The address of a request: `type` 1 and 4 are binary, 3 is a length byte and a name (RFC 1928 section 5). */
function readHost(type: number, bytes: Buffer): string | null {
  if (type === 0x01) return `${bytes[0]}.${bytes[1]}.${bytes[2]}.${bytes[3]}`;
  if (type === 0x04) return formatIpv6(bytes);
  return normalizeHost(bytes.toString('latin1', 1));
}

/** Sixteen bytes as eight groups; not shortened, since it is read by programs only. */
export function formatIpv6(bytes: Buffer): string {
  const groups: string[] = [];
  for (let at = 0; at < 16; at += 2) groups.push(bytes.readUInt16BE(at).toString(16));
  return groups.join(':');
}

/** The reply of success. Clients ignore the bound address of CONNECT, so it is not told (it is the modem's inside). */
export const SOCKS5_CONNECTED: Buffer = Buffer.from([SOCKS_VERSION, 0x00, 0x00, 0x01, 0, 0, 0, 0, 0, 0]);
