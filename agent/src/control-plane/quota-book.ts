/**
 * Quota leases on disk, so that a node without its cloud goes on where it was after a restart. What was spent is not
 * here but in the spool, committed with the usage itself: a crash brings back no byte that was committed. A file that
 * is old errs on the safe side, since limits only grow by the cloud's word and shrink only after this file has them.
 */
import { join } from 'node:path';
import { messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { Count } from '@mastline/shared/domain/usage';
import { z } from 'zod';
import { readIfThere, writeDurably } from '../durable-file';
import type { Log } from '../observe/log';

export const QUOTA_BOOK_NAME = 'quota-leases.json';

/** When a lease ends, in a form that a restart can read; durations are on the monotonic clock of `bootId`. */
export const LeaseEnd = z.looseObject({
  bootId: z.string(),
  uptimeMs: z.number(),
  /** The same by the node's corrected clock, epoch milliseconds. */
  at: z.number(),
  /** What was left of it when this was written, milliseconds. */
  remainingMs: z.number().min(0),
});
export type LeaseEnd = z.infer<typeof LeaseEnd>;

export const BookedLease = z.looseObject({
  credentialId: z.string(),
  quotaId: z.string(),
  /** As in shared/domain/quota.ts. */
  limit: Count,
  serial: Count,
  end: LeaseEnd,
});
export type BookedLease = z.infer<typeof BookedLease>;

const Book = z.looseObject({
  version: z.literal(1),
  epoch: z.string(),
  leases: z.array(BookedLease).max(65_536),
});
export type QuotaLeases = Pick<z.infer<typeof Book>, 'epoch' | 'leases'>;

export interface QuotaBook {
  /** Undefined when there is none, or none that can be read: then everything is asked for anew. */
  read(): Promise<QuotaLeases | undefined>;
  /** Resolves when it is on disk. */
  write(leases: QuotaLeases): Promise<void>;
}

export function quotaBook(dataDir: string, log: Log): QuotaBook {
  const path = join(dataDir, QUOTA_BOOK_NAME);
  let writing: Promise<unknown> = Promise.resolve();
  return {
    async read() {
      try {
        const bytes = await readIfThere(path);
        if (!bytes) return undefined;
        return parseOrExplain(Book, JSON.parse(bytes.toString('utf8')), path, 'quota/unreadable');
      } catch (error) {
        log.warn('quota leases on disk cannot be read; asking for new ones', {
          path,
          problem: messageOf(error),
        });
        return undefined;
      }
    },
    write(leases) {
      const text = JSON.stringify({ version: 1, ...leases });
      const done = writing.then(() => writeDurably(path, text));
      writing = done.catch(() => undefined);
      return done;
    },
  };
}
