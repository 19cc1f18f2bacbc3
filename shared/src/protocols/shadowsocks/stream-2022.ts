/**
 * Shadowsocks 2022 over TCP as a server sees it (SIP022 section 3.1), with identity headers for several users
 * (SIP023). The client's side is client-2022.ts; what follows the headers is chunks.ts.
 *
 *     request    | salt | identity header 16 | fixed header 11 + tag | variable header + tag | chunks …
 *     response   | salt | fixed header 11 + salt + tag | payload + tag | chunks …
 *
 *     fixed      | type | seconds since 1970, 8 | request salt, in a response | length of what follows, 2 |
 *     variable   | address | padding length 2 | padding | first payload |
 */
import { createDecipheriv } from 'node:crypto';
import type { Target } from '../target';
import { readAddress } from './address';
import { Aead, FORGED, TAG_BYTES } from './aead';
import { BROKEN, ChunkOpener, ChunkSealer } from './chunks';
import {
  type HandshakeContext,
  MORE,
  type ShadowsocksHandshake,
  type ShadowsocksStep,
  type SilentCause,
} from './handshake';
import { IDENTITY_BYTES, identityKey, sessionKey } from './keys';
import type { ShadowsocksMethod } from './methods';
import { StreamSealer } from './stream';
import type { ShadowsocksUser } from './users';

export const TYPE_REQUEST = 0;
export const TYPE_RESPONSE = 1;
/** SIP022 section 3.1.3: a message further from our clock is a replay. */
export const MAX_SKEW_SECONDS = 30;
/** SIP022 section 3.1.3, MaxPaddingLength. A sender's bound; more is taken, since the length is authentic. */
export const MAX_PADDING_BYTES = 900;
/** Type, timestamp, length. */
export const REQUEST_HEADER_BYTES = 11;

const EMPTY = Buffer.alloc(0);
const headerScratch = Buffer.alloc(REQUEST_HEADER_BYTES);

/** Users of a 2022 port: one with the port's key, or several by identity. */
export type Users2022<User> =
  | { kind: 'one'; one: ShadowsocksUser<User> }
  | { kind: 'identified'; serverKey: Buffer; byIdentity: ReadonlyMap<string, ShadowsocksUser<User>> };

/** Whether a timestamp in seconds is near enough to our clock. */
export function isCurrent(timestamp: bigint, nowMs: number): boolean {
  const skew = timestamp - BigInt(Math.floor(nowMs / 1000));
  return skew <= MAX_SKEW_SECONDS && skew >= -MAX_SKEW_SECONDS;
}

/** One connection as the server sees it. */
export class Handshake2022<User> implements ShadowsocksHandshake<User> {
  readonly #method: ShadowsocksMethod;
  readonly #users: Users2022<User>;
  readonly #context: HandshakeContext;
  #held: Buffer = EMPTY;
  #begun: { one: ShadowsocksUser<User>; salt: Buffer; opener: ChunkOpener; headerBytes: number } | null =
    null;
  /** Plaintext before the variable header is whole. */
  #plain: Buffer = EMPTY;
  #done: ShadowsocksStep<User> | null = null;

  constructor(method: ShadowsocksMethod, users: Users2022<User>, context: HandshakeContext) {
    this.#method = method;
    this.#users = users;
    this.#context = context;
  }

  feed(bytes: Buffer): ShadowsocksStep<User> {
    if (this.#done) return this.#done;
    if (this.#begun) return this.#request(bytes);
    const first = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    const { saltBytes } = this.#method;
    const headerAt = saltBytes + (this.#users.kind === 'identified' ? IDENTITY_BYTES : 0);
    const headerEnd = headerAt + REQUEST_HEADER_BYTES + TAG_BYTES;
    if (first.length < headerEnd) {
      this.#held = Buffer.from(first);
      return MORE;
    }
    this.#held = EMPTY;
    const salt = Buffer.from(first.subarray(0, saltBytes));
    const one = this.#userOf(first, salt);
    if (!one) return this.#silent('unknown-user');
    const aead = new Aead(this.#method.cipher, sessionKey(this.#method, one.key, salt));
    if (aead.open(first.subarray(headerAt, headerEnd), headerScratch, 0) === FORGED)
      return this.#silent('unknown-user');
    aead.advance();
    const type = headerScratch[0];
    const timestamp = headerScratch.readBigUInt64BE(1);
    const headerBytes = headerScratch.readUInt16BE(9);
    if (type !== TYPE_REQUEST) return this.#silent('bad-header');
    if (!isCurrent(timestamp, this.#context.clock.now())) return this.#silent('clock-skew');
    const verdict = this.#context.salts.remember(salt);
    if (verdict !== 'new') return this.#silent(verdict === 'seen' ? 'replayed' : 'salts-full');
    this.#begun = { one, salt, opener: new ChunkOpener(this.#method, aead, headerBytes), headerBytes };
    return this.#request(first.subarray(headerEnd));
  }

  #userOf(first: Buffer, salt: Buffer): ShadowsocksUser<User> | undefined {
    const users = this.#users;
    if (users.kind === 'one') return users.one;
    const name = `aes-${this.#method.keyBytes * 8}-ecb`;
    const block = createDecipheriv(name, identityKey(this.#method, users.serverKey, salt), null);
    block.setAutoPadding(false);
    const identity = block.update(first.subarray(salt.length, salt.length + IDENTITY_BYTES));
    return users.byIdentity.get(identity.toString('latin1'));
  }

  #request(bytes: Buffer): ShadowsocksStep<User> {
    const begun = this.#begun;
    if (!begun) return MORE;
    const out = Buffer.allocUnsafeSlow(begun.opener.bound(bytes.length));
    const opened = begun.opener.open(bytes, out);
    if (opened === BROKEN) return this.#silent(begun.opener.cause === 'forged' ? 'forged' : 'bad-header');
    const fresh = out.subarray(0, opened);
    const plain = this.#plain.length === 0 ? fresh : Buffer.concat([this.#plain, fresh]);
    if (plain.length < begun.headerBytes || (plain.length === 0 && begun.opener.insideChunk)) {
      this.#plain = plain;
      return MORE;
    }
    const header = readVariableHeader(plain.subarray(0, begun.headerBytes));
    if (!header) return this.#silent('bad-header');
    const { user, key } = begun.one;
    const { target, payloadAt } = header;
    const sealer = responseSealer(this.#method, { key, requestSalt: begun.salt }, this.#context);
    const payload = plain.subarray(payloadAt);
    return this.#finish({ kind: 'request', user, target, payload, stream: { sealer, opener: begun.opener } });
  }

  #silent(cause: SilentCause): ShadowsocksStep<User> {
    return this.#finish({ kind: 'silent', cause });
  }

  #finish(step: ShadowsocksStep<User>): ShadowsocksStep<User> {
    this.#held = EMPTY;
    this.#plain = EMPTY;
    this.#begun = null;
    // A request is given out once; bytes that follow belong to its stream.
    this.#done = step.kind === 'silent' ? step : MORE;
    return step;
  }
}

/** Null when address or padding reach beyond the header, or there is neither padding nor payload (SIP022 3.1.3). */
function readVariableHeader(header: Buffer): { target: Target; payloadAt: number } | null {
  const address = readAddress(header, 0);
  if (address.kind !== 'address' || header.length < address.end + 2) return null;
  const paddingBytes = header.readUInt16BE(address.end);
  const payloadAt = address.end + 2 + paddingBytes;
  if (payloadAt > header.length || (paddingBytes === 0 && payloadAt === header.length)) return null;
  return { target: address.target, payloadAt };
}

/** The server's direction: salt and header go out with the first payload, whose length the header tells. */
function responseSealer(
  method: ShadowsocksMethod,
  of: { key: Buffer; requestSalt: Buffer },
  context: HandshakeContext,
): StreamSealer {
  const salt = Buffer.allocUnsafeSlow(method.saltBytes);
  context.random(salt);
  const chunks = new ChunkSealer(method, new Aead(method.cipher, sessionKey(method, of.key, salt)));
  return new StreamSealer(method, chunks, (plain, out) => {
    const took = Math.min(plain.length, method.maxPayload);
    const header = Buffer.alloc(REQUEST_HEADER_BYTES + method.saltBytes);
    header[0] = TYPE_RESPONSE;
    header.writeBigUInt64BE(BigInt(Math.floor(context.clock.now() / 1000)), 1);
    header.set(of.requestSalt, 9);
    header.writeUInt16BE(took, 9 + method.saltBytes);
    out.set(salt, 0);
    const headerEnd = chunks.unit(header, out, salt.length);
    return { written: chunks.unit(plain.subarray(0, took), out, headerEnd), took };
  });
}
