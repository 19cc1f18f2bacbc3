/**
 * The file of events as the agent sees it: calls with deadlines to its thread, which is started when there is something
 * to keep or something was kept before. A node whose link is up sends its events from memory and needs neither. When
 * the thread fails, events are lost and nothing else: usage has a thread and a file of its own.
 */
import { existsSync } from 'node:fs';
import { Worker } from 'node:worker_threads';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import type { EventStream } from '@mastline/shared/domain/node-event';
import { workerUrl } from '../worker-url';
import type { Chunk, StoredChunk, StreamCounts, Written } from './event-file';

/** A disk that stalls; nobody waits for it but events. */
const CALL_DEADLINE_MS = 60_000;

export interface EventStoreData {
  path: string;
}

export type EventRequest =
  | { id: number; operation: 'write'; chunks: readonly Chunk[]; forget: Partial<StreamCounts> }
  | { id: number; operation: 'oldest'; stream: EventStream; after: number }
  | { id: number; operation: 'empty'; forget: Partial<StreamCounts> }
  | { id: number; operation: 'close' };

export interface EventReply {
  id: number;
  value: Written | StoredChunk | StreamCounts | null;
}

/** Omit on each member of a union. */
type Asked<T> = T extends unknown ? Omit<T, 'id'> : never;

export interface EventStore {
  /** False while there is no file: there is nothing to read then. */
  readonly hasFile: boolean;
  /** Rejects with `events/no-store` when the thread is gone or does not answer. */
  write(chunks: readonly Chunk[], forget: Partial<StreamCounts>): Promise<Written>;
  oldest(stream: EventStream, after: number): Promise<StoredChunk | null>;
  /** Gives up everything, with its room; how many items that were, without those up to `forget`. */
  empty(forget: Partial<StreamCounts>): Promise<StreamCounts>;
  close(): Promise<void>;
}

export function eventStore(path: string, clock: Clock): EventStore {
  return new ThreadedEventStore(path, clock);
}

class ThreadedEventStore implements EventStore {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #pending = new Map<
    number,
    { resolve: (value: never) => void; reject: (error: unknown) => void }
  >();
  #worker: Worker | undefined;
  #nextId = 1;
  #hasFile: boolean;
  #closed = false;

  constructor(path: string, clock: Clock) {
    this.#path = path;
    this.#clock = clock;
    this.#hasFile = existsSync(path);
  }

  get hasFile(): boolean {
    return this.#hasFile;
  }

  async write(chunks: readonly Chunk[], forget: Partial<StreamCounts>): Promise<Written> {
    this.#hasFile = true;
    const written = await this.#call<Written>({ operation: 'write', chunks, forget });
    this.#hasFile = written.problem === null;
    return written;
  }

  oldest(stream: EventStream, after: number): Promise<StoredChunk | null> {
    return this.#call({ operation: 'oldest', stream, after });
  }

  async empty(forget: Partial<StreamCounts>): Promise<StreamCounts> {
    const lost = await this.#call<StreamCounts>({ operation: 'empty', forget });
    this.#hasFile = false;
    return lost;
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    try {
      if (this.#worker) await this.#call({ operation: 'close' });
    } finally {
      this.#closed = true;
      await this.#worker?.terminate();
    }
  }

  async #call<T>(asked: Asked<EventRequest>): Promise<T> {
    if (this.#closed) throw gone('it is closed');
    const worker = this.#started();
    const id = this.#nextId++;
    const answer = new Promise<T>((resolve, reject) => this.#pending.set(id, { resolve, reject }));
    worker.postMessage({ id, ...asked });
    try {
      return await withDeadline(answer, CALL_DEADLINE_MS, `event store ${asked.operation}`, this.#clock);
    } catch (error) {
      if (this.#pending.delete(id)) {
        this.#fail(worker, messageOf(error));
        throw gone(messageOf(error));
      }
      throw error;
    }
  }

  #started(): Worker {
    if (this.#worker) return this.#worker;
    const workerData: EventStoreData = { path: this.#path };
    const worker = new Worker(workerUrl('event-store.worker'), { workerData, name: 'events' });
    worker.on('message', ({ id, value }: EventReply) => {
      this.#pending.get(id)?.resolve(value as never);
      this.#pending.delete(id);
    });
    worker.on('error', error => this.#fail(worker, messageOf(error)));
    worker.on('exit', code => this.#fail(worker, `its thread ended with code ${code}`));
    this.#worker = worker;
    return worker;
  }

  /** The next call starts another thread. */
  #fail(worker: Worker, why: string): void {
    if (this.#worker !== worker) return;
    this.#worker = undefined;
    void worker.terminate();
    for (const { reject } of this.#pending.values()) reject(gone(why));
    this.#pending.clear();
  }
}

const gone = (why: string) => new CodedError('events/no-store', `events cannot be kept on disk: ${why}`);
