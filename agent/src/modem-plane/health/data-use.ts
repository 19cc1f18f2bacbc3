/**
 * How much data each SIM has used in its billing period, over restarts, and whether that is all it may. Counted by the
 * modem's own counters where it has some, and never less than what customers moved; a carrier that counts more than
 * both is not seen. What lies beyond the cap is refused by the slot's verdict (slot-state.ts).
 */
import { join } from 'node:path';
import type { Clock } from '@mastline/shared/base/clock';
import { z } from 'zod';
import type { Log } from '../../observe/log';
import type { DataCounters } from '../driver';
import { KeptFile } from '../kept-file';
import type { DataCap } from '../sim-settings';

export const DATA_USE_FILE = 'data-use.json';
const MAX_SIMS = 1024;
/** A clock before this has not been set yet (2024-01-01): periods wait for the cloud's time. */
const EARLIEST = 1_704_067_200_000;

const Use = z.strictObject({
  version: z.literal(1),
  /** SIM (`iccid:…` or `slot:…`) → its running period. */
  sims: z.record(z.string().max(64), z.strictObject({ since: z.number(), bytes: z.int().min(0) })),
});
type Use = z.infer<typeof Use>;

/** The billing period that holds `at`, UTC: from `billingDay` of one month to that of the next. Pure. */
export function periodOf(at: number, billingDay: number): { from: number; to: number } {
  const date = new Date(at);
  const start = (monthsOn: number): number => {
    const first = Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + monthsOn, 1);
    const days = new Date(Date.UTC(date.getUTCFullYear(), date.getUTCMonth() + monthsOn + 1, 0)).getUTCDate();
    return first + (Math.min(billingDay, days) - 1) * 86_400_000;
  };
  const here = start(0);
  return at >= here ? { from: here, to: start(1) } : { from: start(-1), to: here };
}

export class DataUse {
  readonly #file: KeptFile<Use>;
  readonly #now: () => number;

  /** `now`: UTC by the cloud's clock. */
  constructor(options: { dataDir: string; clock: Clock; now: () => number; log: Log }) {
    this.#now = options.now;
    this.#file = new KeptFile<Use>({
      path: join(options.dataDir, DATA_USE_FILE),
      schema: Use,
      fresh: () => ({ version: 1, sims: {} }),
      clock: options.clock,
      log: options.log,
    });
  }

  /** Adds what the SIM moved; a new period begins by itself. */
  add(sim: string, bytes: number, billingDay: number): void {
    const now = this.#now();
    const { sims } = this.#file.value;
    const kept = sims[sim];
    // Without a clock nobody knows which period it is: it is added to the running one.
    const from = now < EARLIEST ? (kept?.since ?? 0) : periodOf(now, billingDay).from;
    if (kept === undefined && Object.keys(sims).length >= MAX_SIMS) delete sims[Object.keys(sims)[0] ?? ''];
    // A clock that was set back must not give a SIM its data anew.
    const begins = kept === undefined || from > kept.since;
    sims[sim] = begins ? { since: from, bytes } : { since: kept.since, bytes: kept.bytes + bytes };
    if (bytes > 0 || begins) this.#file.changed();
  }

  /** Bytes of the running period, and until when it runs. */
  of(sim: string, billingDay: number): { bytes: number; until: number } {
    const now = this.#now();
    const kept = this.#file.value.sims[sim];
    const { from, to } = periodOf(Math.max(now, EARLIEST), billingDay);
    const runs = kept !== undefined && (now < EARLIEST || kept.since >= from);
    return { bytes: runs ? kept.bytes : 0, until: to };
  }

  /** Why no more may go through the SIM, in words that stay the same until it may again; null while it may. */
  refusal(sim: string, cap: DataCap): string | null {
    const { bytes, until } = this.of(sim, cap.billingDay);
    if (bytes < cap.megabytes * 1_000_000) return null;
    return `${cap.megabytes} MB are used up, until ${new Date(until).toISOString().slice(0, 10)}`;
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** What a SIM moved between two looks, from counters that begin at zero now and then. */
export class DataGauge {
  #modem: number | null = null;
  #carried: number | null = null;

  /** `modem`: its counters, null when it has none or did not answer; `carried`: bytes of customers so far. */
  moved(modem: DataCounters | null, carried: number | null): number {
    const byModem = since(this.#modem, modem === null ? null : modem.rxBytes + modem.txBytes);
    const byCustomers = since(this.#carried, carried);
    if (modem !== null) this.#modem = modem.rxBytes + modem.txBytes;
    if (carried !== null) this.#carried = carried;
    return Math.max(byModem, byCustomers);
  }
}

function since(before: number | null, now: number | null): number {
  // The first look only tells where the counter stands.
  if (now === null || before === null) return 0;
  return now >= before ? now - before : now;
}

/** Names a SIM by its number, or else by where it is. */
export function simKey({ iccid, slot }: { iccid: string | null; slot: number }): string {
  return iccid === null ? `slot:${slot}` : `iccid:${iccid.replace(/[fF]$/, '')}`;
}
