import { cloudTime } from '@mastline/agent/control-plane/cloud-time';
import { usedSince } from '@mastline/agent/control-plane/lease';
import {
  type LinkEnd,
  LONGEST_RETRY_AFTER_MS,
  nextDial,
  retryAfterOf,
} from '@mastline/agent/control-plane/link-policy';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { REFUSAL } from '@mastline/shared/wire/enrolment';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';

const test = suite('link policy, lease and corrected clock');

const next = (end: LinkEnd, random = 0) =>
  nextDial(end, { backoffMs: () => 777, longestMs: 60_000, random: () => random });
const closed = (code: number) => next({ why: 'closed', code, detail: '' });

test('waits as each end asks for', () => {
  assert.is((closed(1006) as { afterMs: number }).afterMs, 777);
  assert.is((closed(CLOSE.protocol) as { afterMs: number }).afterMs, 777);
  assert.is((closed(CLOSE.replaced) as { afterMs: number }).afterMs, 30_000);
  assert.is((closed(CLOSE.version) as { afterMs: number }).afterMs, 30_000);
  assert.is((closed(CLOSE.moveAway) as { afterMs: number }).afterMs, 0);
  assert.is(closed(CLOSE.retired).is, 'stop');
  assert.equal(next({ why: 'moving', afterMs: 4_000 }, 0.5), {
    is: 'dial',
    afterMs: 4_500,
    problem: undefined,
  });
  const refused = (status: number, code: string) => next({ why: 'refused', status, code, detail: 'd' });
  assert.is(refused(403, REFUSAL.nodeRetired).is, 'stop');
  assert.is(refused(410, 'other').is, 'stop');
  assert.is((refused(404, REFUSAL.nodeUnknown) as { afterMs: number }).afterMs, 30_000);
  assert.is((refused(503, 'cloud/busy') as { afterMs: number }).afterMs, 777);
});

test('comes back when the cloud says, within bounds, and jittered within the second', () => {
  const busy = (retryAfter: string | undefined, random: number) =>
    (
      next(
        {
          why: 'refused',
          status: 503,
          code: 'link/busy',
          detail: 'd',
          retryAfterMs: retryAfterOf(retryAfter),
        },
        random,
      ) as { afterMs: number }
    ).afterMs;
  assert.is(busy('25', 0), 25_000);
  assert.is(busy('25', 0.5), 25_500);
  assert.is(busy('0', 0), 1_000, 'never at once');
  assert.is(busy('999999999', 0), LONGEST_RETRY_AFTER_MS);
  for (const nonsense of [undefined, '', '-5', '1e9', '12.5', 'soon', 'Wed, 21 Oct 2026 07:28:00 GMT'])
    assert.is(busy(nonsense, 0), 777, String(nonsense));
});

test('counts a lease by the monotonic clock within a boot and by the wall clock across boots', () => {
  const note = { bootId: 'a', contactUptimeMs: 1_000, contactAt: 50_000, usedMs: 500 };
  const boot = (id: string, uptime: number) => ({ id, uptimeMs: () => uptime });
  assert.is(usedSince(note, boot('a', 4_000), 0), 3_000);
  assert.is(usedSince(note, boot('b', 10), 57_000), 7_000);
  assert.is(usedSince(note, boot('b', 10), 1_000), 500, 'a wall clock set back gives nothing back');
});

test('goes on from the time the cloud said, whatever the wall clock does', async () => {
  const clock = fakeClock(0);
  const time = cloudTime(clock);
  assert.is(time.now(), clock.now());
  time.correct(1_000_000, 200);
  assert.is(time.now(), 1_000_100);
  await clock.advance(5_000);
  clock.jumpTo(77);
  assert.is(time.now(), 1_005_100);
  time.correct(9_000_000, 60_000);
  assert.is(time.now(), 1_005_100, 'a slow answer is no clock');
});

test.run();
