/**
 * Shadowsocks AEAD over TCP (SIP004, SIP007), both ends. A stream is a salt and chunks; the target's address is the
 * beginning of the request's plaintext. The 2022 edition is stream-2022.ts; chunks are chunks.ts.
 *
 *     request    | salt | chunk: address, payload … | chunk | …
 *     response   | salt | chunk: payload … | …
 */
import type { Target } from '../target';
import { addressBytes, readAddress } from './address';
import { Aead, FORGED } from './aead';
import { BROKEN, ChunkOpener, ChunkSealer, LENGTH_UNIT_BYTES } from './chunks';
import {
  type FillRandom,
  type HandshakeContext,
  MORE,
  type ShadowsocksHandshake,
  type ShadowsocksStep,
  type SilentCause,
} from './handshake';
import { sessionKey } from './keys';
import type { ShadowsocksMethod } from './methods';
import { ResponseOpener, type ShadowsocksStream, StreamSealer } from './stream';
import type { ShadowsocksUser, UserFinder } from './users';

const EMPTY = Buffer.alloc(0);
const lengthScratch = Buffer.alloc(2);

/** One connection as the server sees it. */
export class AeadHandshake<User> implements ShadowsocksHandshake<User> {
  readonly #method: ShadowsocksMethod;
  readonly #finder: UserFinder<User>;
  readonly #context: HandshakeContext;
  readonly #source: string;
  #held: Buffer = EMPTY;
  #user: ShadowsocksUser<User> | null = null;
  #opener: ChunkOpener | null = null;
  /** Plaintext before the address is whole. */
  #plain: Buffer = EMPTY;
  #done: ShadowsocksStep<User> | null = null;

  constructor(
    method: ShadowsocksMethod,
    from: { finder: UserFinder<User>; source: string },
    context: HandshakeContext,
  ) {
    this.#method = method;
    this.#finder = from.finder;
    this.#source = from.source;
    this.#context = context;
  }

  feed(bytes: Buffer): ShadowsocksStep<User> {
    if (this.#done) return this.#done;
    if (this.#opener) return this.#request(this.#opener, bytes);
    const first = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    const { saltBytes } = this.#method;
    if (first.length < saltBytes + LENGTH_UNIT_BYTES) {
      this.#held = Buffer.from(first);
      return MORE;
    }
    this.#held = EMPTY;
    const salt = first.subarray(0, saltBytes);
    const lengthUnit = first.subarray(saltBytes, saltBytes + LENGTH_UNIT_BYTES);
    const found = this.#finder.find(this.#source, key => {
      const tried = new Aead(this.#method.cipher, sessionKey(this.#method, key, salt));
      return tried.open(lengthUnit, lengthScratch, 0) === FORGED ? null : tried;
    });
    if (found === 'over-budget') return this.#silent('over-budget');
    if (found === 'unknown') return this.#silent('unknown-user');
    const verdict = this.#context.salts.remember(salt);
    if (verdict !== 'new') return this.#silent(verdict === 'seen' ? 'replayed' : 'salts-full');
    const length = lengthScratch.readUInt16BE(0);
    if (length === 0 || length > this.#method.maxPayload) return this.#silent('bad-header');
    this.#user = found.one;
    found.opened.advance();
    this.#opener = new ChunkOpener(this.#method, found.opened, length);
    return this.#request(this.#opener, first.subarray(saltBytes + LENGTH_UNIT_BYTES));
  }

  #request(opener: ChunkOpener, bytes: Buffer): ShadowsocksStep<User> {
    const out = Buffer.allocUnsafeSlow(opener.bound(bytes.length));
    const opened = opener.open(bytes, out);
    if (opened === BROKEN) return this.#silent(opener.cause === 'forged' ? 'forged' : 'bad-header');
    if (opened === 0) return MORE;
    const fresh = out.subarray(0, opened);
    const plain = this.#plain.length === 0 ? fresh : Buffer.concat([this.#plain, fresh]);
    const address = readAddress(plain, 0);
    if (address.kind === 'bad') return this.#silent('bad-header');
    if (address.kind === 'more' || !this.#user) {
      this.#plain = plain;
      return MORE;
    }
    const { user, key } = this.#user;
    const payload = plain.subarray(address.end);
    const sealer = sealerWithSalt(this.#method, key, this.#context.random);
    return this.#finish({
      kind: 'request',
      user,
      target: address.target,
      payload,
      stream: { sealer, opener },
    });
  }

  #silent(cause: SilentCause): ShadowsocksStep<User> {
    return this.#finish({ kind: 'silent', cause });
  }

  #finish(step: ShadowsocksStep<User>): ShadowsocksStep<User> {
    this.#held = EMPTY;
    this.#plain = EMPTY;
    // A request is given out once; bytes that follow belong to its stream.
    this.#done = step.kind === 'silent' ? step : MORE;
    return step;
  }
}

/** The server's direction, and the client's without its address: a salt before the first chunk. */
function sealerWithSalt(method: ShadowsocksMethod, key: Buffer, random: FillRandom): StreamSealer {
  const salt = Buffer.allocUnsafeSlow(method.saltBytes);
  random(salt);
  const chunks = new ChunkSealer(method, new Aead(method.cipher, sessionKey(method, key, salt)));
  return new StreamSealer(method, chunks, (_plain, out) => {
    out.set(salt, 0);
    return { written: method.saltBytes, took: 0 };
  });
}

/** A client's stream to `target` through a server that knows `key`. Throws `shadowsocks/bad-target`. */
export function openAeadClient(
  method: ShadowsocksMethod,
  request: { key: Buffer; target: Target },
  random: FillRandom,
): ShadowsocksStream {
  const { key, target } = request;
  const salt = Buffer.allocUnsafeSlow(method.saltBytes);
  random(salt);
  const address = addressBytes(target);
  const chunks = new ChunkSealer(method, new Aead(method.cipher, sessionKey(method, key, salt)));
  const sealer = new StreamSealer(method, chunks, (plain, out) => {
    out.set(salt, 0);
    const took = Math.min(plain.length, method.maxPayload - address.length);
    const written = chunks.seal(Buffer.concat([address, plain.subarray(0, took)]), out, salt.length);
    return { written, took };
  });
  const opener = new ResponseOpener({
    bytes: method.saltBytes,
    read: head => new ChunkOpener(method, new Aead(method.cipher, sessionKey(method, key, head))),
  });
  return { sealer, opener };
}
