/**
 * SOCKS5 as a client speaks it (RFC 1928, 1929): for hops after the modem and for programs that use an endpoint.
 * Owns no socket: send `greeting`, feed what comes, send what `next` says. The server side is socks5.ts.
 */
import { isIPv4, isIPv6 } from 'node:net';
import { CodedError } from '../base/coded-error';
import { SOCKS_VERSION } from './socks5';
import type { Target } from './target';

export type Socks5ClientStep =
  | { kind: 'more' }
  | { kind: 'send'; bytes: Buffer }
  /** The way is open; `surplus` are the first bytes of the target. */
  | { kind: 'connected'; surplus: Buffer }
  /** `reply` is the server's code where it gave one. */
  | {
      kind: 'failed';
      cause: 'not-socks5' | 'no-method' | 'bad-credentials' | 'refused';
      reply: number | null;
    };

const EMPTY = Buffer.alloc(0);
const MORE: Socks5ClientStep = { kind: 'more' };

export class Socks5Client {
  #at: 'method' | 'password' | 'reply' | 'done' = 'method';
  #unread: Buffer = EMPTY;
  readonly #target: Target;
  readonly #login: { username: string; secret: string } | null;

  /** Throws `socks5/too-long` when a name or a secret does not fit into its length byte. */
  constructor(target: Target, login: { username: string; secret: string } | null) {
    if (login) for (const part of [login.username, login.secret]) lengthByte(part, 'user name or password');
    this.#target = target;
    this.#login = login;
  }

  /** The first bytes to send. */
  greeting(): Buffer {
    return this.#login ? Buffer.from([SOCKS_VERSION, 2, 0x00, 0x02]) : Buffer.from([SOCKS_VERSION, 1, 0x00]);
  }

  feed(bytes: Buffer): void {
    this.#unread = Buffer.concat([this.#unread, bytes]);
  }

  next(): Socks5ClientStep {
    const bytes = this.#unread;
    switch (this.#at) {
      case 'method': {
        if (bytes.length < 2) return MORE;
        this.#unread = bytes.subarray(2);
        if (bytes[0] !== SOCKS_VERSION) return this.#fail('not-socks5', null);
        if (bytes[1] === 0x00) return this.#request();
        if (bytes[1] !== 0x02 || !this.#login) return this.#fail('no-method', null);
        this.#at = 'password';
        return { kind: 'send', bytes: passwordMessage(this.#login) };
      }
      case 'password': {
        if (bytes.length < 2) return MORE;
        this.#unread = bytes.subarray(2);
        return bytes[1] === 0x00 ? this.#request() : this.#fail('bad-credentials', null);
      }
      case 'reply': {
        if (bytes.length < 2) return MORE;
        if (bytes[0] !== SOCKS_VERSION) return this.#fail('not-socks5', null);
        if (bytes[1] !== 0x00) return this.#fail('refused', bytes[1] ?? null);
        const end = replyLength(bytes);
        if (end === 'unknown') return this.#fail('not-socks5', null);
        if (bytes.length < end) return MORE;
        this.#at = 'done';
        this.#unread = EMPTY;
        return { kind: 'connected', surplus: bytes.subarray(end) };
      }
      case 'done':
        return MORE;
    }
  }

  #request(): Socks5ClientStep {
    this.#at = 'reply';
    return { kind: 'send', bytes: requestMessage(0x01, this.#target) };
  }

  #fail(cause: (Socks5ClientStep & { kind: 'failed' })['cause'], reply: number | null): Socks5ClientStep {
    this.#at = 'done';
    return { kind: 'failed', cause, reply };
  }
}

/** Length of a reply (RFC 1928 section 6) by its address type; infinite while that is not known. */
function replyLength(bytes: Buffer): number | 'unknown' {
  const type = bytes[3];
  if (type === undefined) return Number.POSITIVE_INFINITY;
  if (type === 0x01) return 10;
  if (type === 0x04) return 22;
  if (type !== 0x03) return 'unknown';
  const length = bytes[4];
  return length === undefined ? Number.POSITIVE_INFINITY : 7 + length;
}

function passwordMessage(login: { username: string; secret: string }): Buffer {
  const user = Buffer.from(login.username);
  const secret = Buffer.from(login.secret);
  return Buffer.concat([Buffer.from([0x01, user.length]), user, Buffer.from([secret.length]), secret]);
}

/** A request of `command` (1 connect, 3 UDP associate) for `target`. Throws `socks5/too-long`. */
export function requestMessage(command: number, target: Target): Buffer {
  const port = Buffer.from([target.port >> 8, target.port & 0xff]);
  return Buffer.concat([Buffer.from([SOCKS_VERSION, command, 0x00]), addressField(target.host), port]);
}

/** Type byte and address as RFC 1928 section 5 lays them out. */
function addressField(host: string): Buffer {
  if (isIPv4(host)) return Buffer.from([0x01, ...host.split('.').map(Number)]);
  if (isIPv6(host)) return Buffer.concat([Buffer.from([0x04]), ipv6Bytes(host)]);
  return Buffer.concat([Buffer.from([0x03, lengthByte(host, 'host name')]), Buffer.from(host, 'latin1')]);
}

/** Sixteen bytes of a valid IPv6 literal. */
export function ipv6Bytes(host: string): Buffer {
  const dotted = /^(.*:)(\d+)\.(\d+)\.(\d+)\.(\d+)$/.exec(host);
  const text = dotted
    ? `${dotted[1]}${((Number(dotted[2]) << 8) | Number(dotted[3])).toString(16)}:${((Number(dotted[4]) << 8) | Number(dotted[5])).toString(16)}`
    : host;
  const [left = '', right] = text.split('::');
  const head = left === '' ? [] : left.split(':');
  const tail = right === undefined || right === '' ? [] : right.split(':');
  const groups =
    right === undefined ? head : [...head, ...Array(8 - head.length - tail.length).fill('0'), ...tail];
  const bytes = Buffer.alloc(16);
  groups.forEach((group, at) => {
    bytes.writeUInt16BE(Number.parseInt(group, 16), at * 2);
  });
  return bytes;
}

function lengthByte(text: string, what: string): number {
  const length = Buffer.byteLength(text);
  if (length === 0 || length > 255)
    throw new CodedError('socks5/too-long', `${what} must be 1 to 255 bytes long for SOCKS5`);
  return length;
}
