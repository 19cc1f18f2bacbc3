/** Virtual modems that come and go in a file, followed by the agent; and the rootless kinds, driven for real. */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { createModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { LOOK_EVERY_MS, VIRTUAL_STATE_FILE, VirtualSlots } from '@mastline/agent/modem-plane/virtual-slots';
import { createLog, quietLog } from '@mastline/agent/observe/log';
import { VirtualClient } from '@mastline/agent/virtual-client';
import { systemClock } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import * as assert from 'uvu/assert';
import { type FakeClock, fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { startVirtualNetwork } from '../../support/virtual-network';

const test = suite('agent/modem-plane: virtual modems that come and go', { needs: ['socat'] });

const slotOf = (slot: number, virtual = true) => ({
  slot,
  usbPath: `virtual-${slot}`,
  sourceAddress: `127.9.${slot}.2`,
  api: { kind: 'at', port: `/tmp/tty${slot}`, profile: 'quectel/ec25' },
  virtual,
});

async function following(
  body: (frame: {
    source: VirtualSlots;
    clock: FakeClock;
    said: string[];
    write(slots: unknown): void;
    path: string;
  }) => Promise<void>,
): Promise<void> {
  const dir = await tempDir('virtual');
  const clock = fakeClock();
  const said: string[] = [];
  const log = createLog({ level: 'error', write: line => void said.push(line) });
  const source = new VirtualSlots({ stateDir: dir.path, clock, log });
  const path = join(dir.path, VIRTUAL_STATE_FILE);
  try {
    await body({
      source,
      clock,
      said,
      path,
      write: slots => writeFileSync(path, typeof slots === 'string' ? slots : JSON.stringify({ slots })),
    });
  } finally {
    await source.close();
    await dir.remove();
  }
}

test('what the file says is followed: more, fewer, and none when it is gone', () =>
  following(async ({ source, clock, write, path }) => {
    const numbers = () => source.slots().map(one => one.slot);
    let changes = 0;
    source.onChange(() => {
      changes += 1;
    });
    await source.start();
    assert.equal(numbers(), []);
    write([slotOf(1), slotOf(2)]);
    await clock.advance(LOOK_EVERY_MS);
    await eventually(() => changes === 1);
    assert.equal(numbers(), [1, 2]);
    write([slotOf(2)]);
    await clock.advance(LOOK_EVERY_MS);
    await eventually(() => changes === 2);
    assert.equal(numbers(), [2]);
    assert.is(source.whyAbsent(), null);
    rmSync(path);
    await clock.advance(LOOK_EVERY_MS);
    await eventually(() => changes === 3);
    assert.equal(numbers(), []);
  }));

for (const [name, content, complaint] of [
  ['half a file', '{"slots":[', /JSON/],
  ['a slot that is not virtual', [slotOf(1), slotOf(2, false)], /must all be virtual/],
  ['a slot without an address', [{ slot: 1 }], /slots/],
] as const)
  test(`${name} changes nothing, and is said once`, () =>
    following(async ({ source, clock, said, write }) => {
      write([slotOf(4)]);
      await source.start();
      write(content);
      for (let i = 0; i < 3; i += 1) await clock.advance(LOOK_EVERY_MS);
      await eventually(() => said.length === 1);
      assert.match(said.join(), complaint);
      assert.equal(
        source.slots().map(one => one.slot),
        [4],
      );
    }));

test(
  'AT and MBIM modems are had without rights, too: added, listed and removed by name',
  async () => {
    const dir = await tempDir('vr');
    const stateDir = join(dir.path, 'virtual');
    const net = await startVirtualNetwork(stateDir, 'rootless', ['--modems', '1']);
    const plane = createModemPlane({
      slots: [],
      sources: [new VirtualSlots({ stateDir, clock: systemClock, log: quietLog })],
      echoUrls: [],
      dataDir: dir.path,
      clock: systemClock,
      log: quietLog,
    });
    try {
      await plane.start();
      const client = new VirtualClient(dir.path);
      const module = await client.add({ profile: 'quectel/ec25', name: 'berlin' });
      const card = await client.add({ profile: 'quectel/rm520n', carrier: 'sticky' });
      assert.equal([module.slot, module.driver, card.slot, card.driver], [2, 'at', 3, 'mbim']);
      const k = net.ready.instance;
      const up = (slot: number) => {
        const report = plane.slots().find(one => one.slot === slot);
        return report?.state === 'connected' && report.exitAddress === `127.${k}.${slot}.2`;
      };
      await eventually(() => up(1) && up(2) && up(3));
      assert.equal(
        (await client.list()).map(one => one.name),
        [`virtual-${k}.1`, 'virtual-berlin', `virtual-${k}.3`],
      );
      await client.add({ profile: 'quectel/ec25', name: 'berlin' }).then(
        () => assert.unreachable(),
        error => assert.is(codeOf(error), 'simulator/name-taken'),
      );
      await client.add({ profile: 'nokia/3310' }).then(
        () => assert.unreachable(),
        error => assert.match(error.message, /there is no "nokia\/3310".*quectel\/rm520n/),
      );
      await client.add({ profile: 'quectel/ec25', driver: 'mbim' }).then(
        () => assert.unreachable(),
        error => assert.match(error.message, /simulated as at, not as mbim/),
      );
      await client.remove('berlin');
      await eventually(() => !plane.slots().some(one => one.slot === 2));
      await client.remove('berlin').then(
        () => assert.unreachable(),
        error => assert.is(codeOf(error), 'virtual/no-such-modem'),
      );
      assert.is(await client.slots(), null, 'no agent runs on that directory');
      assert.equal(await net.faults(), []);
    } finally {
      await plane.close();
      assert.is(await net.stop(), 0);
    }
    // What was added by hand is there again after a restart.
    const again = await startVirtualNetwork(stateDir, 'rootless', ['--modems', '1']);
    try {
      assert.equal(
        again.ready.slots.map(one => [one.slot, one.api.kind]),
        [
          [1, 'hilink'],
          [3, 'mbim'],
        ],
      );
    } finally {
      await again.stop();
      await dir.remove();
    }
  },
  { deadlineMs: 90_000 },
);

test('where no virtual network is, it is said how to have one', async () => {
  const dir = await tempDir('none');
  try {
    assert.throws(
      () => new VirtualClient(dir.path),
      (error: unknown) => codeOf(error) === 'virtual/none',
    );
  } finally {
    await dir.remove();
  }
});

test.run();
