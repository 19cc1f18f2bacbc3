import { generateKeyPairSync } from 'node:crypto';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { type AgentRig, withAgent } from './rig';

const test = suite('desired state');
const HOUR = 3_600_000;

async function serving(rig: AgentRig, revision: number): Promise<string> {
  await rig.up();
  const signed = rig.cloud.sign(rig.state(revision));
  rig.cloud.push(signed);
  const report = await rig.cloud.next('state-report', body => body.revision === revision);
  assert.is(report.outcome, 'applied');
  return signed.hash;
}

async function refusal(rig: AgentRig, signed: Parameters<AgentRig['cloud']['push']>[0]): Promise<string> {
  rig.cloud.push(signed);
  const report = await rig.cloud.next('state-report');
  assert.is(report.outcome, 'refused');
  return report.problems[0]?.code ?? '';
}

test('applies a signed state, keeps it, and reports the revision and hash that run', () =>
  withAgent(async rig => {
    await rig.up();
    const signed = rig.cloud.sign(rig.state(3, { later: { unknown: true } }));
    rig.cloud.push(signed);
    const report = await rig.cloud.next('state-report');
    assert.equal(report, {
      revision: 3,
      outcome: 'applied',
      problems: [],
      running: { revision: 3, hash: signed.hash },
    });
    assert.is(rig.applied.at(-1)?.revision, 3);
    assert.is((await rig.store.signedState())?.payload, signed.payload);
  }));

test('names each listener that could not be served', () =>
  withAgent(async rig => {
    rig.outcomes = [
      { endpointId: 'e1', listening: false, problem: { code: 'listener/port-taken', message: 'port 1080' } },
    ];
    await rig.up();
    rig.cloud.push(rig.cloud.sign(rig.state(1)));
    const report = await rig.cloud.next('state-report');
    assert.is(report.outcome, 'applied');
    assert.equal(report.problems, [{ code: 'listener/port-taken', message: 'port 1080', endpointId: 'e1' }]);
  }));

test('believes nothing that is not signed for this node with a pinned key', () =>
  withAgent(async rig => {
    await serving(rig, 5);
    const applied = rig.applied.length;
    const { cloud } = rig;
    const good = cloud.sign(rig.state(6));
    const strange = generateKeyPairSync('ed25519').privateKey;
    const other = cloud.sign(rig.state(7));
    assert.is(await refusal(rig, cloud.sign(rig.state(6), strange)), 'state/bad-signature');
    assert.is(await refusal(rig, { ...good, keyId: 'other' }), 'state/unknown-key');
    assert.is(await refusal(rig, { ...good, payload: `${good.payload} ` }), 'state/bad-signature');
    assert.is(await refusal(rig, { ...good, payload: other.payload }), 'state/bad-signature');
    assert.is(await refusal(rig, { ...good, signature: 'AAAA' }), 'state/bad-signature');
    assert.is(await refusal(rig, { ...good, hash: '0'.repeat(64) }), 'state/bad-hash');
    assert.is(await refusal(rig, { ...good, revision: 9 }), 'state/bad-revision');
    assert.is(await refusal(rig, cloud.sign({ ...rig.state(6), nodeId: 'other' })), 'state/other-node');
    assert.is(await refusal(rig, cloud.sign(rig.state(4))), 'state/old');
    assert.is(await refusal(rig, cloud.sign(rig.state(5, { issuedAt: 99 }))), 'state/revision-reused');
    assert.is(await refusal(rig, cloud.sign({ ...rig.state(6), leaseSeconds: 1 })), 'state/invalid');
    assert.is(rig.applied.length, applied);
    assert.is(rig.plane.status().running.revision, 5);
  }));

test('takes the same state again without applying it again', () =>
  withAgent(async rig => {
    await serving(rig, 2);
    rig.cloud.push(rig.cloud.sign(rig.state(2)));
    const report = await rig.cloud.next('state-report');
    assert.is(report.outcome, 'applied');
    assert.is(rig.applied.length, 1);
  }));

test('goes back to the last good state when a new one cannot be applied', () =>
  withAgent(async rig => {
    const hash = await serving(rig, 1);
    const error = Object.assign(new Error('no memory'), { code: 'listener/no-memory' });
    rig.applyFault = { revision: 2, error };
    rig.cloud.push(rig.cloud.sign(rig.state(2)));
    const report = await rig.cloud.next('state-report', body => body.revision === 2);
    assert.is(report.outcome, 'failed');
    assert.is(report.problems[0]?.code, 'listener/no-memory');
    assert.equal(report.running, { revision: 1, hash });
    assert.is(rig.applied.at(-1)?.revision, 1);
    assert.is((await rig.store.signedState())?.revision, 1);
  }));

test('serves from disk when it starts without a cloud', () =>
  withAgent(async rig => {
    const hash = await serving(rig, 4);
    await rig.shutDown();
    await rig.cloud.stop();
    rig.applied.length = 0;
    await rig.boot();
    assert.is(rig.applied[0]?.revision, 4);
    assert.equal(rig.plane.status().running, { revision: 4, hash });
    await rig.cloud.listen();
    await rig.up();
    const hello = await rig.cloud.next('hello', body => body.running.revision === 4);
    assert.is(hello.running.hash, hash);
  }));

test('serves nothing from a stored state that was tampered with', () =>
  withAgent(async rig => {
    await serving(rig, 1);
    await rig.shutDown();
    const stored = await rig.store.signedState();
    await rig.store.saveSignedState({ ...stored!, payload: stored!.payload.replace('3600', '9600') });
    rig.applied.length = 0;
    await rig.boot();
    assert.equal(rig.applied, []);
    assert.ok(rig.lines.some(line => line.level === 'error' && line.code === 'state/bad-signature'));
    await serving(rig, 2);
  }));

test('stops serving when the lease has run out, says so, and serves again when the cloud is back', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      await serving(rig, 1);
      await rig.cloud.stop();
      await rig.said('the link is down');
      await clock.advance(HOUR - 10_000);
      assert.is(rig.plane.status().lease.lapsed, false);
      await clock.advance(20_000);
      await rig.until(() => rig.applied.at(-1) === null);
      assert.equal(rig.plane.status().lease, { lapsed: true, remainingMs: 0 });
      assert.is(rig.plane.status().running.revision, 0);
      assert.ok(rig.lines.some(line => line.code === 'lease/run-out'));
      await rig.cloud.listen();
      while (rig.plane.status().link.phase !== 'up') await clock.advance(500);
      await rig.until(() => rig.applied.at(-1)?.revision === 1);
      assert.is(rig.plane.status().lease.lapsed, false);
    },
    { clock },
  );
});

test('a wall clock set back or forth changes nothing of the lease', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      await serving(rig, 1);
      await rig.cloud.stop();
      await rig.said('the link is down');
      clock.jumpTo(clock.now() + 1_000 * HOUR);
      await clock.advance(HOUR / 2);
      assert.is(rig.plane.status().lease.lapsed, false);
      clock.jumpTo(0);
      await clock.advance(HOUR / 2 + 10_000);
      assert.is(rig.plane.status().lease.lapsed, true);
    },
    { clock },
  );
});

test('a restart of the agent does not give it a new lease', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      await serving(rig, 1);
      await rig.cloud.stop();
      await rig.said('the link is down');
      await clock.advance(HOUR - 60_000);
      await rig.shutDown();
      await rig.boot();
      const { remainingMs } = rig.plane.status().lease;
      assert.ok(remainingMs <= 60_000, `${remainingMs} ms left`);
      await clock.advance(61_000);
      await rig.until(() => rig.applied.at(-1) === null);
      await rig.shutDown();
      rig.applied.length = 0;
      await rig.boot();
      assert.equal(rig.applied, [], 'serves nothing after the lease ran out before');
    },
    { clock },
  );
});

test.run();
