/**
 * A small JSON file that the modem plane keeps over restarts: read whole at the start, replaced whole when it changed,
 * at most once a minute unless somebody waits for it. A file that is damaged is moved aside and said; what it held is
 * then learned anew. What lies in one is its owner's schema.
 */
import { readFileSync, renameSync } from 'node:fs';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { z } from 'zod';
import { writeDurably } from '../durable-file';
import type { Log } from '../observe/log';

/** Disks of small boxes wear out: what is only good to know waits so long. */
export const WRITE_WITHIN_MS = 60_000;

export interface KeptFileOptions<T> {
  path: string;
  schema: z.ZodType<T>;
  /** What it holds when there is no file. */
  fresh: () => T;
  clock: Clock;
  log: Log;
}

export class KeptFile<T> {
  readonly #options: KeptFileOptions<T>;
  /** Change it in place or by assignment, then call `changed` or `flush`. */
  value: T;
  #timer: Timer | undefined;
  #dirty = false;
  #writing: Promise<void> = Promise.resolve();

  /** Never throws for what the file holds; throws the system's error when the file cannot be read at all. */
  constructor(options: KeptFileOptions<T>) {
    this.#options = options;
    this.value = this.#read();
  }

  /** It will be on disk within a minute. */
  changed(): void {
    this.#dirty = true;
    this.#timer ??= this.#options.clock.after(WRITE_WITHIN_MS, () => {
      this.flush().catch(error =>
        this.#options.log.error('could not be kept', { path: this.#options.path, error }),
      );
    });
  }

  /** Resolves when what it holds now is on disk, through a power cut, too; rejects with `disk/…`. */
  flush(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#dirty = false;
    const text = `${JSON.stringify(this.value)}\n`;
    const done = this.#writing.then(() => writeDurably(this.#options.path, text));
    this.#writing = done.catch(() => {
      this.#dirty = true;
    });
    return done;
  }

  /** Writes what is not yet written. */
  async close(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#dirty) await this.flush();
    else await this.#writing;
  }

  #read(): T {
    const { path, schema, fresh, log } = this.#options;
    let text: string;
    try {
      text = readFileSync(path, 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return fresh();
      throw error;
    }
    try {
      return schema.parse(JSON.parse(text));
    } catch (error) {
      const aside = `${path}.damaged`;
      log.error('a file is damaged, begins anew', { path, aside, problem: messageOf(error).slice(0, 300) });
      renameSync(path, aside);
      return fresh();
    }
  }
}
