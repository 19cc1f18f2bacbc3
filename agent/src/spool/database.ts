/**
 * Opens the spool's SQLite file so that a commit survives a power cut, and decides what becomes of a broken one: it
 * is moved aside with its journal, never repaired in place and never deleted. The tables are in migrations.ts, what
 * is done with them in usage-table.ts. Runs in the spool's worker only.
 */
import {
  accessSync,
  closeSync,
  existsSync,
  fsyncSync,
  openSync,
  readdirSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import Sqlite, { type Database } from 'better-sqlite3';
import { migrate } from './migrations';

/** The spool refuses to grow past this: commits fail with `spool/full` and the data plane holds back. */
export const MAX_SPOOL_BYTES = 1024 * 1024 * 1024;
/** A commit touches two or three pages: small ones are what keeps an SD card alive (figures in agent/README.md). */
const PAGE_BYTES = 1024;
/** Broken files that are kept. With more the disk is dying: the spool stays shut until a person has looked. */
export const MAX_BROKEN_FILES = 8;
/** Pages kept in memory, KiB: the rows of a busy minute. */
const CACHE_KIB = 2_048;
/** The journal is cut back to this after a checkpoint. */
const MAX_WAL_BYTES = 8 * 1024 * 1024;
/** How long to wait for somebody else who reads the file (a person with sqlite3), milliseconds. */
const BUSY_MS = 5_000;

/** A broken file: where it lies now, and what was wrong. */
export interface BrokenFile {
  movedTo: string;
  reason: string;
}

export interface OpenedDatabase {
  db: Database;
  /** Set when the file was broken. */
  broken: BrokenFile | undefined;
}

/** Opens or makes the file. `nowMs` (epoch milliseconds) stamps a new epoch and the name of a broken file. */
export function openDatabase(path: string, nowMs: number): OpenedDatabase {
  const first = tryOpen(path, nowMs);
  if (first.is === 'open') return { db: first.db, broken: undefined };
  return replaceDatabase(path, nowMs, first.reason);
}

/** Moves the file at `path` aside, because of `reason`, and makes a new one with a new epoch. */
export function replaceDatabase(path: string, nowMs: number, reason: string): OpenedDatabase {
  const movedTo = moveAside(path, nowMs);
  const second = tryOpen(path, nowMs);
  if (second.is === 'open') return { db: second.db, broken: { movedTo, reason } };
  throw new CodedError('spool/corrupt', `a new spool at ${path} is broken at once: ${second.reason}`, {
    userMessage: `The disk under ${dirname(path)} does not keep what is written to it. Replace it.`,
  });
}

function tryOpen(
  path: string,
  nowMs: number,
): { is: 'open'; db: Database } | { is: 'broken'; reason: string } {
  let db: Database | undefined;
  try {
    // better-sqlite3 reports a missing folder with an error that has no code.
    accessSync(dirname(path));
    const isNew = !existsSync(path);
    db = new Sqlite(path, { timeout: BUSY_MS });
    if (isNew) db.pragma(`page_size = ${PAGE_BYTES}`);
    db.pragma('journal_mode = WAL');
    // FULL: the journal is flushed at each commit. A record that was promised must not be lost with the power.
    db.pragma('synchronous = FULL');
    db.pragma(`cache_size = -${CACHE_KIB}`);
    db.pragma(`journal_size_limit = ${MAX_WAL_BYTES}`);
    // A file of an older agent has larger pages.
    db.pragma(`max_page_count = ${MAX_SPOOL_BYTES / Number(db.pragma('page_size', { simple: true }))}`);
    const verdict = checkDatabase(db);
    if (verdict !== undefined) {
      db.close();
      return { is: 'broken', reason: verdict };
    }
    migrate(db);
    db.prepare(
      'INSERT OR IGNORE INTO spool (only, epoch, last_sequence, acknowledged) VALUES (1, ?, 0, 0)',
    ).run(uuidv7(nowMs));
    // The directory entry of a new file is on disk only after the directory is.
    if (isNew) syncDirectory(dirname(path));
    return { is: 'open', db };
  } catch (error) {
    db?.close();
    const code = codeOf(error);
    if (code === 'SQLITE_NOTADB' || code?.startsWith('SQLITE_CORRUPT'))
      return { is: 'broken', reason: messageOf(error) };
    throw spoolError(error, path);
  }
}

/** What is wrong with the file by SQLite's own check; undefined when nothing is. Reads all of it. */
function checkDatabase(db: Database): string | undefined {
  const verdict = String(db.pragma('quick_check(1)', { simple: true }));
  return verdict === 'ok' ? undefined : verdict;
}

/**
 * The same through eyes of its own: what the open connection has in memory says nothing of what is on the disk.
 * Undefined when the file is whole.
 */
export function checkFile(path: string): string | undefined {
  let db: Database | undefined;
  try {
    db = new Sqlite(path, { readonly: true, timeout: BUSY_MS });
    return checkDatabase(db);
  } catch (error) {
    const fault = spoolError(error, path);
    if (fault.code === 'spool/corrupt') return messageOf(error);
    throw fault;
  } finally {
    db?.close();
  }
}

/** Number of the file behind `path`; undefined when it is gone. */
export function inodeOf(path: string): number | undefined {
  return statSync(path, { throwIfNoEntry: false })?.ino;
}

function moveAside(path: string, nowMs: number): string {
  const before = readdirSync(dirname(path)).filter(
    name => name.startsWith(`${basename(path)}.broken-`) && !/-(wal|shm)$/.test(name),
  );
  if (before.length >= MAX_BROKEN_FILES)
    throw new CodedError('spool/corrupt', `${path} is broken, and so were ${before.length} before it`, {
      userMessage: `The usage spool under ${dirname(path)} breaks again and again: the disk is dying. Replace it; the broken files beside it hold usage that was not billed.`,
    });
  let movedTo = `${path}.broken-${new Date(nowMs).toISOString().replace(/[:.]/g, '-')}`;
  for (let nth = 2; existsSync(movedTo); nth += 1) movedTo = `${movedTo.replace(/~\d+$/, '')}~${nth}`;
  try {
    // Gone altogether when somebody deleted it under us.
    if (existsSync(path)) renameSync(path, movedTo);
    // The journal belongs to the file: left behind, it would be replayed into the new one.
    for (const tail of ['-wal', '-shm']) if (existsSync(path + tail)) renameSync(path + tail, movedTo + tail);
    syncDirectory(dirname(path));
  } catch (error) {
    throw spoolError(error, path);
  }
  return movedTo;
}

function syncDirectory(path: string): void {
  const handle = openSync(path, 'r');
  try {
    fsyncSync(handle);
  } finally {
    closeSync(handle);
  }
}

/**
 * SQLite says only that reading or writing failed: a small write of our own tells whether the disk is full or has
 * gone read-only. Undefined when that write succeeds.
 */
function causeOfDisk(folder: string): string | undefined {
  const probe = join(folder, '.probe');
  try {
    writeFileSync(probe, 'x'.repeat(4096), { mode: 0o600 });
    return undefined;
  } catch (error) {
    return codeOf(error);
  } finally {
    try {
      rmSync(probe, { force: true });
    } catch {
      // Read-only: it was not made either.
    }
  }
}

/** A SQLite or system error as one with a stable code that names the file and what to do. */
export function spoolError(error: unknown, path: string): CodedError {
  if (error instanceof CodedError) return error;
  const said = codeOf(error) ?? 'unknown';
  const cause = (said.startsWith('SQLITE_IOERR') ? causeOfDisk(dirname(path)) : undefined) ?? said;
  const made = (code: string, remedy: string, retryable: boolean) =>
    new CodedError(code, `spool ${path}: ${messageOf(error)} (${cause}): ${remedy}`, {
      userMessage: `The usage spool ${path} cannot be used: ${remedy}.`,
      retryable,
      cause: error,
    });
  if (cause === 'SQLITE_FULL' || cause === 'ENOSPC' || cause === 'EDQUOT')
    return made(
      'spool/full',
      `free space under ${dirname(path)} (the disk, or the spool's own limit, is full)`,
      true,
    );
  if (cause.startsWith('SQLITE_READONLY') || cause === 'EROFS')
    return made(
      'spool/read-only',
      `remount ${dirname(path)} writable, and look whether the disk is dying`,
      true,
    );
  if (cause.startsWith('SQLITE_CANTOPEN') || cause === 'EACCES' || cause === 'EPERM' || cause === 'ENOENT')
    return made(
      'spool/cannot-open',
      `check that ${dirname(path)} exists and belongs to the agent's user`,
      false,
    );
  if (cause === 'SQLITE_NOTADB' || cause.startsWith('SQLITE_CORRUPT'))
    return made(
      'spool/corrupt',
      'the broken file is moved aside and a new one begins; look at the disk',
      false,
    );
  if (cause.startsWith('SQLITE_IOERR'))
    return made(
      'spool/io',
      `the disk under ${dirname(path)} fails or is full: check it and free space`,
      true,
    );
  if (cause.startsWith('SQLITE_BUSY'))
    return made('spool/busy', 'another program holds the file: end it', true);
  if (cause.startsWith('SQLITE_CONSTRAINT'))
    return made('spool/bad-delta', 'a count is out of range; this is a defect of the agent', false);
  return made('spool/fault', 'this is a defect of the agent: report it with this line', false);
}
