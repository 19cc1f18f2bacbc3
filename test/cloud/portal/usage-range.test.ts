/** From the address to the question, and from hours to bars. */
import assert from 'node:assert/strict';
import fc from 'fast-check';
import { bucketsOf, HOUR_MS, usageQuery, usageView } from '../../../cloud/app/usage-range';
import { suite } from '../../support/suite';

const test = suite('usage range');
const NOW = Date.UTC(2026, 10, 23, 14, 20);
const ZONES = ['UTC', 'Europe/Berlin', 'America/Los_Angeles', 'Asia/Kolkata', 'Pacific/Auckland'];
const view = (query: string, zone = 'UTC', now = NOW) => usageView(new URLSearchParams(query), now, zone);

test('today begins at the midnight of the viewer, not of UTC', () => {
  assert.equal(view('range=today').from, Date.UTC(2026, 10, 23));
  assert.equal(view('range=today', 'Europe/Berlin').from, Date.UTC(2026, 10, 22, 23));
  assert.equal(view('range=today', 'America/Los_Angeles').from, Date.UTC(2026, 10, 23, 8));
  assert.equal(view('range=today').to, Date.UTC(2026, 10, 23, 15));
});

test('falls back to seven days by day for what it does not know', () => {
  for (const query of ['', 'range=forever', 'range=30d&by=hour&page=-3', 'range=7d&by=minute&page=x']) {
    const found = view(query);
    assert.equal(found.step, 'day', query);
    assert.equal(found.page, 1, query);
  }
  assert.equal(view('range=forever').range, '7d');
});

test('days stay whole across the change of the clocks', () => {
  // Berlin went back an hour on 25 October 2026: that day has 25 hours.
  const found = view('range=7d', 'Europe/Berlin', Date.UTC(2026, 9, 28, 10));
  assert.equal(found.from, Date.UTC(2026, 9, 21, 22));
  assert.equal(bucketsOf([], found, 'Europe/Berlin').length, 7);
});

test('every hour of a range lands in exactly one bar, whatever the zone and the moment', async () => {
  await fc.assert(
    fc.property(
      fc.integer({ min: Date.UTC(2020, 0), max: Date.UTC(2040, 0) }),
      fc.constantFrom(...ZONES),
      fc.constantFrom('range=today', 'range=7d', 'range=7d&by=hour', 'range=30d'),
      (now, zone, query) => {
        const found = view(query, zone, now);
        const series = [];
        for (let start = found.from; start < found.to; start += HOUR_MS)
          series.push({ start, upBytes: 1, downBytes: 2, flows: 3 });
        const buckets = bucketsOf(series, found, zone);
        const total = buckets.reduce((sum, bucket) => sum + bucket.downBytes, 0);
        assert.equal(total, 2 * series.length);
        if (found.step === 'day') assert.equal(buckets.length, found.range === '7d' ? 7 : 30);
        else assert.equal(buckets.length, series.length);
        assert.ok(found.to - found.from <= 31 * 24 * HOUR_MS, 'the server answers at most 31 days by hour');
      },
    ),
    { numRuns: 150 },
  );
});

test('a changed filter goes back to the first page and keeps the others', () => {
  const found = view('range=7d&by=hour&credential=c1&modem=m1&page=4');
  assert.equal(usageQuery(found), '?range=7d&by=hour&credential=c1&modem=m1');
  assert.equal(usageQuery(found, { page: 5 }), '?range=7d&by=hour&credential=c1&modem=m1&page=5');
  assert.equal(usageQuery(found, { range: '30d' }), '?range=30d&credential=c1&modem=m1');
});

test.run();
