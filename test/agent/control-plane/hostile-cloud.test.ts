import { once } from 'node:events';
import { STRAIGHT } from '@mastline/agent/control-plane/cloud-route';
import type { LinkEnd } from '@mastline/agent/control-plane/link-policy';
import { OpenSession } from '@mastline/agent/control-plane/link-session';
import { quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import {
  MAX_BATCH_RECORDS,
  MAX_FRAGMENTS,
  MAX_FRAME_BYTES,
  MAX_QUEUED_BYTES,
  PING_INTERVAL_MS,
  SILENCE_LIMIT_MS,
} from '@mastline/shared/wire/limits';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { MINUTE } from '../spool/open-spool';
import { type AgentRig, withAgent } from './rig';

const test = suite('hostile and slow clouds');
const MIB = 1024 * 1024;

/** A server's frame (RFC 6455 section 5.2), unmasked, as no honest library would write it. */
function frame(opcode: number, payload: Buffer, { fin = true, announced = payload.length } = {}): Buffer {
  const head =
    announced < 126
      ? Buffer.from([0, announced])
      : announced < 65_536
        ? Buffer.from([0, 126, announced >> 8, announced & 0xff])
        : Buffer.from([0, 127, 0, 0, 0, 0, ...u32(announced)]);
  head.writeUInt8((fin ? 0x80 : 0) | opcode, 0);
  return Buffer.concat([head, payload]);
}
const u32 = (n: number) => [(n >>> 24) & 0xff, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff];

const only = (rig: AgentRig) => {
  const [session] = rig.cloud.sessions;
  if (!session) throw new Error('no session');
  return session;
};

/** Writes `chunk` so many times as fast as the other side takes it. */
async function pour(rig: AgentRig, chunk: Buffer, times: number): Promise<void> {
  const { raw } = only(rig);
  const onError = () => undefined;
  raw.on('error', onError);
  for (let nth = 0; nth < times && !raw.destroyed; nth += 1)
    if (!raw.write(chunk)) await Promise.race([once(raw, 'drain'), once(raw, 'close')]).catch(onError);
}

/** The highest RSS above where it began, while `work` runs. */
async function growth(work: () => Promise<void>): Promise<number> {
  const before = process.memoryUsage.rss();
  let peak = before;
  const look = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage.rss());
  }, 5);
  try {
    await work();
  } finally {
    clearInterval(look);
  }
  return Math.max(peak, process.memoryUsage.rss()) - before;
}

test('a cloud that reads nothing holds a bounded queue on our side, however much there is to say', () =>
  withAgent(async rig => {
    await rig.up();
    await rig.plane.close(1_000);
    const ended: LinkEnd[] = [];
    let up = () => {};
    const isUp = new Promise<void>(resolve => {
      up = resolve;
    });
    const key = await rig.store.deviceKey();
    const { epoch, lastSequence } = await rig.spool.position();
    const session = new OpenSession({
      cloudUrl: rig.cloud.url,
      route: STRAIGHT,
      nodeId: rig.nodeId,
      sign: bytes => key.sign(bytes),
      hello: async () => ({
        agentVersion: '0.1.0',
        bootId: 'b',
        now: 0,
        epoch,
        lastSequence,
        running: { revision: 0, hash: null },
      }),
      onWelcome: up,
      onMessage: () => {},
      onHeard: () => {},
      onEnd: end => ended.push(end),
      clock: systemClock,
      log: quietLog,
      pingIntervalMs: PING_INTERVAL_MS,
      metered: false,
    });
    await isUp;
    only(rig).pause();
    const record = {
      sequence: 1,
      periodStart: MINUTE,
      endpointId: 'e'.repeat(36),
      credentialId: 'c'.repeat(36),
      slot: 1,
      imei: '860000000000001',
      upBytes: 2 ** 50,
      downBytes: 2 ** 50,
      flows: 1,
    };
    const records = Array.from({ length: MAX_BATCH_RECORDS }, () => record);
    const batchBytes = JSON.stringify(records).length;
    let sentBytes = 0;
    const grown = await growth(async () => {
      // Far more than sockets of a kernel take.
      for (let nth = 0; nth < 400; nth += 1) {
        if (session.send('usage-batch', { epoch, records }) === 'sent') sentBytes += batchBytes;
        await new Promise(resolve => setImmediate(resolve));
      }
    });
    assert.is(session.send('usage-batch', { epoch, records }), 'busy');
    assert.ok(sentBytes < MAX_QUEUED_BYTES + 24 * MIB, `${sentBytes} bytes taken`);
    assert.ok(grown < 96 * MIB, `grew by ${Math.round(grown / MIB)} MiB`);
    assert.equal(ended, []);
    only(rig).cut();
    await session.close();
  }));

test('a flood of states while one is being applied keeps the newest only', () =>
  withAgent(async rig => {
    await rig.up();
    let goOn = () => {};
    rig.applyGate = new Promise(resolve => {
      goOn = resolve;
    });
    const filler = 'x'.repeat(2 * MIB);
    rig.cloud.push(rig.cloud.sign(rig.state(1)));
    await rig.until(() => rig.applying);
    const grown = await growth(async () => {
      for (let revision = 2; revision <= 200; revision += 1) {
        const signed = rig.cloud.sign(rig.state(revision, { filler } as object));
        const { raw } = only(rig);
        only(rig).send('desired-state', signed);
        while (raw.writableLength > 4 * MIB) await once(raw, 'drain');
      }
    });
    goOn();
    await rig.until(() => rig.applied.at(-1)?.revision === 200);
    assert.equal(
      rig.applied.map(state => state?.revision),
      [1, 200],
    );
    // Both ends live in this process, and what was dropped waits for the collector: far below what came is the claim.
    assert.ok(grown < 300 * MIB, `grew by ${Math.round(grown / MIB)} MiB for 400 MiB of states`);
  }));

test('a flood of pings whose answers nobody reads ends the session instead of queueing answers', () =>
  withAgent(async rig => {
    await rig.up();
    only(rig).pause();
    const pings = Buffer.concat(Array.from({ length: 512 }, () => frame(0x9, Buffer.alloc(125, 1))));
    const grown = await growth(() => pour(rig, pings, 2_000));
    await rig.said('the link is down');
    assert.ok(grown < 64 * MIB, `grew by ${Math.round(grown / MIB)} MiB for 125 MiB of pings`);
  }));

test('a flood of kinds it does not know and of old acknowledgements costs nothing that stays', () =>
  withAgent(async rig => {
    await rig.up();
    const { epoch } = await rig.spool.position();
    const said = [
      '{"v":1,"kind":"weather","body":{"sun":true}}',
      JSON.stringify({ v: 1, kind: 'usage-ack', body: { epoch, mark: 0 } }),
      JSON.stringify({ v: 1, kind: 'pong', body: { at: 1, now: 1 } }),
    ].map(text => frame(0x1, Buffer.from(text)));
    const chunk = Buffer.concat(Array.from({ length: 100 }, () => Buffer.concat(said)));
    rig.lines.length = 0;
    const grown = await growth(async () => {
      for (let nth = 0; nth < 100; nth += 1) {
        await pour(rig, chunk, 1);
        // What the test itself keeps of the log is not the agent's memory.
        rig.lines.length = 0;
      }
    });
    assert.ok(grown < 64 * MIB, `grew by ${Math.round(grown / MIB)} MiB`);
    assert.is(rig.plane.status().link.phase, 'up');
  }));

/** The agent ends the session that was disturbed with `code`. */
async function endsWith(rig: AgentRig, code: number, disturb: () => Promise<void>): Promise<void> {
  await rig.up();
  const from = rig.lines.length;
  await disturb();
  await rig.said('the link is down', from);
  const line = rig.lines.slice(from).find(({ msg }) => msg === 'the link is down');
  assert.is(line?.code, code, JSON.stringify(line));
}

test('ends a session that splits a message into crumbs', () =>
  withAgent(rig =>
    endsWith(rig, 1006, async () => {
      const crumb = frame(0x0, Buffer.from('x'), { fin: false });
      await pour(rig, frame(0x1, Buffer.from('{'), { fin: false }), 1);
      await pour(rig, crumb, MAX_FRAGMENTS);
    }),
  ));

test('ends a session at the head of a frame over the limit, before a byte of it has come', () =>
  withAgent(rig =>
    endsWith(rig, 1006, () => pour(rig, frame(0x1, Buffer.alloc(0), { announced: MAX_FRAME_BYTES + 1 }), 1)),
  ));

test('ends a session that was to be compressed or masked', () =>
  withAgent(async rig => {
    await endsWith(rig, 1006, () => pour(rig, Buffer.from([0xc1, 0x01, 0x00]), 1));
    await rig.up();
    await endsWith(rig, 1006, () => pour(rig, Buffer.from([0x81, 0x81, 1, 2, 3, 4, 5]), 1));
  }));

test('takes dripping bytes of a frame that never ends for silence', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      rig.cloud.misbehave.ignorePings = true;
      await endsWith(rig, CLOSE.silent, async () => {
        const whole = frame(0x1, Buffer.alloc(70_000, 0x20));
        for (let at = 0; at < SILENCE_LIMIT_MS; at += 1_000) {
          await pour(rig, whole.subarray(at / 1_000, at / 1_000 + 1), 1);
          await clock.advance(1_000);
        }
      });
    },
    { clock },
  );
});

test('says no to a cloud two protocols away, seldom, and yes to one next door', async () => {
  for (const [version, phase] of [
    [2, 'up'],
    [3, 'waiting'],
  ] as const)
    await withAgent(async rig => {
      await rig.up();
      rig.cloud.misbehave.version = version;
      const from = rig.lines.length;
      only(rig).cut();
      await rig.said(version === 2 ? 'the link is up' : 'the link is down', from + 1);
      await rig.until(() => rig.plane.status().link.phase === phase);
      const line = rig.lines.findLast(({ msg }) => msg === 'the link is down');
      if (version === 3) {
        await rig.until(() => /too far apart/.test(rig.plane.status().link.problem ?? ''));
        const last = rig.lines.findLast(({ msg }) => msg === 'the link is down');
        assert.is(last?.code, CLOSE.version);
        assert.ok(Number(last?.againAfterMs) >= 30_000);
      } else assert.is(line?.code, 1006);
    });
});

test.run();
