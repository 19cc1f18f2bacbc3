import { CLOSE } from '@mastline/shared/wire/close-codes';
import { encodeDownlink } from '@mastline/shared/wire/codec';
import { REFUSAL } from '@mastline/shared/wire/enrolment';
import { MAX_FRAME_BYTES, PING_INTERVAL_MS, SILENCE_LIMIT_MS } from '@mastline/shared/wire/limits';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { delta, totals } from '../spool/open-spool';
import { type AgentRig, withAgent } from './rig';

const test = suite('link');

/** Up, disturbed, and up again with a new connection. */
async function comesBackAfter(rig: AgentRig, disturb: () => void): Promise<void> {
  await rig.up();
  const { connections } = rig.cloud;
  disturb();
  await rig.until(() => rig.cloud.connections > connections && rig.plane.status().link.phase === 'up');
}

const only = (rig: AgentRig) => [...rig.cloud.sessions][0]!;

test('greets with what it is, what its spool holds and what it runs', () =>
  withAgent(async rig => {
    const hello = await rig.cloud.next('hello');
    const { epoch } = await rig.spool.position();
    assert.is(hello.epoch, epoch);
    assert.is(hello.lastSequence, 0);
    assert.is(hello.agentVersion, '0.1.0');
    assert.equal(hello.running, { revision: 0, hash: null });
    await rig.up();
  }));

test('brings usage to the ledger and prunes it', () =>
  withAgent(async rig => {
    await rig.up();
    await rig.spool.commit([delta(), delta({ slot: 2 })]);
    await rig.cloud.next('usage-batch');
    await rig.plane.close(5_000);
    assert.equal(totals(rig.cloud.ledger.records()), { up: 20, down: 200, flows: 2 });
    assert.is((await rig.spool.position()).acknowledged, 2);
  }));

test('sends what is left when it closes, and says whether it could', () =>
  withAgent(async rig => {
    await rig.up();
    await rig.spool.commit([delta()]);
    assert.equal(await rig.plane.close(5_000), { flushed: true });
    assert.is(rig.cloud.ledger.records().length, 1);
  }));

test('closes within its deadline when the cloud takes nothing, and keeps the usage', () =>
  withAgent(async rig => {
    rig.cloud.misbehave.nextFault = () => 'lose';
    await rig.up();
    await rig.spool.commit([delta()]);
    assert.equal(await rig.plane.close(200), { flushed: false });
    assert.is((await rig.spool.recordsAfter(0, 10)).length, 1);
  }));

test('dials again after the connection broke', () =>
  withAgent(rig => comesBackAfter(rig, () => only(rig).cut())));

test('dials again after the cloud asked it to move', () =>
  withAgent(rig => comesBackAfter(rig, () => only(rig).send('move-away', { afterMs: 10 }))));

test('dials again after a move-away close', () =>
  withAgent(rig => comesBackAfter(rig, () => only(rig).close(CLOSE.moveAway))));

test('dials again after the cloud was restarted', () =>
  withAgent(async rig => {
    await rig.up();
    await rig.cloud.next('hello');
    await rig.cloud.stop();
    await rig.said('the link is down');
    await rig.until(() => /cannot reach/.test(rig.plane.status().link.problem ?? ''));
    await rig.cloud.listen();
    await rig.cloud.next('hello');
  }));

test('ends a session that speaks out of turn or out of schema, and dials again', () =>
  withAgent(async rig => {
    for (const frame of [
      '{"v":1,"kind":"usage-ack","body":{"epoch":"x","mark":-1}}',
      'not json',
      Buffer.from([1, 2, 3]),
      encodeDownlink('welcome', { now: 1, mark: 0, liveReportMs: 0 }),
    ]) {
      const from = rig.lines.length;
      await comesBackAfter(rig, () => only(rig).sendRaw(frame));
      const down = rig.lines.slice(from).find(line => line.msg === 'the link is down');
      assert.is(down?.code, CLOSE.protocol);
    }
  }));

test('ends a session that sends a frame over the limit', () =>
  withAgent(rig => comesBackAfter(rig, () => only(rig).sendRaw('x'.repeat(MAX_FRAME_BYTES + 1)))));

test('lives with kinds and fields it has never heard of', () =>
  withAgent(async rig => {
    await rig.up();
    only(rig).sendRaw('{"v":2,"kind":"weather","body":{"sun":true},"extra":1}');
    await rig.said('a message of an unknown kind');
    assert.is(rig.plane.status().link.phase, 'up');
  }));

test('does not fight over the node when another session replaced it', () =>
  withAgent(async rig => {
    await rig.up();
    only(rig).close(CLOSE.replaced);
    await rig.said('the link is down');
    const line = rig.lines.find(({ msg }) => msg === 'the link is down');
    assert.ok(Number(line?.againAfterMs) >= 30_000, `waits ${line?.againAfterMs} ms`);
    assert.match(rig.plane.status().link.problem ?? '', /second box/);
  }));

test('stops dialling when it was retired, by close code or by refusal', async () => {
  await withAgent(async rig => {
    await rig.up();
    only(rig).close(CLOSE.retired);
    await rig.said('the link stays down until a person acts');
    assert.is(rig.plane.status().link.phase, 'stopped');
  });
  await withAgent(async rig => {
    await rig.up();
    rig.cloud.misbehave.refuseChallenge = { status: 410, code: REFUSAL.nodeRetired };
    only(rig).cut();
    await rig.said('the link stays down until a person acts');
  });
});

test('comes back when a busy cloud says, not when its own back-off does', () =>
  withAgent(async rig => {
    await rig.up();
    rig.cloud.misbehave.refuseChallenge = { status: 503, code: 'link/busy', retryAfter: 40 };
    only(rig).cut();
    const waits = () =>
      rig.lines.filter(({ msg }) => msg === 'the link is down').map(line => Number(line.againAfterMs));
    await rig.until(() => waits().length >= 2);
    const [, told] = waits();
    assert.ok(told !== undefined && told >= 40_000 && told <= 41_000, `waits ${told} ms`);
  }));

test('takes no hotel page for a cloud', () =>
  withAgent(async rig => {
    await rig.up();
    rig.cloud.misbehave.captivePortal = true;
    only(rig).cut();
    await rig.until(() => /did not answer as a Mastline cloud/.test(rig.plane.status().link.problem ?? ''));
    rig.cloud.misbehave.captivePortal = false;
    await rig.up();
  }));

test('gives up a cloud that never answers the challenge or the hello, and tries again', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      await rig.up();
      rig.cloud.misbehave.ignoreHello = true;
      await rig.cloud.next('hello');
      only(rig).cut();
      await rig.said('the link is down');
      await clock.advance(1_000);
      await rig.cloud.next('hello');
      const from = rig.lines.length;
      await clock.advance(20_000);
      await rig.said('the link is down', from);
      assert.match(rig.plane.status().link.problem ?? '', /no welcome within/);
      rig.cloud.misbehave.ignoreHello = false;
      rig.cloud.misbehave.hangChallenge = true;
      const challenges = rig.cloud.challenges;
      await clock.advance(1_000);
      const before = rig.lines.length;
      while (rig.cloud.challenges === challenges) await new Promise(resolve => setImmediate(resolve));
      await clock.advance(20_000);
      await rig.said('the link is down', before);
      rig.cloud.misbehave.hangChallenge = false;
      await clock.advance(4_000);
      await rig.up();
    },
    { clock },
  );
});

test('pings, corrects its clock by the answer, and gives a silent cloud up', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      await rig.up();
      await clock.advance(PING_INTERVAL_MS);
      await rig.cloud.next('ping');
      assert.ok(Math.abs((rig.plane.status().clockOffsetMs ?? 0) - (Date.now() - clock.now())) < 10_000);
      rig.cloud.misbehave.ignorePings = true;
      await clock.advance(PING_INTERVAL_MS);
      await rig.cloud.next('ping');
      const from = rig.lines.length;
      await clock.advance(SILENCE_LIMIT_MS);
      await rig.said('the link is down', from);
      assert.is(rig.lines.slice(from).find(({ msg }) => msg === 'the link is down')?.code, CLOSE.silent);
    },
    { clock },
  );
});

test('tells the slots at once, on change, and live figures as often as asked', () =>
  withAgent(async rig => {
    rig.cloud.misbehave.liveReportMs = 500;
    rig.figures = [{ slot: 1, upBytesPerSecond: 5, downBytesPerSecond: 6, openFlows: 7 }];
    await rig.up();
    assert.equal((await rig.cloud.next('modem-report')).slots, []);
    rig.slots = [slot('connected')];
    rig.changed();
    assert.equal((await rig.cloud.next('modem-report')).slots, rig.slots);
    assert.equal((await rig.cloud.next('live-report')).slots, rig.figures);
  }));

test('does not send a report that would make the cloud close the link', () =>
  withAgent(async rig => {
    rig.slots = [{ ...slot('failed'), reason: 'x'.repeat(301) }];
    await rig.up();
    await rig.said('a report of ours does not fit the protocol and is not sent');
    assert.is(rig.plane.status().link.phase, 'up');
  }));

function slot(state: 'connected' | 'failed') {
  return {
    slot: 1,
    usbPath: '1-1',
    interface: 'wwan0',
    sourceAddress: '192.168.8.100',
    state,
    reason: '',
    exitAddress: '100.64.0.1',
    imei: '860000000000001',
    model: 'E3372',
    firmware: null,
    virtual: true,
  };
}

test.run();
