/**
 * Today's agent and the cloud of the protocol's first day. The golden messages of a version are never edited: what was
 * promised then holds, both ways.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { type AgentRig, rotationRecord, withAgent } from '../agent/control-plane/rig';
import { delta, totals } from '../agent/spool/open-spool';
import { suite } from '../support/suite';

const test = suite('agent of today, cloud of the first day');

interface Golden {
  direction: string;
  optional?: string[];
  frame: { v: number; kind: string; body: Record<string, unknown> };
}

const GOLDEN = join(import.meta.dirname, 'golden/v1');
const read = (name: string) => JSON.parse(readFileSync(join(GOLDEN, name), 'utf8')) as Golden;
/** What either side knew on the first day. */
const FIRST_DAY = {
  uplink: ['hello', 'usage-batch', 'state-report', 'modem-report', 'live-report', 'ping'],
  downlink: ['welcome', 'usage-ack', 'usage-refused', 'desired-state', 'pong', 'move-away'],
};

/** Where `now` has not what `then` had: a field that is gone or of another type. */
function lost(then: unknown, now: unknown, path = ''): string[] {
  if (then === null || now === null) return [];
  if (Array.isArray(then))
    return Array.isArray(now) ? (now.length === 0 ? [] : lost(then[0], now[0], `${path}[]`)) : [path];
  if (typeof then === 'object')
    return typeof now !== 'object'
      ? [path]
      : Object.entries(then as object).flatMap(([key, value]) =>
          key in (now as object)
            ? lost(value, (now as Record<string, unknown>)[key], `${path}.${key}`)
            : [`${path}.${key}`],
        );
  return typeof then === typeof now ? [] : [path];
}

async function live(rig: AgentRig): Promise<void> {
  await rig.up();
  rig.slots = [
    {
      slot: 1,
      usbPath: '1-1',
      interface: 'wwan0',
      sourceAddress: '192.168.8.100',
      state: 'connected',
      reason: '',
      exitAddress: '100.64.0.1',
      imei: '860000000000001',
      model: 'E3372',
      firmware: '1',
      virtual: true,
    },
  ];
  rig.changed();
  rig.outcomes = [{ endpointId: 'e1', listening: false, problem: { code: 'x', message: 'y' } }];
  rig.cloud.push(rig.cloud.sign(rig.state(1)));
  // Nobody there would understand what came of it.
  rig.rotations.end(rotationRecord());
  await rig.spool.commit([delta({ imei: '860000000000001' })]);
}

test('says nothing that a cloud of the first day does not know, and everything it relies on', () =>
  withAgent(async rig => {
    rig.cloud.misbehave.firstDay = true;
    rig.cloud.misbehave.liveReportMs = 500;
    rig.figures = [{ slot: 1, upBytesPerSecond: 5, downBytesPerSecond: 6, openFlows: 7 }];
    const greeted = rig.cloud.connections;
    await live(rig);
    // A session that began with the old greeting from the start.
    [...rig.cloud.sessions][0]?.cut();
    await rig.until(() => rig.cloud.connections > greeted && rig.plane.status().link.phase === 'up');
    for (const kind of ['hello', 'state-report', 'modem-report', 'live-report'] as const) {
      const body = await rig.cloud.next(
        kind,
        sent => kind !== 'modem-report' || lostIn(kind, sent).length === 0,
      );
      assert.equal(lostIn(kind, body), [], kind);
    }
    assert.equal(await rig.plane.close(5_000), { flushed: true });
    assert.equal(totals(rig.cloud.ledger.records()), { up: 10, down: 100, flows: 1 });
    assert.equal(lostIn('usage-batch', await rig.cloud.next('usage-batch')), []);
    const unknown = rig.cloud.received.filter(({ kind }) => !FIRST_DAY.uplink.includes(kind));
    assert.equal(unknown, []);
  }));

const lostIn = (kind: string, body: unknown) => lost(read(`uplink-${kind}.json`).frame.body, body);

test('acts on each message of the first day as it was written then', () =>
  withAgent(async rig => {
    await rig.up();
    for (const name of readdirSync(GOLDEN).filter(file => file.startsWith('downlink-'))) {
      const { frame, optional } = read(name);
      if (optional || !FIRST_DAY.downlink.includes(frame.kind)) continue;
      if (frame.kind === 'welcome' || frame.kind === 'move-away') continue;
      [...rig.cloud.sessions][0]?.sendRaw(JSON.stringify(frame));
    }
    // Of another epoch and by another key: said no to, and lived on.
    await rig.said('an acknowledgement of another epoch');
    await rig.said('a refusal of another epoch');
    await rig.said('refused a desired state');
    assert.is(rig.plane.status().link.phase, 'up');
    const { connections } = rig.cloud;
    [...rig.cloud.sessions][0]?.sendRaw(
      JSON.stringify({ ...read('downlink-move-away.json').frame, body: { afterMs: 0 } }),
    );
    await rig.until(() => rig.cloud.connections > connections && rig.plane.status().link.phase === 'up');
  }));

test('the first day had these kinds, and each still has its golden message', () => {
  const names = readdirSync(GOLDEN);
  for (const direction of ['uplink', 'downlink'] as const)
    for (const kind of FIRST_DAY[direction]) {
      assert.ok(names.includes(`${direction}-${kind}.json`), `${direction}-${kind}`);
      assert.is(
        read(`${direction}-${kind}.json`).optional,
        undefined,
        'what came later is optional, in its own file',
      );
    }
});

test.run();
