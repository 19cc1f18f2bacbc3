/**
 * Room on the disk that nobody else can take: a file of zeros beside the spool, given up when the disk is full, so that
 * usage can still be written while somebody cleans up; made again when there is space. Runs in the spool's worker.
 */
import { closeSync, existsSync, fsyncSync, openSync, rmSync, statfsSync, statSync, writeSync } from 'node:fs';
import { dirname } from 'node:path';

/** Some 80,000 records: with hundreds of credentials at work, hours of usage; else days. */
export const RESERVED_BYTES = 8 * 1024 * 1024;
/** The disk must have so many times the room before some of it is taken again. */
const RESTORE_AT_FREE = 4;
const CHUNK = Buffer.alloc(1024 * 1024);

export class ReservedRoom {
  readonly #path: string;
  #whole: boolean;

  /** Takes the room now when the disk has it. `path` is the file's. */
  constructor(path: string) {
    this.#path = path;
    this.#whole = existsSync(path) && statSync(path).size === RESERVED_BYTES;
    this.restore();
  }

  /** True while the room is there to be given up. */
  get whole(): boolean {
    return this.#whole;
  }

  /** Gives the room up; false when it was given up before. */
  release(): boolean {
    if (!this.#whole) return false;
    rmSync(this.#path, { force: true });
    this.#whole = false;
    return true;
  }

  /** Takes the room again when the disk has plenty. A disk that fails meanwhile is found out by the next commit. */
  restore(): boolean {
    if (this.#whole) return true;
    try {
      const { bavail, bsize } = statfsSync(dirname(this.#path));
      if (bavail * bsize < RESERVED_BYTES * RESTORE_AT_FREE) return false;
      const file = openSync(this.#path, 'w', 0o600);
      try {
        for (let at = 0; at < RESERVED_BYTES; at += CHUNK.length) writeSync(file, CHUNK, 0, CHUNK.length, at);
        fsyncSync(file);
      } finally {
        closeSync(file);
      }
      this.#whole = true;
    } catch {
      // Half a reserve is none, and what was written of it is room that usage needs now.
      rmSync(this.#path, { force: true });
    }
    return this.#whole;
  }
}
