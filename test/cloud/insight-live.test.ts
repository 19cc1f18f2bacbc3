/** The live feed: one reading for all who look, only what changed, figures that go stale, an end for every stream. */
import assert from 'node:assert/strict';
import { Turns } from '@mastline/cloud/server/db/turns';
import { modemReports } from '@mastline/cloud/server/fleet/node-reports';
import { FIGURES_LIFETIME_MS } from '@mastline/cloud/server/fleet/presence';
import { LIVE_INTERVAL_MS, LiveFeed, MAX_STREAMS } from '@mastline/cloud/server/insight/live-feed';
import type { OverviewView } from '@mastline/cloud/server/insight/views';
import { cloudWorld, type World } from '../support/cloud-world';
import { type TestDatabase, testDatabase } from '../support/postgres';
import { suite } from '../support/suite';

const test = suite('cloud/insight: live feed');
let database: TestDatabase;
let world: World;

test.before(async () => {
  database = await testDatabase();
  world = await cloudWorld(database.db);
  await modemReports(world.services, new Turns(database.db.kind))(
    { nodeId: world.acme.node.id, organizationId: world.acme.host.active.id },
    [
      {
        slot: 0,
        usbPath: '1-1',
        interface: null,
        sourceAddress: null,
        state: 'connected',
        reason: '',
        exitAddress: '198.51.100.1',
        imei: null,
        model: 'E3372h',
        firmware: null,
        virtual: true,
      },
    ],
  );
});
test.after(async () => database.drop());

/** A subscriber that can be waited for. */
function listener() {
  const views: OverviewView[] = [];
  let wake: (() => void) | undefined;
  return {
    views,
    give: (view: OverviewView) => {
      views.push(view);
      wake?.();
    },
    /** Resolves when `count` views have come. */
    async has(count: number): Promise<void> {
      while (views.length < count)
        await new Promise<void>(resolve => {
          wake = resolve;
        });
    },
  };
}

test('sends the present at once, a change within a second, and nothing while nothing changes', async () => {
  const { clock, presence } = world.services;
  const feed = new LiveFeed(world.services, { clock });
  const one = listener();
  const leave = feed.subscribe(world.acme.customer.active, one.give);
  await one.has(1);
  assert.equal(one.views[0]?.modems[0]?.nodeOnline, false);
  presence.connected(world.acme.node.id);
  await clock.advance(LIVE_INTERVAL_MS);
  await one.has(2);
  assert.deepEqual(one.views[1]?.nodes, { online: 1, total: 1 });
  const two = listener();
  const leaveToo = feed.subscribe(world.acme.customer.active, two.give);
  assert.deepEqual(two.views, [one.views[1]], 'a second browser gets what the first has');
  presence.report(world.acme.node.id, [
    { slot: 0, upBytesPerSecond: 10, downBytesPerSecond: 20, openFlows: 3 },
  ]);
  await clock.advance(LIVE_INTERVAL_MS);
  await one.has(3);
  assert.deepEqual(one.views[2]?.throughput, { upBytesPerSecond: 10, downBytesPerSecond: 20 });
  presence.changed();
  await clock.advance(LIVE_INTERVAL_MS);
  assert.equal(one.views.length, 3, 'a sign of change without a change is not sent');
  leave?.();
  leaveToo?.();
  feed.close();
});

test('figures that stop coming are shown as zero, without any sign of change', async () => {
  const { clock, presence } = world.services;
  const feed = new LiveFeed(world.services, { clock });
  presence.report(world.acme.node.id, [
    { slot: 0, upBytesPerSecond: 1, downBytesPerSecond: 1, openFlows: 1 },
  ]);
  const one = listener();
  feed.subscribe(world.acme.host.active, one.give);
  await one.has(1);
  assert.equal(one.views[0]?.throughput.upBytesPerSecond, 1);
  await clock.advance(FIGURES_LIFETIME_MS);
  for (let ticks = 0; ticks < 10; ticks += 1) await clock.advance(LIVE_INTERVAL_MS);
  await one.has(2);
  assert.equal(one.views[1]?.throughput.upBytesPerSecond, 0);
  feed.close();
});

test('refuses streams past the limit and takes new ones when others leave', () => {
  const feed = new LiveFeed({ ...world.services, log: world.services.log }, { clock: world.services.clock });
  // A database is not needed to count: nobody waits for these.
  const leaves = Array.from({ length: MAX_STREAMS }, () =>
    feed.subscribe(world.rival.customer.active, () => {}),
  );
  assert.equal(
    feed.subscribe(world.rival.customer.active, () => {}),
    undefined,
  );
  leaves[0]?.();
  leaves[0]?.();
  assert.ok(feed.subscribe(world.rival.customer.active, () => {}));
  assert.equal(
    feed.subscribe(world.rival.customer.active, () => {}),
    undefined,
    'leaving twice frees one place',
  );
  feed.close();
});

test.run();
