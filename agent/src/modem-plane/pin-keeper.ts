/**
 * Enters a SIM's PIN, each PIN once: three wrong ones lock the SIM for good, and agents restart. That a PIN is about to
 * be tried is on disk before it is sent, and is forgotten only when the SIM has taken it; so a refused PIN, or one
 * whose answer was lost, is not tried again by any later run. The PIN itself is never written.
 */
import { randomBytes, scryptSync, timingSafeEqual } from 'node:crypto';
import { join } from 'node:path';
import type { Clock } from '@mastline/shared/base/clock';
import { z } from 'zod';
import type { Log } from '../observe/log';
import type { ModemDriver } from './driver';
import { KeptFile } from './kept-file';

export const PINS_FILE = 'tried-pins.json';
const MAX_KEPT = 1024;
const DIGEST_BYTES = 32;
/** The last try is a person's. */
const LEAST_TRIES = 2;

const Tried = z.strictObject({
  version: z.literal(1),
  pins: z
    .array(
      z.strictObject({
        /** `iccid:…` or `slot:…` where the SIM does not tell its number while it is locked. */
        sim: z.string().max(64),
        salt: z.base64(),
        digest: z.base64(),
        /** UTC, epoch milliseconds. */
        at: z.number(),
      }),
    )
    .max(MAX_KEPT),
});
type Tried = z.infer<typeof Tried>;

export interface SimPlace {
  slot: number;
  iccid: string | null;
}

export type PinOutcome =
  | { kind: 'accepted' }
  /** Refused now or before, or its answer was lost; it will not be tried again. */
  | { kind: 'refused'; message: string }
  /** Not tried: too few tries are left. */
  | { kind: 'spared'; message: string };

export class PinKeeper {
  readonly #file: KeptFile<Tried>;
  readonly #now: () => number;

  constructor(options: { dataDir: string; clock: Clock; now: () => number; log: Log }) {
    this.#now = options.now;
    this.#file = new KeptFile<Tried>({
      path: join(options.dataDir, PINS_FILE),
      schema: Tried,
      fresh: () => ({ version: 1, pins: [] }),
      clock: options.clock,
      log: options.log,
    });
  }

  /** Tries `pin` if that was never done with this SIM. Rejects when the attempt cannot be written down: then none is made. */
  async enter(
    driver: Pick<ModemDriver, 'enterPin'>,
    pin: string,
    sim: SimPlace & { triesLeft: number | null },
  ): Promise<PinOutcome> {
    if (this.wasTried(pin, sim))
      return { kind: 'refused', message: 'this PIN was tried before; set another one in the configuration' };
    if (sim.triesLeft !== null && sim.triesLeft < LEAST_TRIES)
      return { kind: 'spared', message: 'one try is left, and is left to a person' };
    const salt = randomBytes(16);
    const key = keyOf(sim);
    this.#file.value.pins.push({
      sim: key,
      salt: salt.toString('base64'),
      digest: digestOf(pin, salt).toString('base64'),
      at: this.#now(),
    });
    if (this.#file.value.pins.length > MAX_KEPT) this.#file.value.pins.shift();
    await this.#file.flush();
    const entered = await driver.enterPin(pin);
    if (entered.ok && entered.value.state === 'ready') {
      await this.forget(sim);
      return { kind: 'accepted' };
    }
    return {
      kind: 'refused',
      message: entered.ok ? `the SIM is ${entered.value.state} after it` : entered.fault.message,
    };
  }

  wasTried(pin: string, sim: SimPlace): boolean {
    const keys = keysOf(sim);
    return this.#file.value.pins.some(
      one =>
        keys.includes(one.sim) &&
        timingSafeEqual(digestOf(pin, Buffer.from(one.salt, 'base64')), Buffer.from(one.digest, 'base64')),
    );
  }

  /** The SIM is open: whatever was tried last was right, or a person has opened it. */
  async forget(sim: SimPlace): Promise<void> {
    const keys = keysOf(sim);
    const left = this.#file.value.pins.filter(one => !keys.includes(one.sim));
    if (left.length === this.#file.value.pins.length) return;
    this.#file.value.pins = left;
    await this.#file.flush();
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

function keyOf({ slot, iccid }: SimPlace): string {
  return iccid === null ? `slot:${slot}` : `iccid:${iccid}`;
}

/** A SIM may have told its number at one time and not at another. */
function keysOf({ slot, iccid }: SimPlace): string[] {
  return iccid === null ? [`slot:${slot}`] : [`iccid:${iccid}`, `slot:${slot}`];
}

function digestOf(pin: string, salt: Buffer): Buffer {
  return scryptSync(pin, salt, DIGEST_BYTES);
}
