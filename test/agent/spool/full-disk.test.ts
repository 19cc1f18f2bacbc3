import { execFileSync } from 'node:child_process';
import { mkdir, readFile, rm, statfs, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeDurably } from '@mastline/agent/durable-file';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { codeFrom, delta, MINUTE, openSpool, totals } from './open-spool';

const test = suite('spool on a full disk');
const canMount = process.getuid?.() === 0 && mountWorks();

function mountWorks(): boolean {
  try {
    execFileSync('unshare', ['--mount', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** What a test mounted goes with it, also when it failed half-way. */
const cleanUps: (() => Promise<void>)[] = [];
test.afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

async function smallDisk(size = '2m') {
  const folder = await tempDir('full');
  const path = join(folder.path, 'disk');
  await mkdir(path);
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${size}`, 'tmpfs', path]);
  cleanUps.push(async () => {
    execFileSync('umount', [path]);
    await folder.remove();
  });
  const ballast = join(path, 'ballast');
  return {
    path,
    fill: async () => {
      const { bavail, bsize } = await statfs(path);
      await writeFile(ballast, Buffer.alloc(bavail * bsize));
    },
    free: () => rm(ballast),
  };
}

if (canMount) {
  test('rejects the commit with the path and the remedy, writes no half of it, and goes on when there is room', async () => {
    const disk = await smallDisk();
    const { spool, faults } = await openSpool(disk.path);
    cleanUps.push(() => spool.close());
    let committed = 0;
    const commit = async (nth: number) => {
      const deltas = Array.from({ length: 50 }, (_, slot) =>
        delta({ slot, credentialId: `c${nth}`, upBytes: 1, downBytes: 0 }),
      );
      await spool.commit(deltas);
      committed += 50;
    };
    await commit(0);
    await disk.fill();
    let refusal: { code?: string; message?: string } = {};
    for (let nth = 1; nth < 2000 && refusal.code === undefined; nth += 1)
      await commit(nth).catch(error => {
        refusal = error;
      });
    assert.is(refusal.code, 'spool/full');
    assert.match(refusal.message ?? '', /spool\.db/);
    assert.match(refusal.message ?? '', /free space under/);
    assert.is(await codeFrom(commit(9_999)), 'spool/full');
    await disk.free();
    await commit(10_000);
    assert.is(totals(await allRecords(spool)).up, committed);
    assert.equal(faults, []);
  });

  test('goes on into its reserve when the disk fills up, says so, and takes it again when there is room', async () => {
    const disk = await smallDisk('64m');
    const clock = fakeClock();
    const { spool, faults, lines } = await openSpool(disk.path, () => MINUTE, clock);
    cleanUps.push(() => spool.close());
    assert.is(spool.health().reserve, 'whole');
    await disk.fill();
    const perCommit = Array.from({ length: 50 }, (_, slot) => delta({ slot, upBytes: 1, downBytes: 0 }));
    let committed = 0;
    // Each with keys of its own: a megabyte more than the disk has left.
    for (let nth = 0; nth < 300; nth += 1) {
      await spool.commit(perCommit.map(one => ({ ...one, credentialId: `${'c'.repeat(40)}${nth}` })));
      committed += 50;
    }
    assert.is(spool.health().reserve, 'used');
    assert.is(spool.health().problem, null);
    assert.ok(lines.some(({ code }) => code === 'spool/reserve-used'));
    await disk.free();
    await clock.advance(3_600_000);
    await spool.position();
    assert.is(spool.health().reserve, 'whole');
    assert.is(totals(await allRecords(spool)).up, committed);
    assert.equal(faults, []);
  });

  test('names a full disk in its health while commits fail, and forgets it when one succeeds', async () => {
    const disk = await smallDisk();
    const { spool } = await openSpool(disk.path);
    cleanUps.push(() => spool.close());
    assert.is(spool.health().reserve, 'used', 'no room for one on 2 MB');
    await disk.fill();
    let code = '';
    for (let nth = 0; nth < 2000 && code === ''; nth += 1)
      await spool.commit([delta({ credentialId: `c${nth}` })]).catch(error => {
        code = error.code;
      });
    assert.is(code, 'spool/full');
    assert.is(spool.health().problem?.code, 'spool/full');
    assert.match(spool.health().problem?.message ?? '', /free space under/);
    await disk.free();
    await spool.commit([delta()]);
    assert.is(spool.health().problem, null);
  });

  test('a state file keeps its old content when the new one does not fit', async () => {
    const disk = await smallDisk();
    const path = join(disk.path, 'identity.json');
    await writeDurably(path, 'old');
    await disk.fill();
    assert.is(await codeFrom(writeDurably(path, 'x'.repeat(100_000))), 'disk/full');
    assert.is(await readFile(path, 'utf8'), 'old');
  });
} else test.skip('rejects the commit with the path and the remedy', 'mounting a small disk needs root');

async function allRecords(spool: Awaited<ReturnType<typeof openSpool>>['spool']) {
  const all = [];
  for (let after = 0; ; ) {
    const records = await spool.recordsAfter(after, 1000);
    if (records.length === 0) return all;
    all.push(...records);
    after = records.at(-1)?.sequence ?? after;
  }
}

test.run();
