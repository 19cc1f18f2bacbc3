/**
 * The order of nodes' admissions: which of two sessions is the newer one, and that a challenge is answered once. One
 * process counts by itself, and its nonces remember what was answered. Several share a table: clocks of two machines
 * could not tell which session came last, a sequence can.
 */
import type { Database } from '../db/database';

export interface Admissions {
  /** Takes the answered nonce down; gives its place in the order, null when it was answered before. */
  admit(nonce: string): Promise<number | null>;
}

export function ownAdmissions(): Admissions {
  let order = 0;
  return {
    async admit() {
      order += 1;
      return order;
    },
  };
}

export function sharedAdmissions(db: Pick<Database, 'pool'>): Admissions {
  return {
    async admit(nonce) {
      const { rows } = await db.pool.query<{ place: string }>(
        'INSERT INTO link_admissions (nonce) VALUES ($1) ON CONFLICT (nonce) DO NOTHING RETURNING place',
        [nonce],
      );
      return rows[0] === undefined ? null : Number(rows[0].place);
    },
  };
}

/** Forgets those whose nonces have long expired: lifetimes are half a minute, clocks of processes differ by less. */
export async function forgetAdmissions(db: Pick<Database, 'pool'>): Promise<number> {
  const { rowCount } = await db.pool.query(
    "DELETE FROM link_admissions WHERE admitted_at < now() - interval '1 hour'",
  );
  return rowCount ?? 0;
}
