/** Rotations by schedule: when they are due, and that they keep apart, wait for their cool-down and survive clock changes. */
import { nextRotationAt } from '@mastline/agent/modem-plane/rotation-schedule';
import { RotationScheduler } from '@mastline/agent/modem-plane/rotation-scheduler';
import { quietLog } from '@mastline/agent/observe/log';
import { type RotationRecord, RotationSchedule } from '@mastline/shared/domain/rotation';
import * as assert from 'uvu/assert';
import { type FakeClock, fakeClock } from '../../../support/clock';
import { suite } from '../../../support/suite';

const test = suite('rotation by schedule');
const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const at = (text: string) => Date.parse(text);
const next = (schedule: RotationSchedule, nowText: string, last = 0, random = 0) =>
  new Date(
    nextRotationAt(schedule, { nowMs: at(nowText), lastMs: last, random: () => random }),
  ).toISOString();

test('every so many minutes after the last one, whoever asked for it', () => {
  const schedule = { everyMinutes: 30 };
  assert.is(next(schedule, '2026-11-23T10:00:00Z', at('2026-11-23T09:50:00Z')), '2026-11-23T10:20:00.000Z');
  assert.is(next(schedule, '2026-11-23T10:00:00Z', at('2026-11-20T00:00:00Z')), '2026-11-23T10:00:00.000Z');
  const spread = { everyMinutes: 30, jitterMinutes: 10 };
  assert.is(
    next(spread, '2026-11-23T10:00:00Z', at('2026-11-23T10:00:00Z'), 0.5),
    '2026-11-23T10:35:00.000Z',
  );
});

test('at times of the day, in UTC or a time zone, through changes of its clock', () => {
  const schedule = { at: ['04:00', '16:30'] };
  assert.is(next(schedule, '2026-11-23T03:59:00Z'), '2026-11-23T04:00:00.000Z');
  assert.is(next(schedule, '2026-11-23T04:00:00Z'), '2026-11-23T16:30:00.000Z');
  assert.is(next(schedule, '2026-11-23T17:00:00Z'), '2026-11-24T04:00:00.000Z');
  const berlin = { at: ['03:30'], timeZone: 'Europe/Berlin' };
  assert.is(next(berlin, '2026-07-01T00:00:00Z'), '2026-07-01T01:30:00.000Z');
  assert.is(next(berlin, '2026-12-01T00:00:00Z'), '2026-12-01T02:30:00.000Z');
  // The night on which summer time ends: 03:30 comes once, an hour later by UTC than the night before.
  assert.is(next(berlin, '2026-10-24T12:00:00Z'), '2026-10-25T02:30:00.000Z');
  const pacific = { at: ['00:10'], timeZone: 'Pacific/Auckland' };
  assert.is(next(pacific, '2026-11-23T11:00:00Z'), '2026-11-23T11:10:00.000Z');
});

test('a schedule says what is wrong with it', () => {
  const wrong = (value: object) =>
    RotationSchedule.safeParse(value)
      .error?.issues.map(one => one.message)
      .join();
  assert.match(wrong({}) ?? '', /either "everyMinutes" or "at"/);
  assert.match(wrong({ everyMinutes: 5, at: ['04:00'] }) ?? '', /either/);
  assert.match(wrong({ at: ['4:00'] }) ?? '', /time of day such as/);
  assert.match(wrong({ at: ['04:00'], timeZone: 'Mars/Olympus' }) ?? '', /time zone such as/);
  assert.is(wrong({ at: ['04:00'], timeZone: 'America/New_York', jitterMinutes: 5 }), undefined);
});

interface Rig {
  clock: FakeClock;
  scheduler: RotationScheduler;
  /** Slot and minute since the start, of each rotation that began. */
  begun: [slot: number, minute: number][];
  answers: Partial<RotationRecord>[];
  mostAtOnce: () => number;
}

function rig(tookMs = 10_000): Rig {
  const clock = fakeClock(at('2026-11-23T10:00:00Z'));
  const begun: Rig['begun'] = [];
  const answers: Rig['answers'] = [];
  const ends = new Map<number, number>();
  let running = 0;
  let most = 0;
  const scheduler: RotationScheduler = new RotationScheduler({
    clock,
    now: clock.now,
    random: () => 0,
    log: quietLog,
    lastEnd: slot => ends.get(slot) ?? null,
    rotate: async slot => {
      begun.push([slot, Math.round(clock.monotonicMs() / MINUTE)]);
      running += 1;
      most = Math.max(most, running);
      await new Promise<void>(resolve => clock.after(tookMs, () => resolve()));
      running -= 1;
      const answer = { outcome: 'rotated', retryAfterMs: null, ...answers.shift() } as RotationRecord;
      if (answer.outcome !== 'unavailable') ends.set(slot, clock.now());
      return answer;
    },
  });
  return { clock, scheduler, begun, answers, mostAtOnce: () => most };
}

test('two slots that are due together go one after the other, again and again', async () => {
  const { clock, scheduler, begun, mostAtOnce } = rig(2 * MINUTE);
  scheduler.set(new Map([1, 2].map(slot => [slot, { everyMinutes: 20 }])));
  await clock.advance(50 * MINUTE);
  assert.equal(begun, [
    [1, 20],
    [2, 22],
    [1, 42],
    [2, 44],
  ]);
  assert.is(mostAtOnce(), 1);
  await scheduler.close();
  assert.is(clock.pending(), 0);
});

test('waits for the cool-down, and for a modem that is away', async () => {
  const { clock, scheduler, begun, answers } = rig(0);
  answers.push({ outcome: 'unavailable', retryAfterMs: 3 * MINUTE }, { outcome: 'unavailable' });
  scheduler.set(new Map([[1, { everyMinutes: 10 }]]));
  await clock.advance(25 * MINUTE);
  assert.equal(begun, [
    [1, 10],
    [1, 13],
    [1, 14],
    [1, 24],
  ]);
  await scheduler.close();
});

test('a rotation that somebody else asked for moves the next one; the same schedule again moves nothing', async () => {
  const { clock, scheduler, begun } = rig(0);
  const schedule = new Map([[1, { everyMinutes: 10 }]]);
  scheduler.set(schedule);
  await clock.advance(5 * MINUTE);
  scheduler.set(new Map(schedule));
  await clock.advance(5 * MINUTE);
  assert.is(begun.length, 1);
  assert.is(scheduler.due(1), clock.now() + 10 * MINUTE);
  scheduler.set(new Map());
  assert.is(scheduler.due(1), null);
  await clock.advance(60 * MINUTE);
  assert.is(begun.length, 1);
  await scheduler.close();
});

test('a wall clock that is set finds the time of day all the same', async () => {
  const { clock, scheduler, begun } = rig(0);
  scheduler.set(new Map([[1, { at: ['18:00'] }]]));
  await clock.advance(10 * MINUTE);
  clock.jumpTo(at('2026-11-23T17:58:00Z'));
  await clock.advance(6 * MINUTE);
  assert.equal(begun.length, 1);
  assert.is(scheduler.due(1), at('2026-11-24T18:00:00Z'));
  await clock.advance(2 * HOUR);
  assert.is(begun.length, 1);
  await scheduler.close();
});

test('begins no more once it closes', async () => {
  const { clock, scheduler, begun } = rig(MINUTE);
  scheduler.set(new Map([1, 2].map(slot => [slot, { everyMinutes: 5 }])));
  await clock.advance(5 * MINUTE);
  const closed = scheduler.close();
  await clock.advance(10 * MINUTE);
  await closed;
  assert.equal(begun, [[1, 5]]);
});

test.run();
