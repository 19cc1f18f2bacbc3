/**
 * The order of nodes' admissions: which of two sessions is the newer one, and that a challenge is answered once. One
 * process counts by itself, and its nonces remember what was answered. Several share a table: clocks of two machines
 * could not tell which session came last, a sequence can.
 */
import type { Database } from '../db/database';
import { Gather } from '../db/gather';

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

/** Nonces of one statement, and answers that wait for one. */
const MOST_AT_ONCE = 256;
const MOST_WAITING = 4_096;

export function sharedAdmissions(db: Pick<Database, 'pool'>): Admissions {
  const places = new Gather<string, number | null>({
    most: MOST_AT_ONCE,
    mostWaiting: MOST_WAITING,
    ask: nonces => takeDown(db, nonces),
  });
  return { admit: nonce => places.ask(nonce) };
}

/** One place for each nonce that is new: its first asker has it, whether a later one comes now or next time. */
async function takeDown(db: Pick<Database, 'pool'>, nonces: readonly string[]): Promise<(number | null)[]> {
  const { rows } = await db.pool.query<{ nonce: string; place: string }>(
    `INSERT INTO link_admissions (nonce) SELECT DISTINCT nonce FROM unnest($1::text[]) AS x (nonce) ORDER BY nonce
     ON CONFLICT (nonce) DO NOTHING RETURNING nonce, place`,
    [nonces],
  );
  const free = new Map(rows.map(row => [row.nonce, Number(row.place)]));
  return nonces.map(nonce => {
    const place = free.get(nonce) ?? null;
    free.delete(nonce);
    return place;
  });
}

/** Forgets those whose nonces have long expired: lifetimes are half a minute, clocks of processes differ by less. */
export async function forgetAdmissions(db: Pick<Database, 'pool'>): Promise<number> {
  const { rowCount } = await db.pool.query(
    "DELETE FROM link_admissions WHERE admitted_at < now() - interval '1 hour'",
  );
  return rowCount ?? 0;
}
