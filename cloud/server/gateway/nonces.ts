/**
 * Challenges that can be answered once and soon. The cloud keeps nothing for a nonce it gave out: it is stamped with
 * an HMAC over node, number and time. What was answered is remembered as one number per node, so that memory is bounded by
 * nodes, not by connections: an answer must be to a newer challenge than the last answered one.
 *
 *   nonce = base64url( number (6) || ms (6) || HMAC-SHA256(key, node || number || ms)[0..20] )
 *
 * One process: a key of its own, and the monotonic clock. Several: a key that all have, since a challenge of one is
 * answered at another behind a balancer; the wall clock, which they must share to within the lifetime; and numbers by
 * chance, since no order holds across processes: that an answer is used once is admissions.ts.
 */
import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto';
import type { Clock } from '@mastline/shared/base/clock';
import { NONCE_LIFETIME_MS } from '@mastline/shared/wire/limits';

const STAMP_BYTES = 12;
const MAC_BYTES = 20;

export type NonceVerdict = 'fresh' | 'forged' | 'expired' | 'replayed';

export class Nonces {
  readonly #key: Buffer;
  readonly #shared: boolean;
  readonly #clock: Clock;
  readonly #answered = new Map<string, number>();
  #issued = 0;

  /** `sharedKey`: what all processes of this cloud have and nobody else. */
  constructor(clock: Clock, sharedKey?: Buffer) {
    this.#clock = clock;
    this.#shared = sharedKey !== undefined;
    this.#key = sharedKey ?? randomBytes(32);
  }

  issue(nodeId: string): string {
    const stamp = Buffer.alloc(STAMP_BYTES);
    if (this.#shared) randomBytes(6).copy(stamp);
    else {
      this.#issued += 1;
      stamp.writeUIntBE(this.#issued, 0, 6);
    }
    stamp.writeUIntBE(this.#now(), 6, 6);
    return Buffer.concat([stamp, this.#mac(nodeId, stamp)]).toString('base64url');
  }

  /** Looks only. Call `spend` when the signature over it held. */
  check(nodeId: string, nonce: string): NonceVerdict {
    const bytes = Buffer.from(nonce, 'base64url');
    if (bytes.length !== STAMP_BYTES + MAC_BYTES) return 'forged';
    const stamp = bytes.subarray(0, STAMP_BYTES);
    if (!timingSafeEqual(bytes.subarray(STAMP_BYTES), this.#mac(nodeId, stamp))) return 'forged';
    // Another process's clock may be ahead of ours.
    if (Math.abs(this.#now() - stamp.readUIntBE(6, 6)) > NONCE_LIFETIME_MS) return 'expired';
    if (this.#shared) return 'fresh';
    return stamp.readUIntBE(0, 6) > (this.#answered.get(nodeId) ?? 0) ? 'fresh' : 'replayed';
  }

  /**
   * From now on this nonce, and every older one of the node, is `replayed` in this process; false when it was already,
   * by an answer that came at the same time.
   */
  spend(nodeId: string, nonce: string): boolean {
    if (this.#shared) return true;
    const number = Buffer.from(nonce, 'base64url').readUIntBE(0, 6);
    if (number <= (this.#answered.get(nodeId) ?? 0)) return false;
    this.#answered.set(nodeId, number);
    return true;
  }

  #now(): number {
    return Math.floor(this.#shared ? this.#clock.now() : this.#clock.monotonicMs());
  }

  #mac(nodeId: string, stamp: Buffer): Buffer {
    return createHmac('sha256', this.#key).update(nodeId).update(stamp).digest().subarray(0, MAC_BYTES);
  }
}
