/**
 * What rotations came to, on disk: the last ones of each slot, whether the cloud has them, and what they taught
 * (rotation-statistics.ts). One file, written whole after a rotation, at most one write under way. A broken file is
 * put aside and named: it holds experience, nothing without which a node could not serve.
 */
import { readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { RotationRecord } from '@mastline/shared/domain/rotation';
import { z } from 'zod';
import { writeDurably } from '../durable-file';
import type { Log } from '../observe/log';
import { Experience } from './rotation-statistics';

export const ROTATION_BOOK_NAME = 'rotations.json';
/** Of each slot. */
export const HISTORY_KEPT = 100;

const Entry = z.looseObject({ record: RotationRecord, noted: z.boolean() });
const Book = z.looseObject({
  version: z.literal(1),
  entries: z.array(Entry).max(65_536),
  experience: z.array(Experience).max(65_536),
});

export class RotationBook {
  readonly #path: string;
  readonly #log: Log;
  readonly #experience: () => Experience[];
  readonly #read: z.infer<typeof Book> | null;
  /** In order of their ends. */
  #entries: z.infer<typeof Entry>[];
  #writing: Promise<void> = Promise.resolve();
  #writesWaiting = 0;

  /** `experience` is asked at each write. */
  constructor(options: { dataDir: string; log: Log; experience: () => Experience[] }) {
    this.#path = join(options.dataDir, ROTATION_BOOK_NAME);
    this.#log = options.log;
    this.#experience = options.experience;
    this.#read = readBook(this.#path, options.log);
    this.#entries = this.#read?.entries ?? [];
  }

  /** What was learnt before this start. */
  pastExperience(): readonly Experience[] {
    return this.#read?.experience ?? [];
  }

  /** Oldest first. */
  history(slot: number): RotationRecord[] {
    return this.#entries.filter(one => one.record.slot === slot).map(one => one.record);
  }

  find(id: string): RotationRecord | undefined {
    return this.#entries.find(one => one.record.id === id)?.record;
  }

  /** Those that the cloud has not said that it has, oldest first. */
  unnoted(): RotationRecord[] {
    return this.#entries.filter(one => !one.noted).map(one => one.record);
  }

  add(record: RotationRecord): void {
    this.#entries.push({ record, noted: false });
    const ofSlot = this.#entries.filter(one => one.record.slot === record.slot);
    if (ofSlot.length > HISTORY_KEPT) this.#entries = this.#entries.filter(one => one !== ofSlot[0]);
    this.#write();
  }

  /** The cloud has them. */
  note(ids: readonly string[]): void {
    let changed = false;
    for (const entry of this.#entries)
      if (!entry.noted && ids.includes(entry.record.id)) {
        entry.noted = true;
        changed = true;
      }
    if (changed) this.#write();
  }

  /** Resolves when what was added is on disk, or was said not to be. */
  async close(): Promise<void> {
    await this.#writing;
  }

  #write(): void {
    // One that waits will write what is newest then.
    if (this.#writesWaiting > 0) return;
    this.#writesWaiting += 1;
    this.#writing = this.#writing.then(async () => {
      this.#writesWaiting -= 1;
      try {
        await this.#writeNow();
      } catch (error) {
        // In memory it is whole, and the next rotation tries again.
        this.#log.warn('what rotations came to cannot be written', { path: this.#path, error });
      }
    });
  }

  #writeNow(): Promise<void> {
    const book = { version: 1, entries: this.#entries, experience: this.#experience() };
    return writeDurably(this.#path, `${JSON.stringify(book)}\n`);
  }
}

function readBook(path: string, log: Log): z.infer<typeof Book> | null {
  try {
    return parseOrExplain(Book, JSON.parse(readFileSync(path, 'utf8')), path, 'rotations/damaged');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    const damaged =
      error instanceof SyntaxError || (error instanceof CodedError && error.code === 'rotations/damaged');
    if (!damaged) {
      log.warn('what rotations taught cannot be read; beginning anew', { path, problem: messageOf(error) });
      return null;
    }
    const aside = `${path}.broken`;
    renameSync(path, aside);
    log.warn('the file of rotations is damaged and was put aside; beginning anew', { path, aside });
    return null;
  }
}
