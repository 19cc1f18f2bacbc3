/**
 * What is done with the spool's tables, each call one transaction: add deltas to open rows, seal open rows into
 * numbered records, forget what the ledger has. Synchronous, on the worker's side; usage-spool.ts is the side that
 * the rest of the agent sees.
 */
import { addBytes } from '@mastline/shared/base/bytes';
import { CodedError } from '@mastline/shared/base/coded-error';
import { DAY_MS, dayOf } from '@mastline/shared/domain/day';
import type { UsageRecord } from '@mastline/shared/domain/usage';
import { periodStartOf } from '@mastline/shared/domain/usage-period';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import type { Database } from 'better-sqlite3';
import type { UsageDelta } from '../ports';

export interface SpoolPosition {
  epoch: string;
  lastSequence: number;
  /** Everything up to here has been acknowledged and pruned. */
  acknowledged: number;
  /** Bytes that this file has ever taken, whatever became of them since: what the ledger must come to hold. */
  committed: { upBytes: number; downBytes: number };
}

/** Deltas of one commit, with the UTC minute (epoch milliseconds) they fall into and the clock that told it. */
export interface CommitEntry {
  /** '' for the clock that the cloud has corrected; else the run's name. */
  clock: string;
  periodStart: number;
  deltas: readonly UsageDelta[];
}

/** What `renew` did with sealed records: kept ones were numbered anew, dropped ones are in the ledger already. */
export interface Renewal {
  epoch: string;
  kept: number;
  dropped: number;
}

export interface UsageTable {
  commit(entries: readonly CommitEntry[]): void;
  position(): SpoolPosition;
  recordsAfter(sequence: number, limit: number, epoch: string | undefined): UsageRecord[];
  acknowledge(mark: number, epoch: string | undefined): void;
  renew(mark: number, nowMs: number): Renewal;
  restamp(correction: Correction): void;
  credentialBytes(credentialIds: readonly string[]): CredentialCounts;
  slotDays(fromDay: number): SlotDays;
}

export interface SlotDayBytes {
  /** Beginning of the UTC day, epoch milliseconds. */
  day: number;
  slot: number;
  upBytes: number;
  downBytes: number;
}

/** What slots have committed by UTC day, whatever became of it since. */
export interface SlotDays {
  days: SlotDayBytes[];
  /** The first minute of which something is not acknowledged; null when all is. */
  oldestPending: number | null;
}

/** Bytes up and down of credentials since the epoch began, in the order asked. */
export interface CredentialCounts {
  epoch: string;
  bytes: number[];
}

/** The cloud has told the time: what the minutes of a run that did not know it were off by. */
export interface Correction {
  clock: string;
  offsetMs: number;
  nowMs: number;
}

interface Row {
  clock?: string;
  period_start: number;
  endpoint_id: string;
  credential_id: string;
  slot: number;
  imei: string;
  up_bytes: number;
  down_bytes: number;
  flows: number;
}

interface SpoolRow {
  epoch: string;
  last_sequence: number;
  acknowledged: number;
  committed_up: number;
  committed_down: number;
}

const COLUMNS = 'period_start, endpoint_id, credential_id, slot, imei, up_bytes, down_bytes, flows';
const KEY = 'period_start, endpoint_id, credential_id, slot, imei';
/** Days by slot that are kept. */
const KEPT_DAYS = 41;
/** Before this agent was written no minute can have been: the clock of a box without battery begins in 1970. */
const FIRST_MINUTE = Date.UTC(2026, 0, 1);

export function usageTable(db: Database): UsageTable {
  const add = db.prepare(
    `INSERT INTO usage_open (clock, ${COLUMNS}) VALUES (@clock, @period_start, @endpoint_id, @credential_id, @slot,
       @imei, @up_bytes, @down_bytes, @flows)
     ON CONFLICT (clock, ${KEY}) DO UPDATE SET up_bytes = up_bytes + excluded.up_bytes,
       down_bytes = down_bytes + excluded.down_bytes, flows = flows + excluded.flows`,
  );
  const readSpool = db.prepare<[], SpoolRow>(
    'SELECT epoch, last_sequence, acknowledged, committed_up, committed_down FROM spool',
  );
  const addCommitted = db.prepare(
    'UPDATE spool SET committed_up = committed_up + ?, committed_down = committed_down + ?',
  );
  const addToCredential = db.prepare(
    `INSERT INTO credential_bytes (credential_id, bytes) VALUES (?, ?)
     ON CONFLICT (credential_id) DO UPDATE SET bytes = bytes + excluded.bytes`,
  );
  const readCredential = db.prepare<[string], { bytes: number }>(
    'SELECT bytes FROM credential_bytes WHERE credential_id = ?',
  );
  const addToDay = db.prepare(
    `INSERT INTO slot_days (day, slot, up_bytes, down_bytes) VALUES (?, ?, ?, ?)
     ON CONFLICT (day, slot) DO UPDATE SET up_bytes = up_bytes + excluded.up_bytes,
       down_bytes = down_bytes + excluded.down_bytes`,
  );
  const forgetDays = db.prepare('DELETE FROM slot_days WHERE day < ?');
  const readDays = db.prepare<[number], { day: number; slot: number; up_bytes: number; down_bytes: number }>(
    'SELECT day, slot, up_bytes, down_bytes FROM slot_days WHERE day >= ? ORDER BY day, slot',
  );
  const oldest = db.prepare<[], { oldest: number | null }>(
    `SELECT min(oldest) AS oldest FROM (SELECT min(period_start) AS oldest FROM usage_open
       UNION ALL SELECT min(period_start) FROM usage_sealed)`,
  );
  /** The last day that was added to: the first commit of another one forgets what is old. */
  let today = 0;
  const forgetCredentials = db.prepare('DELETE FROM credential_bytes');
  const oldestOpen = db.prepare<[number], Row>(
    `SELECT ${COLUMNS} FROM usage_open WHERE clock = '' ORDER BY ${KEY} LIMIT ?`,
  );
  const uncorrected = db.prepare<[], Row & { clock: string }>(
    `SELECT clock, ${COLUMNS} FROM usage_open WHERE clock <> ''`,
  );
  const dropUncorrected = db.prepare(`DELETE FROM usage_open WHERE clock <> ''`);
  const dropOpen = db.prepare(
    `DELETE FROM usage_open WHERE clock = '' AND period_start = @period_start AND endpoint_id = @endpoint_id
       AND credential_id = @credential_id AND slot = @slot AND imei = @imei`,
  );
  const seal = db.prepare(
    `INSERT INTO usage_sealed (sequence, ${COLUMNS}) VALUES (@sequence, @period_start, @endpoint_id,
       @credential_id, @slot, @imei, @up_bytes, @down_bytes, @flows)`,
  );
  const setLast = db.prepare('UPDATE spool SET last_sequence = ?');
  const sealedAfter = db.prepare<[number, number], Row & { sequence: number }>(
    `SELECT sequence, ${COLUMNS} FROM usage_sealed WHERE sequence > ? ORDER BY sequence LIMIT ?`,
  );
  const prune = db.prepare('DELETE FROM usage_sealed WHERE sequence <= ?');
  const setAcknowledged = db.prepare('UPDATE spool SET acknowledged = ?');
  const firstSealed = db.prepare<[], { first: number | null }>(
    'SELECT min(sequence) AS first FROM usage_sealed',
  );
  const shift = db.prepare('UPDATE usage_sealed SET sequence = sequence - ?');
  const restart = db.prepare('UPDATE spool SET epoch = ?, last_sequence = ?, acknowledged = 0');

  const position = (): SpoolPosition => {
    const row = readSpool.get();
    if (!row)
      throw new CodedError('spool/corrupt', `spool ${db.name} has lost its numbers: restart the agent`);
    return {
      epoch: row.epoch,
      lastSequence: row.last_sequence,
      acknowledged: row.acknowledged,
      committed: { upBytes: row.committed_up, downBytes: row.committed_down },
    };
  };

  /** Numbers mean something only within their epoch: whoever speaks of another one is not served. */
  const checkEpoch = (epoch: string | undefined): void => {
    const ours = position().epoch;
    if (epoch !== undefined && epoch !== ours)
      throw new CodedError('spool/other-epoch', `asked for epoch ${epoch}, but this spool is in ${ours}`);
  };

  const commit = db.transaction((entries: readonly CommitEntry[]) => {
    let upBytes = 0;
    let downBytes = 0;
    const byCredential = new Map<string, number>();
    const bySlot = new Map<string, SlotDayBytes>();
    for (const { clock, periodStart, deltas } of entries)
      for (const delta of deltas) {
        add.run({ ...rowOf(periodStart, delta), clock });
        if (clock === '') addTo(bySlot, dayOf(periodStart), delta);
        upBytes = addBytes(upBytes, delta.upBytes);
        downBytes = addBytes(downBytes, delta.downBytes);
        const bytes = addBytes(byCredential.get(delta.credentialId) ?? 0, delta.upBytes + delta.downBytes);
        byCredential.set(delta.credentialId, bytes);
      }
    for (const [credentialId, bytes] of byCredential) if (bytes > 0) addToCredential.run(credentialId, bytes);
    addCommitted.run(upBytes, downBytes);
    addDays(bySlot.values());
  });

  const addDays = (days: Iterable<SlotDayBytes>): void => {
    for (const { day, slot, upBytes, downBytes } of days) {
      if (upBytes + downBytes > 0) addToDay.run(day, slot, upBytes, downBytes);
      if (day <= today) continue;
      today = day;
      forgetDays.run(day - KEPT_DAYS * DAY_MS);
    }
  };

  const recordsAfter = db.transaction((sequence: number, limit: number, epoch?: string): UsageRecord[] => {
    checkEpoch(epoch);
    const sealed = sealedAfter.all(sequence, limit).map(recordOf);
    const room = limit - sealed.length;
    if (room === 0) return sealed;
    // Only as many as are asked for: while the cloud is away, open rows go on adding up by the minute.
    let { lastSequence } = position();
    const opened = oldestOpen.all(room);
    for (const row of opened) {
      lastSequence += 1;
      seal.run({ ...row, sequence: lastSequence });
      dropOpen.run(row);
      if (lastSequence > sequence) sealed.push(recordOf({ ...row, sequence: lastSequence }));
    }
    if (opened.length > 0) setLast.run(lastSequence);
    return sealed;
  });

  const acknowledge = db.transaction((mark: number, epoch: string | undefined) => {
    checkEpoch(epoch);
    const at = position();
    if (mark > at.lastSequence)
      throw new CodedError(
        'spool/ack-ahead',
        `acknowledgement up to ${mark}, but the last record has number ${at.lastSequence}`,
      );
    if (mark <= at.acknowledged) return;
    prune.run(mark);
    setAcknowledged.run(mark);
  });

  const renew = db.transaction((mark: number, nowMs: number): Renewal => {
    const dropped = prune.run(mark).changes;
    const epoch = uuidv7(nowMs);
    // Numbers are without gaps, so that one shift makes them begin at 1; lower numbers are free by then.
    const first = firstSealed.get()?.first ?? null;
    const kept = first === null ? 0 : shift.run(first - 1).changes;
    restart.run(epoch, kept);
    // Counts of a file that is older than the ledger are lower than what was told: they begin anew with the epoch.
    forgetCredentials.run();
    return { epoch, kept, dropped };
  });

  const restamp = db.transaction(({ clock, offsetMs, nowMs }: Correction) => {
    const latest = periodStartOf(nowMs);
    const bySlot = new Map<string, SlotDayBytes>();
    for (const row of uncorrected.all()) {
      const told = row.clock === clock ? periodStartOf(row.period_start + offsetMs) : row.period_start;
      // A run that never heard the cloud and had no idea of the time: the minute it is now is the best there is.
      const isPossible = told >= FIRST_MINUTE && told <= latest;
      const minute = isPossible ? told : latest;
      add.run({ ...row, clock: '', period_start: minute });
      addTo(bySlot, dayOf(minute), { slot: row.slot, upBytes: row.up_bytes, downBytes: row.down_bytes });
    }
    dropUncorrected.run();
    addDays(bySlot.values());
  });

  const credentialBytes = db.transaction(
    (ids: readonly string[]): CredentialCounts => ({
      epoch: position().epoch,
      bytes: ids.map(id => readCredential.get(id)?.bytes ?? 0),
    }),
  );

  const slotDays = db.transaction(
    (fromDay: number): SlotDays => ({
      days: readDays.all(fromDay).map(row => ({
        day: row.day,
        slot: row.slot,
        upBytes: row.up_bytes,
        downBytes: row.down_bytes,
      })),
      oldestPending: oldest.get()?.oldest ?? null,
    }),
  );

  return {
    slotDays: fromDay => slotDays(fromDay),
    credentialBytes: ids => credentialBytes(ids),
    restamp: correction => restamp.immediate(correction),
    commit: entries => commit.immediate(entries),
    position,
    recordsAfter: (sequence, limit, epoch) => recordsAfter.immediate(sequence, limit, epoch),
    acknowledge: (mark, epoch) => acknowledge.immediate(mark, epoch),
    renew: (mark, nowMs) => renew.immediate(mark, nowMs),
  };
}

function addTo(
  sums: Map<string, SlotDayBytes>,
  day: number,
  more: { slot: number; upBytes: number; downBytes: number },
): void {
  const key = `${day} ${more.slot}`;
  const sum = sums.get(key);
  const { slot, upBytes, downBytes } = more;
  if (!sum) sums.set(key, { day, slot, upBytes, downBytes });
  else {
    sum.upBytes = addBytes(sum.upBytes, upBytes);
    sum.downBytes = addBytes(sum.downBytes, downBytes);
  }
}

function rowOf(periodStart: number, delta: UsageDelta): Row {
  return {
    period_start: periodStart,
    endpoint_id: delta.endpointId,
    credential_id: delta.credentialId,
    slot: delta.slot,
    imei: delta.imei ?? '',
    up_bytes: delta.upBytes,
    down_bytes: delta.downBytes,
    flows: delta.flows,
  };
}

function recordOf(row: Row & { sequence: number }): UsageRecord {
  return {
    sequence: row.sequence,
    periodStart: row.period_start,
    endpointId: row.endpoint_id,
    credentialId: row.credential_id,
    slot: row.slot,
    imei: row.imei === '' ? null : row.imei,
    upBytes: row.up_bytes,
    downBytes: row.down_bytes,
    flows: row.flows,
  };
}
