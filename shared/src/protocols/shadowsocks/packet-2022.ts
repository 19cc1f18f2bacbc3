/**
 * The layout of a 2022 datagram (SIP022 section 3.2), which both ends need: packets-2022.ts serves,
 * packet-client-2022.ts asks.
 *
 *     | separate header 16, AES-ECB | identity headers, in requests | body | tag 16 |
 *     separate header  | session 8 | packet number 8 |
 *     body             | type | seconds since 1970, 8 | client session 8, in responses | padding length 2 | padding
 *                      | address | payload |
 *
 * The session key comes of key and session; the nonce is the last 12 bytes of the separate header.
 */
import { type Cipher, createCipheriv, createDecipheriv, type Decipher } from 'node:crypto';
import type { Target } from '../target';
import type { AddressMemo } from './address';
import { Aead, NONCE_BYTES, TAG_BYTES } from './aead';
import { requireRoom } from './chunks';
import { sessionKey } from './keys';
import type { ShadowsocksMethod } from './methods';
import { MAX_PACKET_OVERHEAD_BYTES } from './packets';

export const SEPARATE_HEADER_BYTES = 16;
export const SESSION_ID_BYTES = 8;
/** Type, timestamp, padding length, the shortest address. */
export const SHORTEST_BODY_BYTES: number = 1 + 8 + 2 + 7;

/** A block cipher that lives as long as its key: one call per packet, without padding or state. */
export function blockEncryptor(method: ShadowsocksMethod, key: Buffer): Cipher {
  return createCipheriv(`aes-${method.keyBytes * 8}-ecb`, key, null).setAutoPadding(false);
}

export function blockDecryptor(method: ShadowsocksMethod, key: Buffer): Decipher {
  return createDecipheriv(`aes-${method.keyBytes * 8}-ecb`, key, null).setAutoPadding(false);
}

/** The packet number of a separate header; null above 2^53, which no honest session reaches. */
export function packetNumberOf(separate: Buffer): number | null {
  const high = separate.readUInt32BE(8);
  return high > 0x1f_ffff ? null : high * 2 ** 32 + separate.readUInt32BE(12);
}

/** One end's outgoing packets: session, counter, key. */
export class PacketNumberer {
  readonly separate: Buffer = Buffer.alloc(SEPARATE_HEADER_BYTES);
  readonly aead: Aead;
  #next = 0;

  /** `session` is 8 random bytes. */
  constructor(method: ShadowsocksMethod, key: Buffer, session: Buffer) {
    this.separate.set(session, 0);
    this.aead = new Aead(method.cipher, sessionKey(method, key, session));
  }

  get session(): Buffer {
    return this.separate.subarray(0, SESSION_ID_BYTES);
  }

  /** Sets separate header and nonce for the next packet. */
  step(): void {
    this.separate.writeUInt32BE(Math.floor(this.#next / 2 ** 32), 8);
    this.separate.writeUInt32BE(this.#next % 2 ** 32, 12);
    this.aead.nonce.set(this.separate.subarray(SEPARATE_HEADER_BYTES - NONCE_BYTES));
    this.#next += 1;
  }
}

/** Opens a body with the nonce of `separate`; null when it is not authentic. */
export function openBody(aead: Aead, separate: Buffer, sealed: Buffer): Buffer | null {
  aead.nonce.set(separate.subarray(SEPARATE_HEADER_BYTES - NONCE_BYTES));
  return aead.openOwned(sealed);
}

export interface BodyHeader {
  type: number;
  timestamp: bigint;
  clientSession: Buffer | null;
  target: Target;
  payload: Buffer;
}

/** Null when it is not a body of that type. */
export function readBody(body: Buffer, type: number, memo: AddressMemo): BodyHeader | null {
  const paddingAt = 9 + (type === 1 ? SESSION_ID_BYTES : 0);
  if (body.length < paddingAt + 2 || body[0] !== type) return null;
  const address = memo.read(body, paddingAt + 2 + body.readUInt16BE(paddingAt));
  if (address.kind !== 'address') return null;
  return {
    type,
    timestamp: body.readBigUInt64BE(1),
    clientSession: type === 1 ? body.subarray(9, paddingAt) : null,
    target: address.target,
    payload: body.subarray(address.end),
  };
}

export interface BodyParts {
  type: number;
  nowMs: number;
  clientSession: Buffer | null;
  /** addressBytes of the sender or the target. */
  from: Buffer;
  payload: Buffer;
}

// Headers are made one at a time on one thread.
const headerScratch = Buffer.alloc(MAX_PACKET_OVERHEAD_BYTES);

/** Seals a body behind `at`; gives back where it ends. No padding: the payload's own length hides nothing more. */
export function sealBody(aead: Aead, parts: BodyParts, into: { out: Buffer; at: number }): number {
  requireRoom(into.out, into.at + parts.payload.length + MAX_PACKET_OVERHEAD_BYTES - TAG_BYTES);
  headerScratch[0] = parts.type;
  const seconds = Math.floor(parts.nowMs / 1000);
  headerScratch.writeUInt32BE(Math.floor(seconds / 2 ** 32), 1);
  headerScratch.writeUInt32BE(seconds % 2 ** 32, 5);
  let at = 9;
  if (parts.clientSession) {
    headerScratch.set(parts.clientSession, at);
    at += SESSION_ID_BYTES;
  }
  headerScratch.writeUInt16BE(0, at);
  headerScratch.set(parts.from, at + 2);
  return aead.sealPair(headerScratch.subarray(0, at + 2 + parts.from.length), parts.payload, into);
}
