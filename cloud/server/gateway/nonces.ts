/**
 * Challenges that can be answered once and soon. The cloud keeps nothing for a nonce it gave out: it is stamped with
 * an HMAC over node, number and time. What was answered is remembered as one number per node, so that memory is bounded by
 * nodes, not by connections: an answer must be to a newer challenge than the last answered one.
 *
 *   nonce = base64url( number (6) || epoch ms (6) || HMAC-SHA256(key, node || number || ms)[0..20] )
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '@mastline/shared/base/clock';
import { NONCE_LIFETIME_MS } from '@mastline/shared/wire/limits';

const STAMP_BYTES = 12;
const MAC_BYTES = 20;

export type NonceVerdict = 'fresh' | 'forged' | 'expired' | 'replayed';

export class Nonces {
  readonly #key = randomBytes(32);
  readonly #clock: Clock;
  readonly #answered = new Map<string, number>();
  #issued = 0;

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  issue(nodeId: string): string {
    this.#issued += 1;
    const stamp = Buffer.alloc(STAMP_BYTES);
    stamp.writeUIntBE(this.#issued, 0, 6);
    stamp.writeUIntBE(Math.floor(this.#clock.monotonicMs()), 6, 6);
    return Buffer.concat([stamp, this.#mac(nodeId, stamp)]).toString('base64url');
  }

  /** Looks only. Call `spend` when the signature over it held. */
  check(nodeId: string, nonce: string): NonceVerdict {
    const bytes = Buffer.from(nonce, 'base64url');
    if (bytes.length !== STAMP_BYTES + MAC_BYTES) return 'forged';
    const stamp = bytes.subarray(0, STAMP_BYTES);
    if (!timingSafeEqual(bytes.subarray(STAMP_BYTES), this.#mac(nodeId, stamp))) return 'forged';
    if (this.#clock.monotonicMs() - stamp.readUIntBE(6, 6) > NONCE_LIFETIME_MS) return 'expired';
    return stamp.readUIntBE(0, 6) > (this.#answered.get(nodeId) ?? 0) ? 'fresh' : 'replayed';
  }

  /** From now on this nonce, and every older one of the node, is `replayed`. */
  spend(nodeId: string, nonce: string): void {
    const number = Buffer.from(nonce, 'base64url').readUIntBE(0, 6);
    this.#answered.set(nodeId, Math.max(number, this.#answered.get(nodeId) ?? 0));
  }

  #mac(nodeId: string, stamp: Buffer): Buffer {
    return createHmac('sha256', this.#key).update(nodeId).update(stamp).digest().subarray(0, MAC_BYTES);
  }
}
