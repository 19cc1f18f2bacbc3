import { existsSync } from 'node:fs';
import { open, readdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { MAX_BROKEN_FILES } from '@mastline/agent/spool/database';
import type { SpoolHealth } from '@mastline/agent/spool/worker-messages';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { codeFrom, delta, MINUTE, openSpool, totals } from './open-spool';

const test = suite('a spool that breaks while it is open');
const HOUR_MS = 3_600_000;
let folder: Awaited<ReturnType<typeof tempDir>>;
test.beforeEach(async () => {
  folder = await tempDir('broken');
});
test.afterEach(() => folder.remove());

/** Overwrites the file from `from` on, as a dying card does. */
async function spoil(path: string, from: number): Promise<void> {
  const { size } = await stat(path);
  const file = await open(path, 'r+');
  await file.write(Buffer.alloc(size - from, 0xee), 0, size - from, from);
  await file.close();
}

/** A file of several megabytes: more than SQLite keeps in memory. */
async function largeSpool(path: string) {
  const first = await openSpool(path);
  for (let nth = 0; nth < 10; nth += 1)
    await first.spool.commit(
      Array.from({ length: 3_000 }, (_, slot) => delta({ slot, credentialId: `${'c'.repeat(50)}${nth}` })),
    );
  const { epoch } = await first.spool.position();
  await first.spool.close();
  return epoch;
}

test('a commit that meets a broken page is in the new file, and serving goes on in a new epoch', async () => {
  const epoch = await largeSpool(folder.path);
  const clock = fakeClock();
  const { spool, faults, lines } = await openSpool(folder.path, () => MINUTE, clock);
  const told: SpoolHealth[] = [];
  spool.onHealth(health => told.push(health));
  await spoil(join(folder.path, 'spool.db'), 4 * 1024);
  // Keys all over the tables: one of their pages is not in memory.
  const deltas = Array.from({ length: 3_000 }, (_, slot) =>
    delta({ slot, credentialId: `${'c'.repeat(50)}${slot % 10}`, upBytes: 1, downBytes: 0 }),
  );
  await spool.commit(deltas);
  const position = await spool.position();
  assert.is.not(position.epoch, epoch);
  assert.match(spool.broken?.movedTo ?? '', /spool\.db\.broken-/);
  assert.ok(existsSync(spool.broken?.movedTo ?? ''));
  assert.is(told.at(-1)?.broken?.movedTo, spool.broken?.movedTo);
  assert.ok(lines.some(({ code, level }) => code === 'spool/broken' && level === 'error'));
  const records = [];
  for (let after = 0; ; ) {
    const some = await spool.recordsAfter(after, 1000);
    if (some.length === 0) break;
    records.push(...some);
    after = some.at(-1)?.sequence ?? after;
  }
  assert.is(records[0]?.sequence, 1);
  assert.is(totals(records).up, 3_000, 'the commit once, and nothing of the broken file');
  assert.equal(faults, []);
  await spool.close();
});

test('what the uplink still asks of the old epoch is refused, not answered from the new one', async () => {
  const epoch = await largeSpool(folder.path);
  const clock = fakeClock();
  const { spool } = await openSpool(folder.path, () => MINUTE, clock);
  await spoil(join(folder.path, 'spool.db'), 1024);
  await clock.advance(HOUR_MS);
  await spool.position();
  assert.ok(spool.broken);
  assert.is(await codeFrom(spool.recordsAfter(0, 10, epoch)), 'spool/other-epoch');
  assert.is(await codeFrom(spool.acknowledge(1, epoch)), 'spool/other-epoch');
  await spool.close();
});

test('the hourly look finds rot on the disk that memory hides', async () => {
  const clock = fakeClock();
  const first = await openSpool(folder.path);
  await first.spool.commit(Array.from({ length: 200 }, (_, slot) => delta({ slot })));
  await first.spool.close();
  const { spool } = await openSpool(folder.path, () => MINUTE, clock);
  const { epoch } = await spool.position();
  await spoil(join(folder.path, 'spool.db'), 3 * 1024);
  await clock.advance(HOUR_MS);
  assert.is.not((await spool.position()).epoch, epoch);
  assert.match(spool.broken?.reason ?? '', /malformed|Tree|page|corrupt/i);
  await spool.commit([delta()]);
  await spool.close();
});

test('a file that was deleted under it is noticed, and usage goes where the next start will find it', async () => {
  const clock = fakeClock();
  const { spool } = await openSpool(folder.path, () => MINUTE, clock);
  await spool.commit([delta()]);
  const { epoch } = await spool.position();
  await rm(join(folder.path, 'spool.db'));
  await clock.advance(HOUR_MS);
  assert.is.not((await spool.position()).epoch, epoch);
  assert.match(spool.broken?.reason ?? '', /another file lies in its place/);
  await spool.commit([delta({ upBytes: 7 })]);
  await spool.close();
  const again = await openSpool(folder.path);
  assert.is(totals(await again.spool.recordsAfter(0, 10)).up, 7);
  await again.spool.close();
});

test('a whole file is left alone by the look, commits before and after', async () => {
  const clock = fakeClock();
  const { spool, lines } = await openSpool(folder.path, () => MINUTE, clock);
  await spool.commit([delta()]);
  const before = await spool.position();
  for (let hour = 0; hour < 3; hour += 1) {
    await clock.advance(HOUR_MS);
    await spool.position();
  }
  await spool.commit([delta()]);
  assert.is((await spool.position()).epoch, before.epoch);
  assert.is(spool.broken, undefined);
  assert.equal(
    lines.filter(({ level }) => level === 'error' || level === 'warn'),
    [],
  );
  await spool.close();
});

test('stays shut on a disk that breaks file after file, keeps all of them, and says to replace it', async () => {
  for (let nth = 0; nth < MAX_BROKEN_FILES; nth += 1) {
    await writeFile(join(folder.path, 'spool.db'), Buffer.alloc(4_096, 0x5a));
    const { spool } = await openSpool(folder.path);
    await spool.close();
  }
  await writeFile(join(folder.path, 'spool.db'), Buffer.alloc(4_096, 0x5a));
  try {
    await openSpool(folder.path);
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code: string }).code, 'spool/corrupt');
    assert.match((error as { userMessage: string }).userMessage, /the disk is dying/);
  }
  const kept = (await readdir(folder.path)).filter(name => name.includes('.broken-'));
  assert.is(kept.length, MAX_BROKEN_FILES);
});

test.run();
