/**
 * The book of days: what each slot relayed, sent of its own and moved over its interface, by UTC day, from readings
 * that are taken every few seconds. Pure changes of one plain value that lies on disk between them (reconciler.ts).
 *
 * A reading that cannot be compared with the one before (the stick was plugged in again, its counters fell) books
 * what the new counters hold, and what was relayed beyond that as `unseen`. A crash is closed at the next start: the
 * counters went on, so what they moved since the last reading, less what the spool took, is `unattributed`.
 */
import { DAY_MS, dayOf } from '@mastline/shared/domain/day';
import { z } from 'zod';
import { Counters, movedBetween, type Reading } from './interface-counters';
import { framingOf, type Lowest, lowestAfter, payloadOf } from './payload-estimate';

/** Days kept, told or not. */
export const KEPT_DAYS = 40;
/** Rows kept: more slots than any node has, for all days. */
const MAX_ROWS = 256 * KEPT_DAYS;

const Bytes = z.strictObject({ up: z.int().min(0), down: z.int().min(0) });
export type Bytes = z.infer<typeof Bytes>;
const NOTHING: Bytes = { up: 0, down: 0 };
/** Buffers of flows are taken to have been empty once in so long, or twice that. */
const AHEAD_MS = 60_000;

const LowestMean = z.strictObject({ up: z.number().nullable(), down: z.number().nullable() });

const Row = z.strictObject({
  day: z.int(),
  slot: z.int(),
  imei: z.string().nullable(),
  interface: z.string().nullable(),
  driver: z.string().nullable(),
  lowest: LowestMean,
  relayed: Bytes,
  own: Bytes,
  datagrams: Bytes,
  moved: Counters,
  unseen: Bytes,
  unattributed: Bytes,
  crashes: z.int(),
  resets: z.int(),
  /** The cloud has the final word of it. */
  noted: z.boolean(),
});
export type Row = z.infer<typeof Row>;

/** Where a slot's counts stood at the last reading. */
const Mark = z.strictObject({
  interface: z.string(),
  driver: z.string(),
  ifindex: z.int(),
  counters: Counters,
  lowest: LowestMean,
  /** In the spool by then, since the day `committedFrom`. */
  committed: Bytes,
  /** Relayed by then and not yet in the spool. */
  inFlight: Bytes,
  /** Down: carried by then and not yet relayed. Up, below zero: relayed and not yet carried. In the kernel's buffers. */
  ahead: z.strictObject({ up: z.int(), down: z.int() }),
});

export const Book = z.strictObject({
  version: z.literal(1),
  boot: z.string(),
  /** The agent said goodbye after the last reading. */
  closed: z.boolean(),
  committedFrom: z.int(),
  marks: z.record(z.string(), Mark),
  rows: z.array(Row).max(MAX_ROWS),
});
export type Book = z.infer<typeof Book>;

export function emptyBook(): Book {
  return { version: 1, boot: '', closed: true, committedFrom: 0, marks: {}, rows: [] };
}

/** One slot at one moment. */
export interface SlotReading {
  slot: number;
  imei: string | null;
  interface: string | null;
  /** Null when there is no interface, or it is not there now. */
  reading: Reading | null;
  /** Since the last booking. */
  relayed: Bytes;
  own: Bytes;
  datagrams: Bytes;
  committed: Bytes;
  inFlight: Bytes;
}

/** How far the interface was ahead of the relay, since the start: lately at least and at most; by slot. */
export class Ahead {
  readonly #slots = new Map<number, { sum: Bytes; atMs: number; low: Extremes; lowBefore: Extremes }>();

  /**
   * Takes a while into account, and gives what buffers of flows hold now: how far downward it is ahead of the least, and
   * upward behind the most, of the last minutes. Errors of the estimate do not add up over more than those.
   */
  after(slot: number, by: Bytes, nowMs: number): Bytes {
    const known = this.#slots.get(slot);
    const sum = { up: (known?.sum.up ?? 0) + by.up, down: (known?.sum.down ?? 0) + by.down };
    const here: Extremes = { mostUp: sum.up, leastDown: sum.down };
    const begins = known === undefined || nowMs - known.atMs >= AHEAD_MS;
    // Before anything went through a slot its buffers were empty.
    const lowBefore =
      known === undefined ? { mostUp: 0, leastDown: 0 } : begins ? known.low : known.lowBefore;
    const low = begins || known === undefined ? here : outermost(known.low, here);
    this.#slots.set(slot, { sum, atMs: begins ? nowMs : known.atMs, low, lowBefore });
    const { mostUp, leastDown } = outermost(low, lowBefore);
    return { up: sum.up - mostUp, down: sum.down - leastDown };
  }

  /** The slot's counters began anew. */
  forget(slot: number): void {
    this.#slots.delete(slot);
  }
}

interface Extremes {
  mostUp: number;
  leastDown: number;
}

function outermost(a: Extremes, b: Extremes): Extremes {
  return { mostUp: Math.max(a.mostUp, b.mostUp), leastDown: Math.min(a.leastDown, b.leastDown) };
}

/** Books a while that ends now and lies in `day`. `unfollowed`: relayed and own bytes since each slot's last good reading. */
export function bookWhile(
  book: Book,
  slots: readonly SlotReading[],
  when: {
    day: number;
    /** On the monotonic clock. */
    nowMs: number;
    committedFrom: number;
    timestamps: boolean;
    unfollowed: Map<number, Bytes>;
    ahead: Ahead;
  },
): void {
  for (const one of slots) {
    const key = String(one.slot);
    const mark = book.marks[key];
    const waiting = addBytes(when.unfollowed.get(one.slot) ?? NOTHING, addBytes(one.relayed, one.own));
    const isQuiet = total(waiting) === 0 && one.reading === null;
    const isKnown = book.rows.some(row => row.slot === one.slot && row.day === when.day);
    if (isQuiet && !isKnown) continue;
    const row = rowOf(book, one.slot, when.day);
    row.imei = one.imei ?? row.imei;
    row.relayed = addBytes(row.relayed, one.relayed);
    row.own = addBytes(row.own, one.own);
    row.datagrams = addBytes(row.datagrams, one.datagrams);
    if (one.reading === null || one.interface === null) {
      when.unfollowed.set(one.slot, waiting);
      // Of a slot without an interface nothing can be seen, ever; that says itself.
      continue;
    }
    when.unfollowed.delete(one.slot);
    const { ifindex, driver, counters } = one.reading;
    const followed = mark && mark.ifindex === ifindex ? movedBetween(mark.counters, counters) : null;
    const unknown: Lowest = { up: null, down: null };
    const since = followed ?? (mark ? counters : null);
    const lowest = since
      ? lowestAfter(followed && mark ? mark.lowest : unknown, since, one.datagrams)
      : unknown;
    row.interface = one.interface;
    row.driver = driver;
    row.lowest = lowest;
    const payload = (moved: Counters) =>
      payloadOf(moved, {
        framing: framingOf(driver, lowest),
        datagrams: one.datagrams,
        timestamps: when.timestamps,
      });
    let ahead = NOTHING;
    if (followed) {
      row.moved = addCounters(row.moved, followed);
      const seen = payload(followed);
      ahead = when.ahead.after(
        one.slot,
        { up: seen.up - waiting.up, down: seen.down - waiting.down },
        when.nowMs,
      );
    } else when.ahead.forget(one.slot);
    if (!followed && mark) {
      // Another device, or the same from zero: what the old one moved since its last reading is not known.
      row.resets += 1;
      row.moved = addCounters(row.moved, counters);
      row.unseen = addBytes(row.unseen, beyond(waiting, payload(counters)));
    } else if (!followed) row.unseen = addBytes(row.unseen, waiting);
    book.marks[key] = {
      ...{ interface: one.interface, driver, ifindex, counters, lowest },
      ...{ committed: one.committed, inFlight: one.inFlight, ahead },
    };
  }
  book.committedFrom = when.committedFrom;
  prune(book, when.day);
}

/** What the start of an agent finds of the run before. */
export interface Opening {
  day: number;
  boot: string;
  timestamps: boolean;
  /** By slot: the interface of its mark as it is now, null when it is gone. */
  readings: ReadonlyMap<number, Reading | null>;
  /** By slot: bytes in the spool since `book.committedFrom`. */
  committed: ReadonlyMap<number, Bytes>;
}

/** Closes the run before, and marks where this one begins. */
export function openBook(book: Book, opening: Opening): void {
  const sameBoot = book.boot === opening.boot;
  for (const [key, mark] of Object.entries(book.marks)) {
    const slot = Number(key);
    const reading = opening.readings.get(slot) ?? null;
    const isSame = sameBoot && reading !== null && reading.ifindex === mark.ifindex;
    const moved = isSame ? movedBetween(mark.counters, reading.counters) : null;
    if (!book.closed) {
      const row = rowOf(book, slot, opening.day);
      row.crashes += 1;
      row.interface ??= mark.interface;
      row.driver ??= mark.driver;
      const kept = beyond(opening.committed.get(slot) ?? NOTHING, mark.committed);
      // Of what is in the spool now, so much was relayed after the last reading.
      const relayed = beyond(kept, mark.inFlight);
      row.relayed = addBytes(row.relayed, relayed);
      if (moved === null) row.unseen = addBytes(row.unseen, relayed);
      else {
        row.lowest = mark.lowest;
        row.moved = addCounters(row.moved, moved);
        const payload = payloadOf(moved, {
          framing: framingOf(mark.driver, mark.lowest),
          datagrams: NOTHING,
          timestamps: opening.timestamps,
        });
        // Buffers held so much at the last reading: upward it was relayed before, downward it never was.
        row.unattributed = addBytes(row.unattributed, beyond(addBytes(payload, mark.ahead), relayed));
      }
      // Relayed before the last reading and lost with the memory it was in.
      row.unattributed = addBytes(row.unattributed, beyond(mark.inFlight, kept));
    }
    // What went over the interface while no agent ran is nobody's business here.
    if (isSame && moved !== null) book.marks[key] = { ...mark, counters: reading.counters };
    else delete book.marks[key];
  }
  book.boot = opening.boot;
  book.closed = false;
  prune(book, opening.day);
}

function rowOf(book: Book, slot: number, day: number): Row {
  const known = book.rows.find(row => row.slot === slot && row.day === day);
  if (known) return known;
  const row: Row = {
    ...{ day, slot, imei: null, interface: null, driver: null, lowest: { up: null, down: null } },
    ...{ relayed: NOTHING, own: NOTHING, datagrams: NOTHING, unseen: NOTHING, unattributed: NOTHING },
    moved: { upBytes: 0, downBytes: 0, upPackets: 0, downPackets: 0 },
    ...{ crashes: 0, resets: 0, noted: false },
  };
  book.rows.push(row);
  return row;
}

function prune(book: Book, day: number): void {
  const first = day - (KEPT_DAYS - 1) * DAY_MS;
  // A clock that was wrong for a while may have left days that are yet to come.
  book.rows = book.rows.filter(row => row.day >= first && row.day <= dayOf(day) + DAY_MS).slice(-MAX_ROWS);
}

export function addBytes(a: Bytes, b: Bytes): Bytes {
  return { up: a.up + b.up, down: a.down + b.down };
}

/** How much of `a` is more than `b`, each way; never below zero. */
export function beyond(a: Bytes, b: Bytes): Bytes {
  return { up: Math.max(0, a.up - b.up), down: Math.max(0, a.down - b.down) };
}

function addCounters(a: Counters, b: Counters): Counters {
  return {
    upBytes: a.upBytes + b.upBytes,
    downBytes: a.downBytes + b.downBytes,
    upPackets: a.upPackets + b.upPackets,
    downPackets: a.downPackets + b.downPackets,
  };
}

function total({ up, down }: Bytes): number {
  return up + down;
}
