/** Who lags and by how much, what came and what was refused: written for all nodes at once, by several processes, kept when the database is away. */
import assert from 'node:assert/strict';
import { ProcessReports, readProcesses, STALE_MS } from '@mastline/cloud/server/insight/process-reports';
import { readLagPage, readSystem } from '@mastline/cloud/server/insight/system';
import { IngestWatch, WATCH_FLUSH_MS } from '@mastline/cloud/server/ledger/ingest-watch';
import { recordBatch } from '@mastline/cloud/server/ledger/record-batch';
import { readMinutes } from '@mastline/cloud/server/ledger/watch-sql';
import { Tallies } from '@mastline/cloud/server/observe/tallies';
import { createCaller } from '@mastline/cloud/server/router';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { addNode, cloudWorld, usageRecord, type World } from '../../support/cloud-world';
import { databaseKinds, testDatabase } from '../../support/postgres';
import { suite } from '../../support/suite';

const test = suite('cloud: what is watched of ingest');
const MINUTE_MS = 60_000;

for (const kind of await databaseKinds()) {
  let database: Awaited<ReturnType<typeof testDatabase>> | undefined;
  let world: World;
  test.after(async () => database?.drop());
  /** A world of its own for each test, in a database that holds nothing else to be watched. */
  const inWorld = (run: () => Promise<void>) => async () => {
    database ??= await testDatabase(kind);
    const { pool } = database.db;
    await pool.query(
      'TRUNCATE ingest_watch, ingest_minutes, ingest_refusals, usage_ingest_daily, cloud_processes',
    );
    await pool.query('UPDATE nodes SET retired_at = now()');
    world = await cloudWorld(database.db);
    try {
      await run();
    } finally {
      await world.services.watch.close();
    }
  };
  const batchOf = (epoch: string, sequences: number[], at: number) => ({
    nodeId: world.acme.node.id,
    hostOrganizationId: world.acme.host.active.id,
    epoch,
    records: sequences.map(sequence => usageRecord(world.acme, sequence, { at })),
  });
  /** Through the ledger, as ingest does. */
  const ingest = async (batch: ReturnType<typeof batchOf>, ahead = 0) => {
    const { services } = world;
    services.watch.answered(batch, ahead, await recordBatch(services.db, batch, services.clock.now()));
  };
  const lagOf = async (name: string) => {
    const page = await readLagPage(world.services, { search: name, after: null, limit: 50 });
    assert.equal(page.nodes.length, 1);
    return page.nodes[0]!;
  };

  test(
    `${kind}: a node that announces more than the ledger has lags since its newest minute, until all is in`,
    inWorld(async () => {
      const { services, acme } = world;
      const epoch = uuidv7();
      const now = services.clock.now();
      const node = { nodeId: acme.node.id, organizationId: acme.host.active.id };
      services.watch.greeted(node, { epoch, lastSequence: 900, mark: 0 });
      await services.watch.flush();
      assert.deepEqual(await lagOf('Acme box').then(({ behind, behindSince }) => ({ behind, behindSince })), {
        behind: 900,
        behindSince: now,
      });
      await ingest(batchOf(epoch, [1, 2, 3], now - 60 * MINUTE_MS), 897);
      await services.watch.flush();
      const lag = await lagOf('Acme box');
      assert.equal(lag.behind, 897);
      assert.equal(lag.behindSince, now - 60 * MINUTE_MS);
      assert.equal((await readSystem(services)).nodes.lagging, 1);
      await ingest(
        batchOf(
          epoch,
          Array.from({ length: 897 }, (_, i) => i + 4),
          now,
        ),
      );
      await services.watch.flush();
      const level = await lagOf('Acme box');
      assert.equal(level.behind, 0);
      assert.equal(level.behindSince, null);
      assert.equal(level.lastPeriodStart, now);
      assert.deepEqual((await readSystem(services)).nodes, {
        connected: 0,
        expected: 0,
        lagging: 0,
        recordsBehind: 0,
        worstSince: null,
      });
    }),
  );

  test(
    `${kind}: duplicates, gaps and refusals are counted by node and day, minute and code; a lie moves no standing`,
    inWorld(async () => {
      const { services } = world;
      const epoch = uuidv7();
      const now = services.clock.now();
      await ingest(batchOf(epoch, [1, 2, 3], now));
      await ingest(batchOf(epoch, [2, 3, 4], now));
      await ingest(batchOf(epoch, [9], now));
      await ingest(batchOf(epoch, [5, 70_000], now));
      await services.watch.flush();
      // A second write adds.
      await ingest(batchOf(epoch, [4], now));
      await services.watch.flush();
      const lag = await lagOf('Acme box');
      assert.deepEqual([lag.duplicates, lag.gaps, lag.refused], [3, 1, 1]);
      // The gap said that there are nine; the batch that is no batch said nothing.
      assert.equal(lag.behind, 5);
      const [minute] = await readMinutes(services.db.pool, new Date(now - MINUTE_MS));
      assert.deepEqual(minute, {
        at: now,
        batches: 5,
        stored: 4,
        duplicates: 3,
        gaps: 1,
        refused: 1,
        unattributed: 0,
      });
      const view = await readSystem(services);
      assert.deepEqual(view.ingest.refusals, [
        { code: 'ledger/gap', batches: 1 },
        { code: 'ledger/not-consecutive', batches: 1 },
      ]);
      assert.equal(view.ingest.minutes.length, 60);
      assert.equal(view.ingest.minutes.at(-1)?.stored, 4);
      assert.ok(view.database.bytes > 1e6);
      await services.db.pool.query(
        'CREATE TABLE ballast AS SELECT repeat(md5(i::text), 20) FROM generate_series(1, 2000) i',
      );
      try {
        assert.equal(
          (await readSystem(services)).database.bytes,
          view.database.bytes,
          'sizes are a minute old at most',
        );
        await services.clock.advance(60_000);
        assert.ok((await readSystem(services)).database.bytes > view.database.bytes);
      } finally {
        await services.db.pool.query('DROP TABLE ballast');
      }
      assert.deepEqual(
        view.database.tables.map(table => table.name),
        ['usage_records', 'usage_rollups', 'usage_rollups_daily'],
      );
    }),
  );

  test(
    `${kind}: a new epoch stands for itself, and an older word of another process does not overwrite a newer`,
    inWorld(async () => {
      const { services, acme } = world;
      const [first, second] = [uuidv7(), uuidv7()];
      await ingest(batchOf(first, [1, 2, 3], services.clock.now()), 500);
      await services.watch.flush();
      const other = new IngestWatch(services);
      other.greeted(
        { nodeId: acme.node.id, organizationId: acme.host.active.id },
        { epoch: first, lastSequence: 800, mark: 3 },
      );
      await services.clock.advance(1_000);
      await ingest(batchOf(second, [1], services.clock.now()));
      await services.watch.flush();
      assert.equal((await lagOf('Acme box')).behind, 0);
      await other.close();
      assert.equal((await lagOf('Acme box')).behind, 0);
    }),
  );

  test(
    `${kind}: the list is worst first, holds each node once over all pages, and is found by name, host and id`,
    inWorld(async () => {
      const { services, acme } = world;
      const now = services.clock.now();
      const late: string[] = [];
      for (let n = 0; n < 25; n += 1) {
        const { id } = await addNode(services, acme.host, `box 100%_${n}`);
        if (n % 5 !== 0) continue;
        late.push(id);
        const batch = { ...batchOf(uuidv7(), [1], now - (n + 1) * MINUTE_MS), nodeId: id };
        await ingest(batch, 7);
      }
      await services.watch.flush();
      const seen: string[] = [];
      let after: string | null = null;
      do {
        const page = await readLagPage(services, { search: '', after, limit: 4 });
        assert.ok(page.nodes.length <= 4);
        seen.push(...page.nodes.map(node => node.nodeId));
        after = page.next;
      } while (after !== null);
      assert.equal(seen.length, 27);
      assert.equal(new Set(seen).size, 27);
      assert.deepEqual(seen.slice(0, 5), late.reverse());
      const found = async (search: string) =>
        (await readLagPage(services, { search, after: null, limit: 50 })).nodes.length;
      assert.equal(await found('100%_1'), 11);
      assert.equal(await found('100__1'), 0);
      assert.equal(await found('rival hosts'), 1);
      assert.equal(await found(acme.node.id.toUpperCase()), 1);
      assert.equal(await found("'; --"), 0);
    }),
  );

  test(
    `${kind}: only operators may ask; others are told that there is no such thing`,
    inWorld(async () => {
      const { services, operator, acme } = world;
      const as = (viewer: typeof operator) =>
        createCaller({ services, viewer, sessionId: null, requestId: 'r' }).system;
      assert.equal((await as(operator).nodes({})).nodes.length, 2);
      assert.equal((await as(operator).get()).database.kind, kind);
      assert.equal((await as(operator).nodes({ search: 'a\u0000b' })).nodes.length, 0);
      for (const viewer of [acme.host, acme.customer]) {
        await assert.rejects(as(viewer).get(), { code: 'NOT_FOUND' });
        await assert.rejects(as(viewer).nodes({}), { code: 'NOT_FOUND' });
      }
      const billing = { ...operator, active: { ...operator.active, role: 'billing' as const } };
      await assert.rejects(as(billing).get(), { code: 'FORBIDDEN' });
      for (const after of ['nonsense', `1.${'-'.repeat(36)}`])
        await assert.rejects(as(operator).nodes({ after }), { code: 'BAD_REQUEST' });
    }),
  );

  test(
    `${kind}: each process has a row of its own, and one that stopped writing is left out`,
    inWorld(async () => {
      const { services } = world;
      const sources = (tallies: Tallies) => ({
        version: '0.1.0',
        tallies,
        eventLoop: { read: () => ({ p50: 0, p99: 0.003, max: 0.01 }), close: () => undefined },
        link: () => ({
          ...{ sessions: 5, pausedSockets: 1, heldSockets: 0, waitingBytes: 9, timesHeld: 2 },
          ...{ unreadBytes: 0, arriving: 0, toldToComeLater: 0 },
        }),
        writer: () => services.usage.figures(),
        pool: () => ({ size: 10, open: 3, idle: 1, waiting: 0 }),
        liveStreams: () => 1,
      });
      const busy = new Tallies();
      const one = new ProcessReports({ ...services, sources: sources(busy) });
      const two = new ProcessReports({ ...services, sources: sources(new Tallies()) });
      await one.report();
      await two.report();
      busy.records.add('stored', 4_000);
      await services.clock.advance(2_000);
      await one.report();
      await two.report();
      const view = await readSystem(services);
      assert.equal(view.processes.length, 2);
      assert.equal(view.nodes.connected, 10);
      assert.equal(view.ingest.recordsPerSecond, 2_000);
      assert.equal(view.processes[0]?.databaseInUse, 2);
      await two.close();
      assert.equal((await readProcesses(services.db, services.clock.now())).length, 1);
      assert.equal((await readProcesses(services.db, services.clock.now() + STALE_MS)).length, 0);
      await one.close();
    }),
  );
}

test('what cannot be written is added to what comes after', async () => {
  const [kind = 'embedded'] = await databaseKinds();
  const database = await testDatabase(kind);
  try {
    const world = await cloudWorld(database.db);
    const { services, acme } = world;
    let away = true;
    const db = {
      pool: {
        connect: () => (away ? Promise.reject(new Error('away')) : database.db.pool.connect()),
      } as unknown as typeof database.db.pool,
    };
    const watch = new IngestWatch({ ...services, db });
    const batch = {
      nodeId: acme.node.id,
      hostOrganizationId: acme.host.active.id,
      epoch: uuidv7(),
      records: [usageRecord(acme, 1)],
    };
    watch.answered(batch, 3, { is: 'stored', mark: 1, stored: 1, duplicates: 0, unattributed: 0 });
    watch.answered(batch, 3, { is: 'gap', expected: 2 });
    await services.clock.advance(WATCH_FLUSH_MS);
    await watch.flush();
    away = false;
    watch.answered(batch, 0, { is: 'stored', mark: 1, stored: 0, duplicates: 1, unattributed: 0 });
    await watch.close();
    const [minute] = await readMinutes(services.db.pool, new Date(0));
    assert.deepEqual([minute?.batches, minute?.stored, minute?.duplicates, minute?.gaps], [3, 1, 1, 1]);
    const [lag] = (await readLagPage(services, { search: 'Acme box', after: null, limit: 1 })).nodes;
    assert.equal(lag?.behind, 3);
    await services.watch.close();
  } finally {
    await database.drop();
  }
});

test.run();
