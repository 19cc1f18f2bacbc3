import { readdir, readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MAX_WAITING_COMMITS } from '@mastline/agent/spool/usage-spool';
import Sqlite from 'better-sqlite3';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { codeFrom, delta, MINUTE, openSpool, totals } from './open-spool';

const test = suite('usage spool');
let folder: Awaited<ReturnType<typeof tempDir>>;
test.beforeEach(async () => {
  folder = await tempDir('spool');
});
test.afterEach(() => folder.remove());

test('adds up deltas of one key and minute into one record', async () => {
  const { spool } = await openSpool(folder.path);
  await spool.commit([delta(), delta({ upBytes: 5, flows: 0 })]);
  await spool.commit([delta({ downBytes: 1 })]);
  const records = await spool.recordsAfter(0, 10);
  assert.equal(records, [
    {
      sequence: 1,
      periodStart: MINUTE,
      endpointId: 'e1',
      credentialId: 'c1',
      slot: 1,
      imei: null,
      upBytes: 25,
      downBytes: 201,
      flows: 2,
    },
  ]);
  await spool.close();
});

test('keeps apart minutes, endpoints, credentials, slots and modems', async () => {
  let now = MINUTE + 59_999;
  const { spool } = await openSpool(folder.path, () => now);
  await spool.commit([
    delta(),
    delta({ endpointId: 'e2' }),
    delta({ credentialId: 'c2' }),
    delta({ slot: 2 }),
    delta({ imei: '86' }),
  ]);
  now += 1;
  await spool.commit([delta()]);
  const records = await spool.recordsAfter(0, 10);
  assert.is(records.length, 6);
  assert.equal(
    records.map(record => record.sequence),
    [1, 2, 3, 4, 5, 6],
  );
  assert.is(records[5]?.periodStart, MINUTE + 60_000);
  assert.equal(totals(records), { up: 60, down: 600, flows: 6 });
  await spool.close();
});

test('never changes a sealed record and gives later usage a number of its own', async () => {
  const { spool } = await openSpool(folder.path);
  await spool.commit([delta()]);
  const before = await spool.recordsAfter(0, 10);
  await spool.commit([delta()]);
  const after = await spool.recordsAfter(0, 10);
  assert.equal(after[0], before[0]);
  assert.is(after[1]?.sequence, 2);
  assert.equal(await spool.recordsAfter(1, 10), [after[1]]);
  await spool.close();
});

test('seals no more than was asked for, so that usage adds up while the cloud is away', async () => {
  const { spool } = await openSpool(folder.path);
  await spool.commit([delta({ slot: 1 }), delta({ slot: 2 }), delta({ slot: 3 })]);
  assert.is((await spool.recordsAfter(0, 2)).length, 2);
  await spool.commit([delta({ slot: 3 })]);
  const rest = await spool.recordsAfter(2, 10);
  assert.is(rest.length, 1);
  assert.is(rest[0]?.upBytes, 20);
  await spool.close();
});

test('goes on with its numbers after everything was acknowledged and the agent restarted', async () => {
  const first = await openSpool(folder.path);
  await first.spool.commit([delta()]);
  await first.spool.recordsAfter(0, 10);
  await first.spool.acknowledge(1);
  const before = await first.spool.position();
  await first.spool.close();
  const second = await openSpool(folder.path);
  assert.equal(await second.spool.position(), {
    epoch: before.epoch,
    lastSequence: 1,
    acknowledged: 1,
    committed: { upBytes: 10, downBytes: 100 },
  });
  await second.spool.commit([delta()]);
  assert.is((await second.spool.recordsAfter(1, 10))[0]?.sequence, 2);
  await second.spool.close();
});

test('prunes what is acknowledged, takes an old mark as said already, refuses one that is ahead', async () => {
  const { spool } = await openSpool(folder.path);
  await spool.commit([delta({ slot: 1 }), delta({ slot: 2 }), delta({ slot: 3 })]);
  await spool.recordsAfter(0, 10);
  await spool.acknowledge(2);
  await spool.acknowledge(1);
  assert.equal(
    (await spool.recordsAfter(0, 10)).map(record => record.sequence),
    [3],
  );
  assert.is(await codeFrom(spool.acknowledge(4)), 'spool/ack-ahead');
  assert.is(
    await codeFrom(spool.acknowledge(3, '01900000-0000-7000-8000-000000000000')),
    'spool/other-epoch',
  );
  assert.is((await spool.recordsAfter(0, 10)).length, 1);
  await spool.close();
});

test('starts a new epoch that keeps what the ledger has not', async () => {
  const { spool } = await openSpool(folder.path);
  for (let slot = 1; slot <= 5; slot += 1) {
    await spool.commit([delta({ slot })]);
    await spool.recordsAfter(0, 10);
  }
  await spool.acknowledge(1);
  const before = await spool.position();
  const renewal = await spool.renew(2);
  assert.is(renewal.dropped, 1);
  assert.is(renewal.kept, 3);
  assert.is.not(renewal.epoch, before.epoch);
  assert.equal(
    (await spool.recordsAfter(0, 10)).map(record => [record.sequence, record.slot]),
    [
      [1, 3],
      [2, 4],
      [3, 5],
    ],
  );
  assert.equal(await spool.position(), {
    epoch: renewal.epoch,
    lastSequence: 3,
    acknowledged: 0,
    committed: { upBytes: 50, downBytes: 500 },
  });
  await spool.close();
});

test('commits made at once share transactions and all count', async () => {
  const { spool } = await openSpool(folder.path);
  let told = 0;
  spool.onCommit(() => {
    told += 1;
  });
  await Promise.all(Array.from({ length: 200 }, () => spool.commit([delta()])));
  assert.equal(totals(await spool.recordsAfter(0, 10)), { up: 2000, down: 20_000, flows: 200 });
  assert.ok(told < 200, `each commit was a transaction of its own (${told})`);
  await spool.close();
});

test('a commit that is on disk can be settled while the event loop stands still', async () => {
  const { spool } = await openSpool(folder.path);
  let turned = false;
  setImmediate(() => {
    turned = true;
  });
  let commits = 0;
  const committed = () => {
    commits += 1;
    if (commits < 3) void spool.commit([delta()]).then(committed);
  };
  void spool.commit([delta()]).then(committed);
  const deadline = Date.now() + 20_000;
  // Only microtasks run between these calls, and no message comes by them.
  while (commits < 3 && Date.now() < deadline) {
    spool.settle?.();
    await null;
  }
  assert.is(commits, 3);
  assert.not.ok(turned);
  // The messages that come later say nothing new.
  const records = await spool.recordsAfter(0, 10);
  assert.is(totals(records).flows, 3);
  await spool.close();
});

test('refuses a delta that is out of range by field, and it takes nothing with it', async () => {
  const { spool } = await openSpool(folder.path);
  const good = spool.commit([delta()]);
  assert.is(await codeFrom(spool.commit([delta(), delta({ upBytes: -1 })])), 'spool/bad-delta');
  assert.is(await codeFrom(spool.commit([delta({ downBytes: 0.5 })])), 'spool/bad-delta');
  assert.is(await codeFrom(spool.commit([delta({ slot: 70_000 })])), 'spool/bad-delta');
  await good;
  assert.equal(totals(await spool.recordsAfter(0, 10)), { up: 10, down: 100, flows: 1 });
  await spool.close();
});

test('refuses calls after close, and close finishes what was committed', async () => {
  const { spool } = await openSpool(folder.path);
  const last = spool.commit([delta()]);
  await spool.close();
  await last;
  assert.is(await codeFrom(spool.commit([delta()])), 'spool/closed');
  assert.is(await codeFrom(spool.position()), 'spool/closed');
  const again = await openSpool(folder.path);
  assert.is((await again.spool.recordsAfter(0, 10)).length, 1);
  await again.spool.close();
});

test('moves a broken file aside, says so, and begins a new epoch', async () => {
  const first = await openSpool(folder.path);
  const { epoch } = await first.spool.position();
  await first.spool.close();
  await writeFile(join(folder.path, 'spool.db'), Buffer.alloc(20_000, 0x5a));
  const second = await openSpool(folder.path);
  assert.is.not((await second.spool.position()).epoch, epoch);
  assert.match(second.spool.broken?.movedTo ?? '', /spool\.db\.broken-2026/);
  assert.ok(second.lines.some(line => line.level === 'error' && line.code === 'spool/broken'));
  await second.spool.commit([delta()]);
  assert.is((await second.spool.recordsAfter(0, 10))[0]?.sequence, 1);
  await second.spool.close();
  assert.is((await readdir(folder.path)).filter(name => name.includes('broken')).length, 1);
});

test('takes no more commits than may wait, and those it took are kept', async () => {
  const { spool } = await openSpool(folder.path);
  const taken = Array.from({ length: MAX_WAITING_COMMITS }, () => spool.commit([delta()]));
  assert.is(await codeFrom(spool.commit([delta()])), 'spool/busy');
  await Promise.all(taken);
  assert.is(totals(await spool.recordsAfter(0, 10)).flows, MAX_WAITING_COMMITS);
  await spool.close();
});

test('is dead for good when a commit it sent is not answered, since it may be on disk or not', async () => {
  const clock = fakeClock();
  const { spool, faults } = await openSpool(folder.path, () => MINUTE, clock);
  const holder = new Sqlite(join(folder.path, 'spool.db'));
  holder.exec('BEGIN IMMEDIATE');
  const lost = codeFrom(spool.commit([delta()]));
  await clock.advance(30_000);
  assert.is(await lost, 'spool/died');
  holder.exec('COMMIT');
  holder.close();
  assert.equal(
    faults.map(({ code }) => code),
    ['spool/died'],
  );
  assert.is(await codeFrom(spool.commit([delta()])), 'spool/died');
  await spool.close();
});

test('refuses a spool of a newer agent and leaves it as it is', async () => {
  const first = await openSpool(folder.path);
  await first.spool.commit([delta()]);
  await first.spool.close();
  const db = new Sqlite(join(folder.path, 'spool.db'));
  db.pragma('user_version = 99');
  db.close();
  assert.is(await codeFrom(openSpool(folder.path)), 'spool/newer');
  assert.is((await readdir(folder.path)).filter(name => name.includes('broken')).length, 0);
});

test('finds a page broken in the middle of the file at open', async () => {
  const first = await openSpool(folder.path);
  for (let nth = 0; nth < 40; nth += 1)
    await first.spool.commit(
      Array.from({ length: 50 }, (_, slot) => delta({ slot, credentialId: `c${nth}` })),
    );
  await first.spool.close();
  const path = join(folder.path, 'spool.db');
  const bytes = await readFile(path);
  bytes.fill(0xee, 3 * 4096, 6 * 4096);
  await writeFile(path, bytes);
  const second = await openSpool(folder.path);
  assert.match(second.spool.broken?.reason ?? '', /malformed|Tree|page/i);
  await second.spool.close();
});

test('says what to do when the folder is missing', async () => {
  assert.is(await codeFrom(openSpool(join(folder.path, 'nowhere'))), 'spool/cannot-open');
});

test.run();
