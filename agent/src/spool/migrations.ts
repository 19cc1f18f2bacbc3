/**
 * The spool's schema, as numbered steps that only go forward. A spool written by a newer agent is refused, never
 * guessed at: its rows are money.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import type { Database } from 'better-sqlite3';

const COUNTS = `
  up_bytes INTEGER NOT NULL CHECK (up_bytes BETWEEN 0 AND 9007199254740991),
  down_bytes INTEGER NOT NULL CHECK (down_bytes BETWEEN 0 AND 9007199254740991),
  flows INTEGER NOT NULL CHECK (flows BETWEEN 0 AND 9007199254740991)`;

const STEPS: readonly string[] = [
  // 1: what is being added to, what is numbered, and where the numbers stand. `imei` is '' where there is none,
  // since NULLs are never equal in a key and would not add up.
  // `committed_*` add up everything this file has ever taken: what the ledger must come to hold.
  `CREATE TABLE spool (
     only INTEGER PRIMARY KEY CHECK (only = 1),
     epoch TEXT NOT NULL,
     last_sequence INTEGER NOT NULL CHECK (last_sequence >= 0),
     acknowledged INTEGER NOT NULL CHECK (acknowledged BETWEEN 0 AND last_sequence),
     committed_up INTEGER NOT NULL DEFAULT 0 CHECK (committed_up BETWEEN 0 AND 9007199254740991),
     committed_down INTEGER NOT NULL DEFAULT 0 CHECK (committed_down BETWEEN 0 AND 9007199254740991)
   ) STRICT;
   CREATE TABLE usage_open (
     period_start INTEGER NOT NULL, endpoint_id TEXT NOT NULL, credential_id TEXT NOT NULL,
     slot INTEGER NOT NULL, imei TEXT NOT NULL, ${COUNTS},
     PRIMARY KEY (period_start, endpoint_id, credential_id, slot, imei)
   ) STRICT, WITHOUT ROWID;
   CREATE TABLE usage_sealed (
     sequence INTEGER PRIMARY KEY CHECK (sequence > 0),
     period_start INTEGER NOT NULL, endpoint_id TEXT NOT NULL, credential_id TEXT NOT NULL,
     slot INTEGER NOT NULL, imei TEXT NOT NULL, ${COUNTS}
   ) STRICT;`,

  // 2: by which clock a minute was told: '' for one that the cloud has corrected, else the name of a run of the agent
  // that had not heard the cloud yet. Only rows of corrected minutes are sealed.
  `CREATE TABLE usage_open_2 (
     clock TEXT NOT NULL,
     period_start INTEGER NOT NULL, endpoint_id TEXT NOT NULL, credential_id TEXT NOT NULL,
     slot INTEGER NOT NULL, imei TEXT NOT NULL, ${COUNTS},
     PRIMARY KEY (clock, period_start, endpoint_id, credential_id, slot, imei)
   ) STRICT, WITHOUT ROWID;
   INSERT INTO usage_open_2 SELECT '', period_start, endpoint_id, credential_id, slot, imei, up_bytes, down_bytes, flows
     FROM usage_open;
   DROP TABLE usage_open;
   ALTER TABLE usage_open_2 RENAME TO usage_open;`,

  // 3: what each credential has used in this epoch, in the same transaction as the usage itself: what quotas count.
  `CREATE TABLE credential_bytes (
     credential_id TEXT PRIMARY KEY,
     bytes INTEGER NOT NULL CHECK (bytes BETWEEN 0 AND 9007199254740991)
   ) STRICT, WITHOUT ROWID;`,

  // 4: what each slot has committed by the UTC day of its minutes, in the same transaction: what reconciliation compares.
  `CREATE TABLE slot_days (
     day INTEGER NOT NULL, slot INTEGER NOT NULL,
     up_bytes INTEGER NOT NULL CHECK (up_bytes BETWEEN 0 AND 9007199254740991),
     down_bytes INTEGER NOT NULL CHECK (down_bytes BETWEEN 0 AND 9007199254740991),
     PRIMARY KEY (day, slot)
   ) STRICT, WITHOUT ROWID;`,
];

/** Brings `db` to the newest schema. Throws `spool/newer` for a file of a later agent. */
export function migrate(db: Database): void {
  const version = Number(db.pragma('user_version', { simple: true }));
  if (version > STEPS.length)
    throw new CodedError(
      'spool/newer',
      `spool ${db.name} has schema ${version}; this agent knows up to ${STEPS.length}: run the newer agent again`,
    );
  for (let step = version; step < STEPS.length; step += 1) {
    const sql = STEPS[step];
    if (sql === undefined) break;
    db.transaction(() => {
      db.exec(sql);
      db.pragma(`user_version = ${step + 1}`);
    })();
  }
}
