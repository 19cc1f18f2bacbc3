/** Rotations over the link, against the fake cloud: requests are answered, and what ended is told until it is noted. */
import { uuidv7 } from '@mastline/shared/domain/uuid';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { type AgentRig, rotationRecord, withAgent } from './rig';

const test = suite('rotations over the link');

const say = (rig: AgentRig, id: string, slot = 1) =>
  [...rig.cloud.sessions][0]?.send('rotate', { id, slot, askedFor: 'link', deadlineMs: 60_000 });
const next = async (rig: AgentRig) => (await rig.cloud.next('rotation-report')).rotations;
const note = (rig: AgentRig, ids: string[]) => [...rig.cloud.sessions][0]?.send('rotations-noted', { ids });

test('says in its hello what it takes, and answers a request with what came of it, once', () =>
  withAgent(async rig => {
    await rig.up();
    assert.equal([...rig.cloud.sessions][0]?.hello?.takes, ['rotate', 'rotations-noted']);
    const record = rotationRecord({ askedFor: 'link' });
    say(rig, record.id);
    // The same again while it runs changes nothing.
    say(rig, record.id);
    await rig.until(() => rig.rotations.asked.length > 0);
    assert.equal(rig.rotations.asked[0], {
      slot: 1,
      request: { id: record.id, askedFor: 'link', deadlineMs: 60_000 },
    });
    rig.rotations.end(record);
    assert.equal(await next(rig), [record]);
    note(rig, [record.id]);
    await rig.until(() => rig.rotations.kept.length === 0);
    assert.is(rig.rotations.asked.length, 1);
    assert.equal(
      rig.cloud.received.filter(one => one.kind === 'rotation-report'),
      [],
    );
  }));

test('a request that may not be now is answered so, and not kept', () =>
  withAgent(async rig => {
    await rig.up();
    const refused = rotationRecord({
      outcome: 'unavailable',
      reason: 'try again in 9 s',
      retryAfterMs: 9000,
    });
    say(rig, refused.id);
    await rig.until(() => rig.rotations.asked.length > 0);
    rig.rotations.end(refused);
    assert.equal(await next(rig), [refused]);
    assert.equal(rig.rotations.kept, []);
  }));

test('what ended while there was no link, and what was not noted, is told by the next session', () =>
  withAgent(async rig => {
    const before = rotationRecord();
    rig.rotations.end(before);
    await rig.up();
    assert.equal(await next(rig), [before]);
    const second = rotationRecord({ slot: 2 });
    rig.rotations.end(second);
    assert.equal(await next(rig), [second]);
    note(rig, [second.id]);
    await rig.until(() => rig.rotations.kept.length === 1);
    [...rig.cloud.sessions][0]?.cut();
    assert.equal(await next(rig), [before]);
  }));

test('a request that the cloud made before is answered from the book', () =>
  withAgent(async rig => {
    await rig.up();
    const record = rotationRecord();
    rig.rotations.kept.push(record);
    say(rig, record.id);
    assert.equal(await next(rig), [record]);
  }));

test('a cloud that asks for everything at once is not obeyed without end', () =>
  withAgent(async rig => {
    await rig.up();
    for (let i = 0; i < 100; i += 1) say(rig, uuidv7(), i);
    await rig.said('too many rotations asked for at once');
    assert.is(rig.rotations.asked.length, 64);
  }));

test('on a metered link only what the cloud asked for is told at once', async () => {
  const clock = fakeClock();
  await withAgent(
    async rig => {
      await rig.up();
      const own = [rotationRecord(), rotationRecord({ slot: 2 })];
      for (const one of own) rig.rotations.end(one);
      await clock.advance(10 * 60_000);
      assert.equal(
        rig.cloud.received.filter(one => one.kind === 'rotation-report'),
        [],
      );
      await clock.advance(5 * 60_000);
      assert.equal(await next(rig), own);
      const asked = rotationRecord();
      say(rig, asked.id);
      await rig.until(() => rig.rotations.asked.length > 0);
      rig.rotations.end(asked);
      assert.equal(await next(rig), [asked]);
    },
    { clock, metered: true },
  );
});

test.run();
