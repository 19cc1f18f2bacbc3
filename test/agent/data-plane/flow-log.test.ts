/** What the data plane remembers of flows: each once, with what it carried; refusals and strangers together; bounded. */
import { execFile } from 'node:child_process';
import type { Socket } from 'node:net';
import { promisify } from 'node:util';
import {
  type EndedFlow,
  FlowLog,
  HAND_TICKS,
  MAX_FLOW_NOTES,
  MAX_REFUSAL_NOTES,
  MAX_SOURCE_NOTES,
} from '@mastline/agent/data-plane/flow-log';
import type { FlowNote, LaneNotes } from '@mastline/agent/ports';
import type { DestinationPolicy } from '@mastline/shared/domain/flow-summary';
import * as assert from 'uvu/assert';
import { agentBuilt } from '../../support/build-agent';
import { fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { ALICE, openTunnel, socks5, tcp } from './clients';
import { credential, memorySink, readAll, readExactly, startOrigin, startRig } from './rig';

const test = suite('flow log');
const run = promisify(execFile);

/** Whether it ends in a reset or not. */
const closed = (socket: Socket) => new Promise(resolve => socket.once('close', resolve).resume());

const flow = (over: Partial<EndedFlow> = {}): EndedFlow => ({
  endpointId: 'e1',
  credentialId: 'c1',
  slot: 1,
  imei: null,
  protocol: 'socks5',
  target: { host: 'example.org', port: 443 },
  address: '203.0.113.9',
  sourcePort: 40_000,
  tookMs: 5,
  upBytes: 1,
  downBytes: 2,
  ...over,
});

function log(policy?: DestinationPolicy) {
  let now = 0;
  const handed: LaneNotes[] = [];
  const flowLog = new FlowLog({
    hand: notes => void handed.push(notes),
    nowMs: () => now,
    policyOf: () => policy,
  });
  return {
    flowLog,
    handed,
    pass: (ms: number) => {
      now += ms;
    },
  };
}

test('says of a target what its customer allows, and no more leaves the thread', () => {
  for (const [policy, named] of [
    [undefined, { host: 'example.org', address: '203.0.113.9', port: 443 }],
    ['host-and-port', { host: 'example.org', address: '203.0.113.9', port: 443 }],
    ['host', { host: 'example.org' }],
    ['none', {}],
  ] as const) {
    const { flowLog, handed } = log(policy);
    flowLog.ended(flow(), 'ok');
    flowLog.flush();
    const { host, address, port } = (handed[0] as LaneNotes).flows[0] as FlowNote;
    assert.equal(JSON.parse(JSON.stringify({ host, address, port })), named, String(policy));
  }
});

test('hands over every few ticks, with how long ago each was', () => {
  const { flowLog, handed, pass } = log();
  flowLog.ended(flow(), 'ok');
  for (let tick = 0; tick < HAND_TICKS; tick += 1) {
    pass(1_000);
    flowLog.onTick();
  }
  for (let tick = 0; tick < 3 * HAND_TICKS; tick += 1) flowLog.onTick();
  assert.is(handed.length, 1, 'nothing new is no hand-over');
  assert.is(handed[0]?.flows[0]?.agoMs, HAND_TICKS * 1_000);
});

test('what has no room is counted', () => {
  const { flowLog, handed } = log();
  for (let flows = 0; flows < MAX_FLOW_NOTES + 1_000; flows += 1) flowLog.ended(flow(), 'ok');
  assert.not(flowLog.hasRoom);
  flowLog.flush();
  assert.is(handed[0]?.flows.length, MAX_FLOW_NOTES);
  assert.is(handed[0]?.dropped, 1_000);
  assert.ok(flowLog.hasRoom);
});

test('a flood of refusals is a few notes with counts, of whatever it is made', () => {
  const { flowLog, handed } = log();
  const refused = (at: number) => ({ endpointId: 'e1', credentialId: `c${at % 3}`, protocol: 'http' });
  for (let at = 0; at < 100_000; at += 1)
    flowLog.refused({ ...refused(at), target: { host: `${at}.example`, port: 80 } }, 'private-target');
  for (let at = 0; at < 100_000; at += 1) flowLog.stranger('flood', `203.0.${at % 256}.${at % 255}`);
  flowLog.flush();
  const { refusals, sources, dropped } = handed[0] as LaneNotes;
  assert.ok(refusals.length <= MAX_REFUSAL_NOTES && sources.length <= MAX_SOURCE_NOTES + 2);
  assert.is(refusals.reduce((sum, { times }) => sum + times, 0) + dropped, 100_000, 'each counts');
  assert.is(
    sources.reduce((sum, { times }) => sum + times, 0),
    100_000,
  );
  assert.ok(sources.some(({ source }) => source === null));
});

test('without anybody who takes it over nothing is remembered', () => {
  const flowLog = new FlowLog({ hand: undefined, nowMs: () => 0, policyOf: () => undefined });
  flowLog.ended(flow(), 'ok');
  flowLog.refused({ ...flow(), target: null }, 'no-modem');
  flowLog.stranger('flood', '203.0.113.1');
  flowLog.flush();
  assert.not(flowLog.hasRoom);
});

for (const threads of [1, 2])
  test(`each flow of each protocol is told once, with the bytes that are billed (${threads} threads)`, async () => {
    if (threads > 1) await agentBuilt();
    const notes: LaneNotes[] = [];
    const sink = memorySink();
    const origin = await startOrigin(socket => {
      socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello'));
    });
    const rig = await startRig({ sink, threads, note: taken => void notes.push(taken) });
    try {
      for (let at = 0; at < 4; at += 1) {
        const socket = await openTunnel(rig.port, origin.port);
        socket.end('GET / HTTP/1.1\r\n\r\n');
        await readAll(socket);
      }
      await run('curl', [
        ...['-s', '-x', `http://${ALICE.username}:${ALICE.secret}@127.0.0.1:${rig.port}`],
        `http://127.0.0.1:${origin.port}/`,
      ]);
    } finally {
      // What is left is handed over.
      await rig.plane.close(1_000);
      await origin.close();
    }
    await eventually(() => notes.flatMap(({ flows }) => flows).length === 5);
    const flows = notes.flatMap(taken => taken.flows);
    assert.equal(flows.map(({ protocol }) => protocol).sort(), [
      'http',
      'socks5',
      'socks5',
      'socks5',
      'socks5',
    ]);
    for (const one of flows) {
      assert.is(one.outcome, 'ok');
      assert.equal([one.host, one.port, one.address], ['127.0.0.1', origin.port, undefined]);
      assert.ok(one.sourcePort > 0 && one.tookMs >= 0 && one.slot === 1);
    }
    const sum = (field: 'upBytes' | 'downBytes') => flows.reduce((total, one) => total + one[field], 0);
    assert.equal({ up: sum('upBytes'), down: sum('downBytes'), flows: flows.length }, sink.total());
  });

test('a flow that is cut, one that the origin resets and those refused say so', async () => {
  const clock = fakeClock();
  const notes: LaneNotes[] = [];
  const origin = await startOrigin(socket => {
    socket.once('data', bytes => {
      if (String(bytes) === 'reset') socket.resetAndDestroy();
    });
  });
  const rig = await startRig({ clock, note: taken => void notes.push(taken) });
  try {
    const reset = await openTunnel(rig.port, origin.port);
    reset.write('reset');
    await closed(reset);
    const cut = await openTunnel(rig.port, origin.port);
    await rig.plane.apply({ ...rig.plan, credentials: [credential({ suspended: true })] });
    await closed(cut);
    assert.is((await socks5(rig.port, { host: '127.0.0.1', port: origin.port })).reply, 2);
    await rig.plane.apply(rig.plan);
    for (let tries = 0; tries < 3; tries += 1)
      assert.is.not((await socks5(rig.port, { host: '192.168.7.7', port: 80 })).reply, 0);
    const wrong = await tcp(rig.port);
    wrong.write(Buffer.from('0501020105616c696365057772 6f6e67'.replaceAll(' ', ''), 'hex'));
    await readExactly(wrong, 4);
    wrong.destroy();
  } finally {
    const closing = rig.close();
    await clock.advance(3_000);
    await closing;
    await origin.close();
  }
  const flows = notes.flatMap(taken => taken.flows);
  assert.equal(flows.map(({ outcome }) => outcome).sort(), ['cut', 'suspended']);
  const refusals = notes.flatMap(taken => taken.refusals);
  assert.equal(
    refusals.map(({ reason, times, host }) => [reason, times, host]),
    [
      ['suspended', 1, '127.0.0.1'],
      ['private-target', 3, '192.168.7.7'],
    ],
  );
  assert.equal(
    notes.flatMap(taken => taken.sources),
    [{ kind: 'login-refused', source: '127.0.0.1', times: 1 }],
  );
});

test.run();
