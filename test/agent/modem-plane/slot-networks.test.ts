/** When the network of the slots is looked at. What a look does is slot-network.test.ts, on real interfaces. */
import { SlotNetworks } from '@mastline/agent/modem-plane/slot-networks';
import type { SlotRoster } from '@mastline/agent/modem-plane/slot-roster';
import { quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';

const test = suite('looks at the network of the slots');

test('several calls make one look, and one behind other work is a look of its own', async () => {
  const dir = await tempDir('slot-networks');
  const done: string[] = [];
  const roster = {
    all() {
      done.push('look');
      return [];
    },
  } as unknown as SlotRoster;
  const networks = new SlotNetworks({
    dataDir: dir.path,
    runIp: () => Promise.reject(new Error('nothing to run')),
    clock: systemClock,
    log: quietLog,
    roster: () => roster,
  });
  try {
    await Promise.all([networks.keep(), networks.keep(), networks.keep()]);
    assert.equal(done, ['look']);
    void networks.keep();
    void networks.after(async () => void done.push('work'));
    await Promise.all([networks.keep(), networks.keep()]);
    assert.equal(done, ['look', 'look', 'work', 'look']);
    // One that has begun may have passed what is told now.
    const under = networks.keep();
    await Promise.resolve();
    await Promise.all([under, networks.keep()]);
    assert.is(done.filter(one => one === 'look').length, 5);
  } finally {
    await networks.close();
    await dir.remove();
  }
});

test.run();
