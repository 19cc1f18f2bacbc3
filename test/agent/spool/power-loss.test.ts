/**
 * Power loss by playing back what a real run wrote, as strace saw it, cut at every flush and at random in between.
 * What was confirmed before the cut must be there; no number may come to mean another record.
 */
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDatabase } from '@mastline/agent/spool/database';
import { usageTable } from '@mastline/agent/spool/usage-table';
import { UsageRecord } from '@mastline/shared/domain/usage';
import * as assert from 'uvu/assert';
import { agentBuilt } from '../../support/build-agent';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { type DiskEvent, readTrace, STRACE, type Survival, TracedDisk } from '../../support/traced-disk';
import { MINUTE } from './open-spool';

const test = suite('usage spool and a power cut');
/** Most bytes of one commit of traced-commits.ts. */
const ONE_COMMIT = 241;

function canTrace(): boolean {
  try {
    execFileSync('strace', ['-f', '--seccomp-bpf', '-o', '/dev/null', 'true'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/** Numbers from 0 to 1 that are the same in each run (mulberry32). */
function seeded(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let t = Math.imul(state ^ (state >>> 15), 1 | state);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296;
  };
}

/** What becomes of all that was not flushed. */
interface Rest {
  how: string;
  names: 'all' | 'flushed';
  survives: Survival;
}
const NOTHING: Rest = { how: 'nothing', names: 'flushed', survives: () => false };
const ALL: Rest = { how: 'everything', names: 'all', survives: () => true };
const SOME: Rest = { how: 'some sectors', names: 'all', survives: chance => chance < 0.5 };

async function trace(folder: string): Promise<DiskEvent[]> {
  await agentBuilt();
  const spoolFolder = join(folder, 'run');
  mkdirSync(spoolFolder);
  const log = join(folder, 'trace');
  execFileSync(
    'strace',
    [
      ...[...STRACE, '-o', log, process.execPath, '--import', 'tsx'],
      ...[join(import.meta.dirname, 'traced-commits.ts'), spoolFolder],
    ],
    { stdio: ['ignore', 'ignore', 'inherit'], env: { ...process.env, MASTLINE_BUILT: '1' } },
  );
  return readTrace(readFileSync(log, 'latin1'), spoolFolder);
}

/** What the process had been promised when the power went. */
interface Promised {
  open: boolean;
  bytes: number;
  mark: number;
  sealed: Map<number, UsageRecord>;
}

function hear(promised: Promised, line: string): void {
  const rest = line.slice(2);
  if (line === 'open') promised.open = true;
  if (line.startsWith('c ')) promised.bytes = Number(rest);
  if (line.startsWith('a ')) promised.mark = Number(rest);
  if (line.startsWith('s ')) {
    const record = UsageRecord.parse(JSON.parse(rest));
    promised.sealed.set(record.sequence, record);
  }
}

/** Opens what the cut left, and holds it against what was promised. */
function judge(folder: string, promised: Promised, where: string): void {
  const { db, broken } = openDatabase(join(folder, 'spool.db'), MINUTE);
  try {
    assert.is(broken, undefined, `${where}: ${broken?.reason}`);
    const table = usageTable(db);
    const position = table.position();
    const { upBytes } = position.committed;
    assert.ok(upBytes >= promised.bytes, `${where}: ${promised.bytes} promised, ${upBytes} there`);
    assert.ok(
      upBytes <= promised.bytes + ONE_COMMIT,
      `${where}: ${promised.bytes} promised, ${upBytes} there`,
    );
    assert.ok(position.acknowledged >= promised.mark, `${where}: the acknowledgement is lost`);
    const records = table.recordsAfter(position.acknowledged, 10_000, undefined);
    for (const record of records) {
      const said = promised.sealed.get(record.sequence);
      if (said) assert.equal(record, said, where);
    }
    for (const sequence of promised.sealed.keys())
      assert.ok(sequence <= position.lastSequence, `${where}: number ${sequence} would be given again`);
  } finally {
    db.close();
  }
}

if (canTrace())
  test(
    'keeps what it confirmed when the power goes at any flush, whatever of the rest reached the disk',
    async () => {
      const folder = await tempDir('power');
      const events = await trace(folder.path);
      const flushes = events.filter(({ is }) => is === 'flush').length;
      assert.ok(flushes > 100, `${flushes} flushes`);
      assert.ok(
        events.some(event => event.is === 'write' && event.file === 'spool.db' && event.offset > 4_096),
        'the journal was brought into the file within the run',
      );
      const random = seeded(7);
      const promised: Promised = { open: false, bytes: 0, mark: 0, sealed: new Map() };
      const disk = new TracedDisk();
      let cuts = 0;
      const cutNow = (where: string, rests: readonly Rest[]) => {
        // Before the spool was opened nothing was promised.
        if (!promised.open) return;
        for (const { how, names, survives } of rests) {
          cuts += 1;
          const place = join(folder.path, `cut-${cuts}`);
          mkdirSync(place);
          disk.cut(place, { survives, random, names });
          judge(place, promised, `${where}, ${how} of the rest`);
        }
      };
      for (const [index, event] of events.entries()) {
        if (event.is === 'flush') cutNow(`before flush at event ${index}`, [NOTHING, SOME]);
        disk.apply(event);
        if (event.is === 'said') hear(promised, event.line);
        if (event.is === 'flush') cutNow(`after flush at event ${index}`, [NOTHING]);
        else if (event.is === 'write' && random() < 0.02) cutNow(`at event ${index}`, [ALL, SOME]);
      }
      assert.ok(promised.bytes > 5_000 && promised.sealed.size > 500 && promised.mark > 0);
      console.log(`${cuts} cuts around ${flushes} flushes of ${events.length} events`);
      await folder.remove();
    },
    { deadlineMs: 300_000 },
  );
else test.skip('keeps what it confirmed when the power goes', 'strace is missing or may not trace here');

if (canTrace())
  test(
    'this test finds out a spool that does not flush',
    async () => {
      const folder = await tempDir('power');
      const events = await trace(folder.path);
      const promised: Promised = { open: false, bytes: 0, mark: 0, sealed: new Map() };
      const disk = new TracedDisk();
      for (const event of events) {
        // As if synchronous were OFF from the first commit on.
        if (!(promised.open && event.is === 'flush')) disk.apply(event);
        if (event.is === 'said') hear(promised, event.line);
      }
      const place = join(folder.path, 'cut');
      mkdirSync(place);
      disk.cut(place, { survives: () => false, random: () => 0, names: 'flushed' });
      let verdict = '';
      try {
        judge(place, promised, 'at the end');
      } catch (error) {
        verdict = String(error);
      }
      assert.match(verdict, /10890 promised, 0 there/);
      await folder.remove();
    },
    { deadlineMs: 120_000 },
  );
else test.skip('this test finds out a spool that does not flush', 'strace is missing or may not trace here');

test.run();
