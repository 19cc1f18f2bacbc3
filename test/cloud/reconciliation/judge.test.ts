/** What follows from the figures of a day: alarm or none, and the likely cause, row by row. */
import assert from 'node:assert/strict';
import {
  CAUSES,
  type Cause,
  type DayFigures,
  type Judgement,
  judgeDay,
} from '@mastline/cloud/server/reconciliation/judge';
import { DAY_MS } from '@mastline/shared/domain/day';
import { suite } from '../../support/suite';

const test = suite('reconciliation: the judgement of a day');
const DAY = Date.UTC(2026, 10, 23);
const MIB = 2 ** 20;
const GIB = 2 ** 30;

/** A day of 10 GiB on which all three agree; `over` is what does not. */
function day(over: Partial<DayFigures> = {}): DayFigures {
  const bytes = 10 * GIB;
  return {
    ...{ day: DAY, reportedAt: DAY + DAY_MS + 60_000, oldestPending: null },
    ...{ ledger: bytes, committed: bytes, relayed: bytes, carried: bytes + 6 * MIB, own: 6 * MIB },
    ...{ unseen: 0, unattributed: 0, packets: 7_500_000, crashes: 0, resets: 0, ...over },
  };
}

type Row = [what: string, figures: DayFigures, state: Judgement['state'], cause: Cause | null];
const rows: Row[] = [
  ['all agree', day(), 'even', null],
  ['half a percent more than charged', day({ carried: 10.05 * GIB }), 'even', null],
  ['half a percent less', day({ carried: 9.95 * GIB }), 'even', null],
  ['a quiet day, a megabyte apart', quiet({ carried: 1.9 * MIB }), 'even', null],
  ['a quiet day, three megabytes apart', quiet({ carried: 4 * MIB }), 'alarm', 'other-traffic'],
  ['nothing at all', quiet({ ledger: 0, committed: 0, relayed: 0, carried: 0 }), 'even', null],
  ['the day is not over', day({ reportedAt: DAY + DAY_MS / 2, carried: 20 * GIB }), 'running', null],
  [
    'records are still with the node',
    day({ oldestPending: DAY + 3_600_000, ledger: 2 * GIB }),
    'waiting',
    null,
  ],
  ['only records of the next day are', day({ oldestPending: DAY + DAY_MS }), 'even', null],
  [
    'a crash on a quiet day left 7 MiB in no record',
    quiet({ carried: 9 * MIB, relayed: MIB, crashes: 1, unattributed: 7.6 * MIB }),
    'alarm',
    'agent-crashed',
  ],
  [
    'a crash on a busy day is within a percent',
    day({ carried: 10 * GIB + 14 * MIB, crashes: 1, unattributed: 8 * MIB }),
    'even',
    null,
  ],
  [
    'a crash explains 8 MiB, not 2 GiB',
    day({ carried: 12 * GIB, crashes: 1, unattributed: 8 * MIB, packets: 8_000_000 }),
    'alarm',
    'other-traffic',
  ],
  ['other software uses the modem', day({ carried: 14 * GIB }), 'alarm', 'other-traffic'],
  [
    'a percent and a half: peers without timestamps, IPv6',
    day({ carried: 10.15 * GIB, own: 0, packets: 12_000_000 }),
    'alarm',
    'headers',
  ],
  [
    'the same the other way round',
    day({ carried: 9.85 * GIB, own: 0, packets: 12_000_000 }),
    'alarm',
    'headers',
  ],
  [
    'a spool was lost: the ledger lacks what was committed',
    day({ ledger: 8 * GIB }),
    'alarm',
    'records-lost',
  ],
  [
    'records lost though the interface says nothing of it',
    day({ ledger: 8 * GIB, carried: 8 * GIB, own: 0 }),
    'alarm',
    'records-lost',
  ],
  [
    'a full disk: relayed and not committed',
    day({ ledger: 9 * GIB, committed: 9 * GIB, packets: 7_000_000 }),
    'alarm',
    'not-committed',
  ],
  [
    're-plugged, and its last counters are gone',
    day({ carried: 7 * GIB, resets: 2 }),
    'alarm',
    'counter-reset',
  ],
  [
    're-plugged, and what was unseen is known',
    day({ carried: 7 * GIB, own: 0, unseen: 3 * GIB, resets: 2 }),
    'even',
    null,
  ],
  [
    'the ledger has more than was carried',
    day({ ledger: 12 * GIB, committed: 12 * GIB, relayed: 12 * GIB }),
    'alarm',
    'ledger-exceeds',
  ],
  ['a second box charges, too', day({ ledger: 12 * GIB }), 'alarm', 'ledger-exceeds'],
  [
    'a second box charges what this one carried, too',
    day({ ledger: 12 * GIB, carried: 12 * GIB, own: 0 }),
    'alarm',
    'ledger-exceeds',
  ],
  ['a modem without an interface: the node’s word', day({ carried: null }), 'even', null],
  [
    'a modem without an interface, records lost',
    day({ carried: null, ledger: 9 * GIB }),
    'alarm',
    'records-lost',
  ],
  [
    'a modem without an interface, too much charged',
    day({ carried: null, ledger: 11 * GIB }),
    'alarm',
    'ledger-exceeds',
  ],
];

function quiet(over: Partial<DayFigures>): DayFigures {
  return day({ ledger: MIB, committed: MIB, relayed: MIB, own: 0, packets: 4_000, ...over });
}

for (const [what, figures, state, cause] of rows)
  test(`${what}: ${state}${cause === null ? '' : `, ${cause}`}`, () => {
    const judgement = judgeDay(figures);
    assert.deepEqual({ state: judgement.state, cause: judgement.cause }, { state, cause });
  });

test('every cause has a row', () => {
  const named = new Set(rows.map(row => row[3]));
  for (const cause of Object.keys(CAUSES)) assert.ok(named.has(cause as Cause), cause);
});

test('the difference is what was carried for customers and not charged', () => {
  const figures = day({ ledger: 100, committed: 100, carried: 1000, own: 50, unseen: 7 });
  assert.equal(judgeDay(figures).difference, 857);
  assert.equal(judgeDay(day({ ledger: 100, committed: 90, carried: null })).difference, -10);
});

test.run();
