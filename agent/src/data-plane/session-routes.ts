/**
 * What a guest's wishes (login.ts) mean for a new flow: to which slot its session belongs, and whether another
 * address has to be asked for first. Sessions lie in session-table.ts; who rotates a modem is beyond a port.
 */

import { codeOf } from '@mastline/shared/base/coded-error';
import type { RefusalDetail, RefusalReason } from '@mastline/shared/protocols/refusal';
import type { RotateOutcome, RotateSlot } from '../ports';
import type { ModemAsk } from './choose-modem';
import { type Guest, NO_WISH } from './login';
import { type SessionKey, type SessionTable, sessionKey } from './session-table';

/** How long a session is kept after its last flow when it does not say. */
export const DEFAULT_TTL_MS = 10 * 60_000;
/** How long it is known which number a credential without session rotated last. */
const ROTATE_TTL_MS = 24 * 3_600_000;

export interface Refusal {
  reason: RefusalReason;
  detail?: RefusalDetail | undefined;
}

/** One guest at one endpoint. */
export interface SessionRoute {
  ask: ModemAsk;
  /** A flow begins on `slot`. What it gives back, if anything, is to be called once when the flow is over. */
  began(slot: number): (() => void) | null;
}

const ANY_MODEM: SessionRoute = { ask: { wish: {}, kept: null, spread: null }, began: () => null };

export class SessionRoutes {
  readonly #table: SessionTable;
  readonly #rotate: RotateSlot;
  /** Rotations of this lane under way, by slot: others that want the same wait for it. */
  readonly #rotating = new Map<number, Promise<Refusal | null>>();

  constructor(table: SessionTable, rotate: RotateSlot) {
    this.#table = table;
    this.#rotate = rotate;
  }

  route(endpointId: string, guest: Guest): SessionRoute {
    const { wish, credentialId } = guest;
    if (wish === NO_WISH) return ANY_MODEM;
    if (wish.session === undefined) return { ...ANY_MODEM, ask: { ...ANY_MODEM.ask, wish } };
    const key = sessionKey({ endpointId, credentialId, session: wish.session });
    const ttlMs = wish.ttlMs ?? DEFAULT_TTL_MS;
    return {
      ask: { wish, kept: this.#table.slotOf(key), spread: (key[1] ?? 0) >>> 0 },
      began: slot => (this.#table.began(key, slot, ttlMs) ? () => this.#table.ended(key, ttlMs) : null),
    };
  }

  /** Rotates `slot` when the guest's number is new. Resolves when the flow may go on, or with why not. */
  async rotate(endpointId: string, guest: Guest, slot: number): Promise<Refusal | null> {
    const { rotate: count, session = null, ttlMs = DEFAULT_TTL_MS } = guest.wish;
    if (count === undefined) return null;
    const key = sessionKey({ endpointId, credentialId: guest.credentialId, session });
    const before = this.#table.raise(key, count, session === null ? ROTATE_TTL_MS : ttlMs);
    const running = this.#rotating.get(slot);
    if (running) return running;
    if (before === null) return null;
    const rotation = this.#ask({ slot, credentialId: guest.credentialId }, { key, before });
    this.#rotating.set(slot, rotation);
    try {
      return await rotation;
    } finally {
      this.#rotating.delete(slot);
    }
  }

  async #ask(
    request: { slot: number; credentialId: string },
    raised: { key: SessionKey; before: number },
  ): Promise<Refusal | null> {
    const outcome = await rotateOrFail(this.#rotate, request);
    switch (outcome.kind) {
      case 'rotated':
        return null;
      case 'unavailable':
        // Nothing was tried: whoever asks again hears the same.
        this.#table.lower(raised.key, raised.before);
        return {
          reason: 'rotation-unavailable',
          detail: { text: `Slot ${request.slot}: ${outcome.reason}.` },
        };
      case 'collision':
        return {
          reason: 'rotation-failed',
          detail: { text: 'It got the same address again; raise the number to try again.' },
        };
      case 'failed':
        return {
          reason: 'rotation-failed',
          detail: { text: `${outcome.reason}; raise the number to try again.` },
        };
    }
  }
}

/** A fault of who rotates is a rotation that failed. */
export async function rotateOrFail(
  rotate: RotateSlot,
  request: { slot: number; credentialId: string },
): Promise<RotateOutcome> {
  try {
    return await rotate(request);
  } catch (error) {
    return { kind: 'failed', reason: `the request failed (${codeOf(error) ?? 'unknown'})` };
  }
}
