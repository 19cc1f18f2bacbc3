/**
 * Keeps the spool's file usable whatever becomes of the disk: makes room on a full one, moves a broken file aside and
 * goes on in a new epoch, and says how things stand. Synchronous, in the worker; what is done with the tables is
 * usage-table.ts, what SQLite's errors mean is database.ts.
 */
import { periodStartOf } from '@mastline/shared/domain/usage-period';
import type { Database } from 'better-sqlite3';
import { type BrokenFile, checkFile, inodeOf, openDatabase, replaceDatabase, spoolError } from './database';
import { ReservedRoom } from './reserved-room';
import { type UsageTable, usageTable } from './usage-table';
import type { SpoolCalls, SpoolHealth, SpoolOperation, SpoolRequest } from './worker-messages';

/** Larger files are not read through by the check now and then: it would hold commits up. */
const MAX_CHECKED_BYTES = 64 * 1024 * 1024;

/** That they went well says nothing of whether the file can be written. */
const ONLY_READS: ReadonlySet<SpoolOperation> = new Set(['position', 'credentialBytes', 'slotDays']);

type Request = Exclude<SpoolRequest, { operation: 'close' }>;

export class SpoolKeeper {
  readonly #path: string;
  readonly #reserve: ReservedRoom;
  #db: Database;
  #table: UsageTable;
  #inode: number | undefined;
  #broken: BrokenFile | undefined;
  #problem: SpoolHealth['problem'] = null;
  /** Epoch milliseconds as last told by a request, for the names of broken files. */
  #nowMs: number;

  /** Opens or makes the file. Throws `spool/…` with a remedy. */
  constructor(path: string, nowMs: number) {
    this.#path = path;
    this.#nowMs = nowMs;
    try {
      const { db, broken } = openDatabase(path, nowMs);
      this.#db = db;
      this.#broken = broken;
      this.#table = usageTable(db);
    } catch (error) {
      throw spoolError(error, path);
    }
    this.#inode = inodeOf(path);
    this.#reserve = new ReservedRoom(`${path}.reserve`);
  }

  get broken(): BrokenFile | undefined {
    return this.#broken;
  }

  health(): SpoolHealth {
    return {
      problem: this.#problem,
      reserve: this.#reserve.whole ? 'whole' : 'used',
      broken: this.#broken ?? null,
    };
  }

  /** Does what is asked. Throws `spool/…`; a commit that throws has left nothing in the file. */
  perform(request: Request): SpoolCalls[SpoolOperation]['gives'] {
    try {
      const value = this.#withRoom(request);
      if (!ONLY_READS.has(request.operation)) this.#problem = null;
      return value;
    } catch (error) {
      const fault = spoolError(error, this.#path);
      if (isDiskFault(fault.code)) this.#problem = { code: fault.code, message: fault.userMessage };
      throw fault;
    }
  }

  close(): void {
    this.#db.close();
  }

  #withRoom(request: Request): SpoolCalls[SpoolOperation]['gives'] {
    for (;;)
      try {
        return this.#whole(request);
      } catch (error) {
        const fault = spoolError(error, this.#path);
        // Reports and reads can wait for a person; usage cannot.
        if (fault.code !== 'spool/full' || request.operation !== 'commit' || !this.#reserve.release())
          throw fault;
      }
  }

  /** Performs; when the file turns out to be broken, once more in a new one. */
  #whole(request: Request): SpoolCalls[SpoolOperation]['gives'] {
    try {
      return this.#perform(request);
    } catch (error) {
      const fault = spoolError(error, this.#path);
      if (fault.code !== 'spool/corrupt') throw fault;
      this.#replace(fault.message);
      return this.#perform(request);
    }
  }

  #perform(request: Request): SpoolCalls[SpoolOperation]['gives'] {
    switch (request.operation) {
      case 'commit': {
        this.#table.commit(request.entries);
        this.#nowMs = Math.max(this.#nowMs, request.entries.at(-1)?.periodStart ?? 0);
        return null;
      }
      case 'position':
        return this.#table.position();
      case 'recordsAfter':
        return this.#table.recordsAfter(request.sequence, request.limit, request.epoch);
      case 'acknowledge':
        this.#table.acknowledge(request.mark, request.epoch);
        return null;
      case 'renew':
        return this.#table.renew(request.mark, request.nowMs);
      case 'credentialBytes':
        return this.#table.credentialBytes(request.credentialIds);
      case 'slotDays':
        return this.#table.slotDays(request.fromDay);
      case 'restamp':
        this.#table.restamp(request.correction);
        return null;
      case 'check':
        this.#nowMs = periodStartOf(request.nowMs);
        this.#check();
        return null;
    }
  }

  /** What nobody asked for and a dying card does all the same. */
  #check(): void {
    this.#reserve.restore();
    if (inodeOf(this.#path) !== this.#inode) {
      this.#replace(
        'another file lies in its place, or none: what is written now would be lost at the next start',
      );
      return;
    }
    const pages = Number(this.#db.pragma('page_count', { simple: true }));
    if (pages * Number(this.#db.pragma('page_size', { simple: true })) > MAX_CHECKED_BYTES) return;
    const verdict = checkFile(this.#path);
    if (verdict !== undefined) this.#replace(verdict);
  }

  #replace(reason: string): void {
    try {
      this.#db.close();
    } catch {
      // Broken as it is, it may not close well either; its file is moved aside in any case.
    }
    const { db, broken } = replaceDatabase(this.#path, this.#nowMs, reason);
    this.#db = db;
    this.#broken = broken;
    this.#table = usageTable(db);
    this.#inode = inodeOf(this.#path);
  }
}

/** Faults of the disk, as against questions that were wrong. */
function isDiskFault(code: string): boolean {
  return [
    'spool/full',
    'spool/read-only',
    'spool/io',
    'spool/corrupt',
    'spool/cannot-open',
    'spool/fault',
  ].includes(code);
}
