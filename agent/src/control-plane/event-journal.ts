/**
 * What the node remembers until the cloud has it: events and flow summaries, numbered by stream, first in memory, on
 * disk when they have waited for long, dropped and counted when there is too much. An SD card sees none of it while the
 * link is up, and one write in SPILL_MS at most when it is not. Sending is event-sync.ts; the file is spool/event-file.ts.
 *
 * Numbers belong to an epoch, which is one run of the agent: nothing need be written down to go on counting, and what
 * an earlier run left on disk keeps the numbers that it had.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { FlowSummary } from '@mastline/shared/domain/flow-summary';
import type { EventStream, NodeEvent } from '@mastline/shared/domain/node-event';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { MAX_BATCH_EVENTS, MAX_EVENT_BATCH_BYTES } from '@mastline/shared/wire/limits';
import type { Log } from '../observe/log';
import type { Chunk, StreamCounts } from '../spool/event-file';
import type { EventStore } from '../spool/event-store';
import type { CloudTime } from './cloud-time';

/** What comes within this time goes in one batch. */
const SEAL_MS = 2_000;
/** The same on a metered link, where each batch costs its headers. An alarm does not wait. */
const METERED_SEAL_MS = 15 * 60_000;
/** A batch must be affordable out of half of the budget (event-budget.ts). */
const METERED_BATCH_BYTES = 16 * 1024;
/** The disk is written to once in this time at most. */
export const SPILL_MS = 15_000;
const METERED_SPILL_MS = 60_000;
/** Flow summaries wait so long in memory for the cloud; events not at all. */
const SPILL_AFTER_MS = 30_000;
/** Held in memory at most, bytes of JSON text. */
export const MAX_MEMORY_BYTES = 2 * 1024 * 1024;
const CLOSE_DEADLINE_MS = 2_000;

const STREAMS: readonly EventStream[] = ['events', 'flows'];
type Item = NodeEvent | FlowSummary;

/** A batch to send. `droppedEvents`: of this epoch. */
export interface Outgoing extends Chunk {
  droppedEvents: number;
}

/** Where a batch came from: `diskId` undefined means memory. */
interface Found {
  chunk: Chunk;
  diskId: number | undefined;
}

interface Kept extends Chunk {
  sealedAtMs: number;
}

/** One stream in memory. */
class Stream {
  /** Texts of items that have no number yet, and their bytes. */
  open: string[] = [];
  openBytes = 0;
  /** Numbered, oldest first. */
  chunks: Kept[] = [];
  lastNumber = 0;
  dropped = 0;
  /** On disk everything up to this id may be forgotten. */
  forgetUpTo = 0;
  /** Nothing of it is on disk after that. */
  diskDone = false;
}

export interface EventJournalOptions {
  store: EventStore;
  time: CloudTime;
  metered: boolean;
  clock: Clock;
  log: Log;
}

export class EventJournal {
  readonly epoch: string;
  readonly #options: EventJournalOptions;
  readonly #streams: Record<EventStream, Stream> = { events: new Stream(), flows: new Stream() };
  readonly #timers: Timer[];
  #memoryBytes = 0;
  /** Items whose time is not known yet: the clock has not been corrected. */
  #early: { stream: EventStream; item: Item; field: 'at' | 'endedAt'; monotonicMs: number; bytes: number }[] =
    [];
  /** The batch that is being sent, and where it came from. */
  #out: Found | undefined;
  #spilling: Promise<void> | undefined;
  /** Usage needs the room on the disk. */
  #held = false;
  #problem: string | null = null;
  #onReady: () => void = () => undefined;

  constructor(options: EventJournalOptions) {
    this.#options = options;
    const { clock, metered } = options;
    this.epoch = uuidv7(Math.max(0, Math.floor(options.time.now())));
    this.#timers = [
      clock.every(metered ? METERED_SEAL_MS : SEAL_MS, () => this.seal()),
      clock.every(metered ? METERED_SPILL_MS : SPILL_MS, () => void this.#spill()),
    ];
  }

  /** Called when there is something to send that was not there before. */
  onReady(listener: () => void): void {
    this.#onReady = listener;
  }

  /** An event that happened `agoMs` ago. */
  event(event: Omit<NodeEvent, 'at'>, agoMs = 0): void {
    this.#add('events', event as NodeEvent, 'at', agoMs);
    if (event.severity === 'alarm') this.seal();
  }

  flow(flow: Omit<FlowSummary, 'endedAt'>, agoMs: number): void {
    this.#add('flows', flow as FlowSummary, 'endedAt', agoMs);
  }

  /** Items of a stream that somebody else had no room for. */
  lost(stream: EventStream, items: number): void {
    this.#streams[stream].dropped += items;
  }

  /** How much was dropped in this run, for the status page. */
  dropped(): StreamCounts {
    return { events: this.#streams.events.dropped, flows: this.#streams.flows.dropped };
  }

  /** Usage needs the room on the disk: all of it is given up, and nothing goes there until `held` is false again. */
  hold(held: boolean): void {
    const isNew = held && !this.#held;
    this.#held = held;
    if (isNew) void this.#giveUpDisk();
  }

  /** Gives numbers to what has none. */
  seal(): void {
    this.#stampEarly();
    for (const stream of STREAMS) this.#sealOne(stream);
    if (STREAMS.some(stream => this.#streams[stream].chunks.length > 0)) this.#onReady();
  }

  /**
   * The batch that is to go next, the same until it is acknowledged; undefined when there is none. Events go before
   * flows, and what is on disk before what is in memory, which is younger. `mayTake` decides whether it may go now.
   */
  async next(mayTake: (stream: EventStream, bytes: number) => boolean): Promise<Outgoing | undefined> {
    for (const stream of STREAMS) {
      const found = this.#out?.chunk.stream === stream ? this.#out : await this.#oldest(stream);
      if (!found) continue;
      if (!mayTake(stream, Buffer.byteLength(found.chunk.text))) continue;
      this.#out = found;
      const { chunk } = found;
      const isOurs = chunk.epoch === this.epoch;
      return { ...chunk, droppedEvents: isOurs ? this.#streams[stream].dropped : 0 };
    }
    return undefined;
  }

  /** The cloud has a stream of an epoch up to `mark`, which settles the batch that is out or it does not. */
  acknowledge(epoch: string, stream: EventStream, mark: number): boolean {
    const out = this.#out;
    if (!out || out.chunk.epoch !== epoch || out.chunk.stream !== stream) return false;
    if (mark < out.chunk.first + out.chunk.items - 1) return false;
    this.#forget(out);
    return true;
  }

  /** The batch that is out cannot be sent at all. */
  discard(): void {
    const out = this.#out;
    if (!out) return;
    this.#streams[out.chunk.stream].dropped += out.chunk.items;
    this.#forget(out);
  }

  /** Puts on disk what is in memory, for the next run. */
  async close(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    this.seal();
    let timer: Timer | undefined;
    const late = new Promise<void>(resolve => {
      timer = this.#options.clock.after(CLOSE_DEADLINE_MS, resolve);
    });
    await Promise.race([late, this.#spill(true)]);
    timer?.cancel();
    await this.#options.store.close().catch(error => this.#failed(error));
  }

  #add(stream: EventStream, item: Item, field: 'at' | 'endedAt', agoMs: number): void {
    const { time, clock } = this.#options;
    if (time.offsetMs() !== undefined) {
      (item as Record<string, unknown>)[field] = Math.max(0, Math.floor(time.now() - agoMs));
      this.#push(stream, JSON.stringify(item));
      return;
    }
    const bytes = JSON.stringify(item).length;
    this.#early.push({ stream, item, field, monotonicMs: clock.monotonicMs() - agoMs, bytes });
    this.#memoryBytes += bytes;
    while (this.#memoryBytes > MAX_MEMORY_BYTES && this.#early.length > 0) {
      const oldest = this.#early.shift();
      if (!oldest) return;
      this.#memoryBytes -= oldest.bytes;
      this.#streams[oldest.stream].dropped += 1;
    }
  }

  #stampEarly(): void {
    const { time, clock } = this.#options;
    if (this.#early.length === 0 || time.offsetMs() === undefined) return;
    const early = this.#early;
    this.#early = [];
    const now = time.now();
    const nowMonotonicMs = clock.monotonicMs();
    for (const { stream, item, field, monotonicMs, bytes } of early) {
      this.#memoryBytes -= bytes;
      const at = Math.max(0, Math.floor(now - (nowMonotonicMs - monotonicMs)));
      (item as Record<string, unknown>)[field] = at;
      this.#push(stream, JSON.stringify(item));
    }
  }

  #push(stream: EventStream, text: string): void {
    const of = this.#streams[stream];
    const bytes = Buffer.byteLength(text) + 1;
    const maxBytes = this.#options.metered ? METERED_BATCH_BYTES : MAX_EVENT_BATCH_BYTES;
    if (of.open.length >= MAX_BATCH_EVENTS || of.openBytes + bytes > maxBytes) this.#sealOne(stream);
    of.open.push(text);
    of.openBytes += bytes;
    this.#memoryBytes += bytes;
    if (this.#memoryBytes > MAX_MEMORY_BYTES) this.#makeRoom();
  }

  #sealOne(stream: EventStream): void {
    const of = this.#streams[stream];
    if (of.open.length === 0) return;
    const chunk: Kept = {
      epoch: this.epoch,
      stream,
      first: of.lastNumber + 1,
      items: of.open.length,
      text: `[${of.open.join(',')}]`,
      sealedAtMs: this.#options.clock.monotonicMs(),
    };
    of.lastNumber += chunk.items;
    this.#memoryBytes += Buffer.byteLength(chunk.text) - of.openBytes;
    of.open = [];
    of.openBytes = 0;
    of.chunks.push(chunk);
  }

  /** Drops the oldest flow summaries in memory, then the oldest events. What is out stays: it is one batch. */
  #makeRoom(): void {
    for (const stream of ['flows', 'events'] as const) {
      const of = this.#streams[stream];
      while (this.#memoryBytes > MAX_MEMORY_BYTES) {
        const at = of.chunks.findIndex(chunk => chunk !== this.#out?.chunk);
        const [oldest] = at < 0 ? [] : of.chunks.splice(at, 1);
        if (!oldest) break;
        this.#memoryBytes -= Buffer.byteLength(oldest.text);
        of.dropped += oldest.items;
      }
    }
  }

  async #oldest(stream: EventStream): Promise<Found | undefined> {
    const { store } = this.#options;
    const of = this.#streams[stream];
    // A spill moves chunks from memory to disk: between the two they are in neither place.
    await this.#spilling;
    if (store.hasFile && !of.diskDone)
      try {
        const stored = await store.oldest(stream, of.forgetUpTo);
        if (stored) return { chunk: stored, diskId: stored.id };
        of.diskDone = true;
      } catch (error) {
        this.#failed(error);
      }
    const [chunk] = of.chunks;
    return chunk && { chunk, diskId: undefined };
  }

  #forget({ chunk, diskId }: Found): void {
    this.#out = undefined;
    const of = this.#streams[chunk.stream];
    if (diskId !== undefined) {
      of.forgetUpTo = Math.max(of.forgetUpTo, diskId);
      return;
    }
    const at = of.chunks.indexOf(chunk as Kept);
    // It may have been put on disk since it was sent: then it comes again, and the cloud knows it.
    if (at < 0) return;
    of.chunks.splice(at, 1);
    this.#memoryBytes -= Buffer.byteLength(chunk.text);
  }

  #spill(all = false): Promise<void> {
    this.#spilling ??= this.#spillNow(all).finally(() => {
      this.#spilling = undefined;
    });
    return this.#spilling;
  }

  async #spillNow(all: boolean): Promise<void> {
    const { store, clock } = this.#options;
    // What is being sent is about to be settled.
    const isDue = (chunk: Kept) => all || (chunk !== this.#out?.chunk && isOld(chunk));
    const isOld = (chunk: Kept) =>
      chunk.stream === 'events' || clock.monotonicMs() - chunk.sealedAtMs >= SPILL_AFTER_MS;
    const chunks = this.#held ? [] : STREAMS.flatMap(stream => this.#streams[stream].chunks.filter(isDue));
    const isForgetting = store.hasFile && STREAMS.some(stream => this.#streams[stream].forgetUpTo > 0);
    if (chunks.length === 0 && !isForgetting) return;
    // Taken out first: what is acknowledged while the disk is written to was written all the same.
    for (const chunk of chunks) {
      const of = this.#streams[chunk.stream];
      of.chunks.splice(of.chunks.indexOf(chunk), 1);
      of.diskDone = false;
      this.#memoryBytes -= Buffer.byteLength(chunk.text);
      if (this.#out?.chunk === chunk) this.#out = undefined;
    }
    try {
      const { dropped, problem } = await store.write(chunks, this.#forgotten());
      for (const stream of STREAMS) this.#streams[stream].dropped += dropped[stream];
      if (problem === null) this.#problem = null;
      else {
        this.#putBack(chunks);
        this.#failed(problem);
      }
    } catch (error) {
      this.#putBack(chunks);
      this.#failed(error);
    }
  }

  /** They stay in memory, as long as there is room. Written or not, the cloud keeps them once. */
  #putBack(chunks: readonly Kept[]): void {
    for (const chunk of [...chunks].reverse()) {
      this.#streams[chunk.stream].chunks.unshift(chunk);
      this.#memoryBytes += Buffer.byteLength(chunk.text);
    }
    this.#makeRoom();
  }

  async #giveUpDisk(): Promise<void> {
    await this.#spilling;
    const { store, log } = this.#options;
    if (!store.hasFile) return;
    try {
      const lost = await store.empty(this.#forgotten());
      for (const stream of STREAMS) this.#streams[stream].dropped += lost[stream];
      log.warn('events were given up: usage needs the room on the disk', {
        code: 'events/given-up',
        ...lost,
      });
    } catch (error) {
      this.#failed(error);
    }
  }

  #forgotten(): StreamCounts {
    return { events: this.#streams.events.forgetUpTo, flows: this.#streams.flows.forgetUpTo };
  }

  #failed(error: unknown): void {
    const problem = typeof error === 'string' ? error : messageOf(error);
    if (problem !== this.#problem)
      this.#options.log.warn('events are not kept on disk', { code: 'events/no-store', problem });
    this.#problem = problem;
  }
}
