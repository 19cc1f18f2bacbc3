import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { UsageRecord } from '@mastline/shared/domain/usage';
import * as assert from 'uvu/assert';
import { agentBuilt } from '../../support/build-agent';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { openSpool, totals } from './open-spool';

const test = suite('usage spool under kill -9');
const ROUNDS = 6;

/** Runs the loop until it has confirmed `commits`, kills it with SIGKILL, and returns all it said. */
async function killAfter(folder: string, commits: number) {
  const child = spawn(
    process.execPath,
    ['--import', 'tsx', join(import.meta.dirname, 'commit-loop.ts'), folder],
    {
      stdio: ['ignore', 'pipe', 'inherit'],
      env: { ...process.env, MASTLINE_BUILT: '1' },
    },
  );
  const gone = once(child, 'exit');
  const said = { confirmed: 0, sealed: [] as UsageRecord[], opened: -1 };
  for await (const line of createInterface({ input: child.stdout })) {
    const [kind, rest = ''] = [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)];
    if (kind === 'open') said.opened = Number(rest);
    if (kind === 's') said.sealed.push(UsageRecord.parse(JSON.parse(rest)));
    if (kind === 'c') said.confirmed = Number(rest);
    // Lines that were in the pipe when it died are read too: they were said, so they must hold.
    if (said.confirmed >= commits) child.kill('SIGKILL');
  }
  const [, signal] = await gone;
  assert.is(signal, 'SIGKILL');
  return said;
}

test(
  'keeps all that was confirmed, adds nothing but the one commit under way, and never reuses a number',
  async () => {
    await agentBuilt();
    const folder = await tempDir('kill');
    let epoch: string | undefined;
    let last = 0;
    for (let round = 1; round <= ROUNDS; round += 1) {
      const said = await killAfter(folder.path, 20 + round * 37);
      assert.is(said.opened, last, 'the numbers go on where they were');
      const { spool } = await openSpool(folder.path);
      assert.is(spool.broken, undefined);
      const records = await spool.recordsAfter(0, 1000);
      const inFile = totals(records).up;
      assert.ok(inFile >= said.confirmed, `${said.confirmed} confirmed, ${inFile} in the file`);
      assert.ok(inFile <= said.confirmed + 1, `${said.confirmed} confirmed, ${inFile} in the file`);
      for (const record of said.sealed)
        assert.equal(
          records.find(({ sequence }) => sequence === record.sequence),
          record,
        );
      const position = await spool.position();
      epoch ??= position.epoch;
      assert.is(position.epoch, epoch);
      assert.is(records[0]?.sequence, last + 1);
      last = position.lastSequence;
      await spool.acknowledge(last);
      await spool.close();
    }
    await folder.remove();
  },
  { deadlineMs: 120_000 },
);

test.run();
