/**
 * Events and flow summaries that could not be sent yet, in a SQLite file of their own. They are worth less than usage,
 * and everything here follows from that: the file is small, the first to go when the disk is tight, not flushed at each
 * write, and simply begun anew when it is broken. Synchronous; the thread around it is event-store.worker.ts.
 */
import { existsSync, rmSync, statfsSync } from 'node:fs';
import { dirname } from 'node:path';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { EventStream } from '@mastline/shared/domain/node-event';
import Sqlite, { type Database } from 'better-sqlite3';

/** What is kept at most; beyond it the oldest flow summaries go, then the oldest events. */
export const MAX_EVENT_FILE_BYTES = 16 * 1024 * 1024;
/** With less than this left on the disk nothing is kept, and what is there is given up: the room is usage's. */
export const MIN_FREE_BYTES = 64 * 1024 * 1024;
/** How much larger the file may be than what it holds, and pages besides: for the tree and for what is being removed. */
const SLACK = 1.5;
const SLACK_PAGES = 64;
const PAGE_BYTES = 4096;
/** Somebody else who reads the file; nobody waits for this thread. */
const BUSY_MS = 10_000;

/** Numbered items of one stream, as JSON text of an array. */
export interface Chunk {
  epoch: string;
  stream: EventStream;
  /** Number of the first item. */
  first: number;
  items: number;
  text: string;
}

export type StoredChunk = Chunk & { id: number };
export type StreamCounts = Record<EventStream, number>;

/** What became of a write. `dropped`: items that are gone for want of room. */
export interface Written {
  dropped: StreamCounts;
  /** Why nothing of it was kept, and nothing is any more; null when all is well. */
  problem: string | null;
}

export interface EventFileOptions {
  path: string;
  maxBytes?: number;
  /** Bytes that are free on the disk. */
  freeBytes?: (folder: string) => number;
}

const STREAM_NUMBER: StreamCounts = { events: 0, flows: 1 };
const STREAMS: readonly EventStream[] = ['events', 'flows'];

export class EventFile {
  readonly #path: string;
  readonly #maxBytes: number;
  readonly #freeBytes: (folder: string) => number;
  #db: Database | undefined;

  /** Opens what is there; makes nothing before there is something to keep. */
  constructor(options: EventFileOptions) {
    this.#path = options.path;
    this.#maxBytes = options.maxBytes ?? MAX_EVENT_FILE_BYTES;
    this.#freeBytes = options.freeBytes ?? freeBytesOf;
    if (existsSync(this.#path)) this.#attempt(() => this.#open());
  }

  /** Keeps chunks and forgets those up to an id, in one transaction. Never throws: what there was is worth less than that. */
  write(chunks: readonly Chunk[], forget: Partial<StreamCounts>): Written {
    const isTight = this.#attempt(() => this.#freeBytes(dirname(this.#path)) < MIN_FREE_BYTES);
    if (isTight !== false) {
      const problem = isTight === true ? 'the disk is nearly full' : this.#problem;
      return { dropped: this.empty(forget), problem };
    }
    const dropped = this.#attempt(() => this.#write(chunks, forget));
    if (dropped !== undefined) return { dropped, problem: null };
    const problem = this.#problem;
    return { dropped: this.empty(forget), problem };
  }

  /** The oldest chunk of a stream after `after`; undefined when there is none. */
  oldest(stream: EventStream, after: number): StoredChunk | undefined {
    const row = this.#attempt(
      () =>
        this.#db
          ?.prepare<[number, number], Omit<StoredChunk, 'stream'>>(
            'SELECT id, epoch, first, items, text FROM chunks WHERE stream = ? AND id > ? ORDER BY id LIMIT 1',
          )
          .get(STREAM_NUMBER[stream], after) ?? null,
    );
    // Broken: what it held is gone.
    if (row === undefined) this.empty({});
    return row ? { ...row, stream } : undefined;
  }

  /** Gives all of it up, with its room on the disk; how many items that were, without those up to `forget`. */
  empty(forget: Partial<StreamCounts>): StreamCounts {
    const lost = this.#attempt(() => this.#left(forget)) ?? { events: 0, flows: 0 };
    this.close();
    for (const tail of ['', '-wal', '-shm']) this.#attempt(() => rmSync(this.#path + tail, { force: true }));
    return lost;
  }

  close(): void {
    this.#attempt(() => this.#db?.close());
    this.#db = undefined;
  }

  #problem = '';

  /** Undefined when it failed; why is `#problem`. */
  #attempt<T>(work: () => T): T | undefined {
    try {
      return work();
    } catch (error) {
      this.#problem = messageOf(error);
      return undefined;
    }
  }

  #open(): Database {
    if (this.#db) return this.#db;
    const db = new Sqlite(this.#path, { timeout: BUSY_MS });
    try {
      db.pragma(`page_size = ${PAGE_BYTES}`);
      db.pragma('journal_mode = WAL');
      // Not FULL: a power cut may take the last of it, and no write waits for the disk.
      db.pragma('synchronous = NORMAL');
      db.pragma(`journal_size_limit = ${1024 * 1024}`);
      db.pragma(`max_page_count = ${Math.ceil((this.#maxBytes * SLACK) / PAGE_BYTES) + SLACK_PAGES}`);
      db.exec(
        `CREATE TABLE IF NOT EXISTS chunks (
           id INTEGER PRIMARY KEY AUTOINCREMENT, stream INTEGER NOT NULL, epoch TEXT NOT NULL, first INTEGER NOT NULL,
           items INTEGER NOT NULL, bytes INTEGER NOT NULL, text TEXT NOT NULL) STRICT;
         CREATE INDEX IF NOT EXISTS chunks_by_stream ON chunks (stream, id);`,
      );
    } catch (error) {
      db.close();
      throw error;
    }
    this.#db = db;
    return db;
  }

  #write(chunks: readonly Chunk[], forget: Partial<StreamCounts>): StreamCounts {
    const db = this.#open();
    return db
      .transaction((): StreamCounts => {
        const remove = db.prepare('DELETE FROM chunks WHERE stream = ? AND id <= ?');
        for (const stream of STREAMS) remove.run(STREAM_NUMBER[stream], forget[stream] ?? 0);
        const insert = db.prepare(
          'INSERT INTO chunks (stream, epoch, first, items, bytes, text) VALUES (?, ?, ?, ?, ?, ?)',
        );
        for (const { stream, epoch, first, items, text } of chunks)
          insert.run(STREAM_NUMBER[stream], epoch, first, items, Buffer.byteLength(text), text);
        return this.#makeRoom(db);
      })
      .immediate();
  }

  #makeRoom(db: Database): StreamCounts {
    const dropped: StreamCounts = { events: 0, flows: 0 };
    let { bytes } = db
      .prepare<[], { bytes: number }>('SELECT coalesce(sum(bytes), 0) AS bytes FROM chunks')
      .get() ?? { bytes: 0 };
    if (bytes <= this.#maxBytes) return dropped;
    // Flow summaries first: the larger number is the lesser stream.
    const worst = db.prepare<[], { id: number; stream: number; items: number; bytes: number }>(
      'SELECT id, stream, items, bytes FROM chunks ORDER BY stream DESC, id LIMIT 1',
    );
    const remove = db.prepare('DELETE FROM chunks WHERE id = ?');
    for (let row = worst.get(); row && bytes > this.#maxBytes; row = worst.get()) {
      remove.run(row.id);
      bytes -= row.bytes;
      dropped[row.stream === STREAM_NUMBER.events ? 'events' : 'flows'] += row.items;
    }
    return dropped;
  }

  #left(forget: Partial<StreamCounts>): StreamCounts {
    const sum = (stream: EventStream) =>
      this.#db
        ?.prepare<[number, number], { items: number }>(
          'SELECT coalesce(sum(items), 0) AS items FROM chunks WHERE stream = ? AND id > ?',
        )
        .get(STREAM_NUMBER[stream], forget[stream] ?? 0)?.items ?? 0;
    return { events: sum('events'), flows: sum('flows') };
  }
}

function freeBytesOf(folder: string): number {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
}
