/**
 * Counts each slot's day three ways: what the data plane relayed, what the spool took, what the interface moved. Takes a
 * reading every few seconds and at midnight, keeps the book (day-book.ts) in `reconciliation.json`, and gives the
 * days that the cloud has not noted for good. Sending them is control-plane/reconcile-link.ts; comparing is the cloud's.
 *
 * The file is written after each reading in which customers moved something, else once an hour: what a crash
 * forgets of the book is found again in the spool and in the kernel's counters.
 */
import { join } from 'node:path';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { DAY_MS, dayOf } from '@mastline/shared/domain/day';
import type { SlotReport } from '@mastline/shared/domain/modem';
import { SlotDay } from '@mastline/shared/domain/reconciliation';
import { readNumber } from '../modem-plane/discovery/sysfs';
import type { SystemRoots } from '../modem-plane/discovery/system-roots';
import { KeptFile } from '../modem-plane/kept-file';
import type { Log } from '../observe/log';
import type { OwnTraffic, Reconciliation, SlotTraffic } from '../ports';
import type { NodeSpool } from '../spool/usage-spool';
import type { SlotDayBytes } from '../spool/usage-table';
import {
  Ahead,
  addBytes,
  Book,
  type Bytes,
  beyond,
  bookWhile,
  emptyBook,
  KEPT_DAYS,
  openBook,
  type Row,
  type SlotReading,
} from './day-book';
import { type Reading, readInterface } from './interface-counters';
import { framingOf, payloadOf } from './payload-estimate';

export const RECONCILIATION_FILE = 'reconciliation.json';
/** Between two readings: what a re-plug leaves unseen at most. */
export const READ_EVERY_MS = 15_000;
/** A change of the modems is read so soon after it. */
const READ_SOON_MS = 1_000;
/** The book goes to disk so often when only our own traffic was counted. */
const QUIET_WRITE_MS = 3_600_000;
/** Of the spool's days this one and so many before are compared between readings. */
const KEPT_BEFORE_MS = 2 * DAY_MS;
/** A clock before this has not been set yet: nobody knows which day it is. */
const EARLIEST = Date.UTC(2026, 0, 1);

export interface ReconcilerOptions {
  dataDir: string;
  spool: Pick<NodeSpool, 'slotDays'>;
  bootId: string;
  clock: Clock;
  /** Corrected epoch milliseconds. */
  now: () => number;
  roots: Pick<SystemRoots, 'sysfs' | 'proc'>;
  log: Log;
}

/** What there is to read; each counts since the start of the agent. */
export interface ReconcilerSources {
  slots(): Pick<SlotReport, 'slot' | 'interface' | 'imei'>[];
  onChange(listener: () => void): void;
  traffic(): Promise<SlotTraffic[]>;
  own(): Promise<OwnTraffic[]>;
}

interface Counted {
  relayed: Bytes;
  own: Bytes;
  datagrams: Bytes;
}

const NOTHING: Bytes = { up: 0, down: 0 };

export class Reconciler implements Reconciliation {
  readonly #options: ReconcilerOptions;
  readonly #file: KeptFile<Book>;
  /** By slot: what was counted up to the last booking. */
  readonly #booked = new Map<number, Counted>();
  readonly #unfollowed = new Map<number, Bytes>();
  readonly #ahead = new Ahead();
  /** By slot: relayed and not yet in the spool, at the last reading. */
  readonly #inFlight = new Map<number, Bytes>();
  /** What the spool said at the last reading, and from which day on. */
  #kept: SlotDayBytes[] = [];
  #keptFrom = 0;
  #sources: ReconcilerSources | undefined;
  #timer: Timer | undefined;
  #reading: Promise<void> | undefined;
  #readAgain = false;
  /** Day in which the while since the last reading began. */
  #day = 0;
  #writtenAtMs = Number.NEGATIVE_INFINITY;
  #timestamps = true;
  #closed = false;

  private constructor(options: ReconcilerOptions) {
    this.#options = options;
    this.#file = new KeptFile<Book>({
      path: join(options.dataDir, RECONCILIATION_FILE),
      schema: Book,
      fresh: emptyBook,
      clock: options.clock,
      log: options.log,
    });
  }

  /** Reads the book and closes the run before. To be called before anything is sent through a slot. Rejects with `spool/…` or `disk/…`. */
  static async open(options: ReconcilerOptions): Promise<Reconciler> {
    const reconciler = new Reconciler(options);
    await reconciler.#open();
    return reconciler;
  }

  /** Takes readings from now on. */
  begin(sources: ReconcilerSources): void {
    this.#sources = sources;
    sources.onChange(() => this.#schedule(READ_SOON_MS));
    void this.read();
  }

  /** Takes a reading; while one is on, another follows it. Never rejects. */
  read(): Promise<void> {
    if (this.#reading) this.#readAgain = true;
    this.#reading ??= this.#readAll().finally(() => {
      this.#reading = undefined;
    });
    return this.#reading;
  }

  async report({
    finished,
  }: {
    finished: boolean;
  }): Promise<{ oldestPending: number | null; days: SlotDay[] }> {
    await this.read();
    const { log, now } = this.#options;
    const today = dayOf(now());
    const spool = await this.#options.spool.slotDays(today - KEPT_DAYS * DAY_MS);
    const committed = new Map(
      spool.days.map(({ day, slot, upBytes, downBytes }) => [
        `${day} ${slot}`,
        { up: upBytes, down: downBytes },
      ]),
    );
    const days: SlotDay[] = [];
    for (const row of this.#file.value.rows) {
      if (row.noted || (finished && !isFinal(row.day, { oldestPending: spool.oldestPending, at: now() })))
        continue;
      const day = SlotDay.safeParse(this.#dayOf(row, committed.get(`${row.day} ${row.slot}`) ?? NOTHING));
      if (day.success) days.push(day.data);
      else log.error('a day does not fit the protocol and is not told', { day: row.day, slot: row.slot });
    }
    return { oldestPending: spool.oldestPending, days };
  }

  noted(told: { oldestPending: number | null; at: number; days: readonly SlotDay[] }): void {
    let changed = false;
    for (const { day, slot } of told.days) {
      const row = this.#file.value.rows.find(one => one.day === day && one.slot === slot);
      if (!row || row.noted || !isFinal(day, told)) continue;
      row.noted = true;
      changed = true;
    }
    if (changed) this.#file.changed();
  }

  /** The days as the book has them, newest last; for people who look. */
  rows(): readonly Row[] {
    return this.#file.value.rows;
  }

  /**
   * Takes the last reading and says goodbye: what the interfaces move from now on is not ours. To be called when the
   * data plane has committed its last usage, while the spool is still open.
   */
  async close(): Promise<void> {
    if (this.#closed) return;
    await this.#reading;
    this.#closed = true;
    this.#timer?.cancel();
    try {
      await this.#readOnce('last');
    } catch (error) {
      this.#options.log.warn('the last reading for reconciliation failed', { error });
    }
    this.#file.value.closed = true;
    await this.#file.flush();
    await this.#file.close();
  }

  async #open(): Promise<void> {
    const { spool, bootId, now, roots } = this.#options;
    const book = this.#file.value;
    this.#timestamps = (await readNumber(join(roots.proc, 'sys/net/ipv4/tcp_timestamps'))) !== 0;
    const readings = new Map<number, Reading | null>();
    for (const [slot, mark] of Object.entries(book.marks))
      readings.set(Number(slot), await readInterface(mark.interface, roots));
    // A box without battery wakes in 1970: the crash then belongs to the last day that is known.
    const last = book.rows.reduce((latest, row) => Math.max(latest, row.day), 0);
    const day = Math.max(dayOf(now()), last);
    openBook(book, {
      ...{ day, boot: bootId, timestamps: this.#timestamps, readings },
      committed: sumsOf((await spool.slotDays(book.committedFrom)).days),
    });
    this.#keptFrom = day - KEPT_BEFORE_MS;
    this.#kept = (await spool.slotDays(this.#keptFrom)).days;
    this.#day = dayOf(now());
    await this.#file.flush();
    this.#writtenAtMs = this.#options.clock.monotonicMs();
  }

  #schedule(ms: number): void {
    if (this.#closed) return;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.after(ms, () => void this.read());
  }

  async #readAll(): Promise<void> {
    const { log, now } = this.#options;
    do {
      this.#readAgain = false;
      try {
        await this.#readOnce();
      } catch (error) {
        log.warn('the slots could not be read for reconciliation', { error });
      }
    } while (this.#readAgain && !this.#closed);
    // A while ends with its day.
    const at = now();
    this.#schedule(Math.max(1, Math.min(READ_EVERY_MS, dayOf(at) + DAY_MS - at)));
  }

  /** The last one counts by the spool: the data plane is closed, and all it relayed is there. */
  async #readOnce(which: 'usual' | 'last' = 'usual'): Promise<void> {
    const { spool, now, roots, clock } = this.#options;
    const sources = this.#sources;
    const at = now();
    if (sources === undefined || at < EARLIEST) return;
    // What is in the spool was relayed before, and what was relayed was moved before: in this order none seems too little.
    const keptFrom = dayOf(at) - KEPT_BEFORE_MS;
    const kept = (await spool.slotDays(Math.min(keptFrom, this.#keptFrom))).days;
    const keptBefore = sumsOf(this.#kept);
    const keptNow = sumsOf(kept.filter(one => one.day >= this.#keptFrom));
    const marks = sumsOf(kept.filter(one => one.day >= keptFrom));
    this.#kept = kept.filter(one => one.day >= keptFrom);
    this.#keptFrom = keptFrom;
    const [traffic, own] =
      which === 'last' ? [[], []] : await Promise.all([sources.traffic(), sources.own()]);
    const slots = sources.slots();
    const readings = await Promise.all(
      slots.map(one => (one.interface === null ? null : readInterface(one.interface, roots))),
    );
    const whole = slots.map(({ slot, interface: name, imei }, i): SlotReading => {
      const written = beyond(keptNow.get(slot) ?? NOTHING, keptBefore.get(slot) ?? NOTHING);
      const flying = this.#inFlight.get(slot) ?? NOTHING;
      const before = this.#booked.get(slot) ?? { relayed: NOTHING, own: NOTHING, datagrams: NOTHING };
      const counted =
        which === 'last'
          ? { ...before, relayed: addBytes(before.relayed, beyond(written, flying)) }
          : countedOf(slot, traffic, own);
      this.#booked.set(slot, counted);
      const relayed = beyond(counted.relayed, before.relayed);
      const inFlight = beyond(addBytes(flying, relayed), written);
      this.#inFlight.set(slot, inFlight);
      return {
        ...{ slot, imei, interface: name, reading: readings[i] ?? null },
        ...{ relayed, own: beyond(counted.own, before.own) },
        datagrams: beyond(counted.datagrams, before.datagrams),
        ...{ committed: marks.get(slot) ?? NOTHING, inFlight },
      };
    });
    const day = this.#day >= EARLIEST ? Math.min(this.#day, dayOf(at)) : dayOf(at);
    bookWhile(this.#file.value, whole, {
      ...{ day, committedFrom: keptFrom },
      ...{ timestamps: this.#timestamps, unfollowed: this.#unfollowed },
      ...{ ahead: this.#ahead, nowMs: clock.monotonicMs() },
    });
    this.#day = dayOf(now());
    const isBusy = whole.some(({ relayed }) => relayed.up + relayed.down > 0);
    if (!isBusy && clock.monotonicMs() - this.#writtenAtMs < QUIET_WRITE_MS) return;
    this.#writtenAtMs = clock.monotonicMs();
    await this.#file.flush();
  }

  #dayOf(row: Row, committed: Bytes): SlotDay {
    const { day, slot, imei, relayed, own, unseen, unattributed, crashes, resets, driver } = row;
    const { upPackets, downPackets } = row.moved;
    return {
      ...{ day, slot, imei, interface: row.interface, driver, relayed, committed, own, unseen, unattributed },
      ...{ crashes, resets, packets: { up: upPackets, down: downPackets } },
      carried:
        driver === null
          ? null
          : payloadOf(row.moved, {
              framing: framingOf(driver, row.lowest),
              datagrams: row.datagrams,
              timestamps: this.#timestamps,
            }),
    };
  }
}

/** A day is final when it is over and the cloud has all its usage. */
export function isFinal(day: number, told: { oldestPending: number | null; at: number }): boolean {
  const end = day + DAY_MS;
  return told.at >= end && (told.oldestPending === null || told.oldestPending >= end);
}

function sumsOf(days: readonly { slot: number; upBytes: number; downBytes: number }[]): Map<number, Bytes> {
  const sums = new Map<number, Bytes>();
  for (const { slot, upBytes, downBytes } of days)
    sums.set(slot, addBytes(sums.get(slot) ?? NOTHING, { up: upBytes, down: downBytes }));
  return sums;
}

function countedOf(slot: number, traffic: readonly SlotTraffic[], own: readonly OwnTraffic[]): Counted {
  const counted: Counted = { relayed: NOTHING, own: NOTHING, datagrams: NOTHING };
  for (const one of traffic)
    if (one.slot === slot)
      counted.relayed = addBytes(counted.relayed, { up: one.upBytes, down: one.downBytes });
  for (const one of own) {
    if (one.slot !== slot) continue;
    counted.own = addBytes(counted.own, { up: one.upBytes, down: one.downBytes });
    counted.datagrams = addBytes(counted.datagrams, { up: one.upDatagrams, down: one.downDatagrams });
  }
  return counted;
}
