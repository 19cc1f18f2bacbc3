/** What the book of leases does with one word of a node: periods, restored files, nodes that are not entitled. */
import { type Claim, type LeaseEntry, type QuotaBook, settle } from '@mastline/cloud/server/quota/lease-book';
import { quotaPeriodEnd, quotaPeriodStart } from '@mastline/shared/domain/quota';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';

const test = suite('cloud/quota: the book of leases');
const NOW = Date.UTC(2026, 10, 23, 12);
const quota: QuotaBook = {
  bytes: 1_000_000,
  period: { kind: 'monthly', billingDay: 5 },
  setAt: NOW,
  periodStart: Date.UTC(2026, 10, 5),
  used: 0,
};
const claim: Claim = { nodeId: 'n', epoch: 'e', spent: 500, limit: 500, serial: 0, wants: 300_000 };
const settled = (
  leases: LeaseEntry[],
  over: Partial<Claim>,
  at: { now?: number; entitled?: boolean; of?: QuotaBook } = {},
) =>
  settle(
    { quota: at.of ?? quota, leases },
    { ...claim, ...over },
    { now: at.now ?? NOW, entitled: at.entitled ?? true, ledgerOf: () => 0 },
  );

test('a month begins on its billing day at midnight UTC, also over the end of the year', () => {
  const monthly = { kind: 'monthly', billingDay: 5 } as const;
  assert.is(quotaPeriodStart(monthly, 0, Date.UTC(2027, 0, 4, 23, 59)), Date.UTC(2026, 11, 5));
  assert.is(quotaPeriodStart(monthly, 0, Date.UTC(2027, 0, 5)), Date.UTC(2027, 0, 5));
  assert.is(quotaPeriodEnd(monthly, Date.UTC(2026, 11, 31)), Date.UTC(2027, 0, 5));
  assert.is(quotaPeriodEnd({ kind: 'total' }, NOW), null);
});

test('what was used before the first word is not counted; the same word twice lends once', () => {
  const first = settled([], {});
  assert.equal(first.answer, { serial: 1, limit: 300_500, outcome: 'granted' });
  assert.is(first.quota.used, 0);
  const again = settled(first.changed, {});
  assert.is(again.answer.limit, 300_500);
});

test('a new period counts from nothing, and never goes back to an old one', () => {
  const first = settled([], {});
  const later = settled(
    first.changed,
    { spent: 100_500, limit: 300_500, serial: 1 },
    { now: Date.UTC(2026, 11, 5), of: { ...quota, used: 700_000 } },
  );
  assert.is(later.quota.used, 100_000, 'what is told in it counts in it');
  const back = settled(later.changed, { spent: 100_500 }, { of: later.quota });
  assert.is(back.quota.periodStart, Date.UTC(2026, 11, 5));
});

test('a count that went back, and a node that serves the customer no more, get nothing', () => {
  const first = settled([], { spent: 100_000, limit: 100_000 });
  assert.equal(settled(first.changed, { spent: 500, limit: 400_000, serial: 1 }).answer.outcome, 'exhausted');
  assert.is(settled(first.changed, { spent: 500, limit: 400_000, serial: 1 }).answer.limit, 500);
  assert.equal(settled([], {}, { entitled: false }).answer, { serial: 0, limit: 500, outcome: 'exhausted' });
});

test('what is given back is free again, but not by a word on an older grant', () => {
  const [lease] = settled([], {}).changed;
  if (!lease) throw new Error('no lease');
  assert.is(settled([lease], { limit: 600, serial: 1, wants: 0 }).answer.limit, 600);
  assert.is(settled([lease], { limit: 600, serial: 0, wants: 0 }).answer.limit, 300_500);
});

test.run();
