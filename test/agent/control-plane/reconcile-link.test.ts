/** Days of slots over the link: when they are told, again until noted, seldom on a metered link, to clouds that take them. */
import type { LinkSession, SendOutcome } from '@mastline/agent/control-plane/link-session';
import { ReconcileLink } from '@mastline/agent/control-plane/reconcile-link';
import { quietLog } from '@mastline/agent/observe/log';
import type { Reconciliation } from '@mastline/agent/ports';
import { DAY_MS, dayOf } from '@mastline/shared/domain/day';
import type { SlotDay } from '@mastline/shared/domain/reconciliation';
import { MAX_FRAME_BYTES, MAX_SLOT_DAYS } from '@mastline/shared/wire/limits';
import { type UplinkBody, uplink } from '@mastline/shared/wire/uplink';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';

const test = suite('days of slots over the link');
const NOON = Date.UTC(2026, 10, 23, 12);
const HOUR = 3_600_000;
const TAKES = ['reconcile-report'];

function slotDay(slot: number, day = dayOf(NOON)): SlotDay {
  const most = { up: Number.MAX_SAFE_INTEGER, down: Number.MAX_SAFE_INTEGER };
  return {
    ...{ day, slot, imei: '860000000000001', interface: 'enx0c5b8f279a64', driver: 'huawei_cdc_ncm' },
    ...{ relayed: most, committed: most, carried: most, packets: most, own: most, unseen: most },
    ...{ unattributed: most, crashes: 1, resets: 1 },
  };
}

function rig(metered: boolean, days: SlotDay[] = [slotDay(1)]) {
  const clock = fakeClock(NOON);
  const sent: { at: number; body: UplinkBody<'reconcile-report'> }[] = [];
  const noted: number[] = [];
  const asked: boolean[] = [];
  const reconciliation: Reconciliation = {
    report: async ({ finished }) => {
      asked.push(finished);
      return { oldestPending: null, days };
    },
    noted: told => void noted.push(told.days.length),
  };
  let outcome: SendOutcome = 'sent';
  const session: LinkSession = {
    send: (_kind, body) => {
      if (outcome === 'sent') sent.push({ at: clock.now(), body: body as UplinkBody<'reconcile-report'> });
      return outcome;
    },
    queuedBytes: () => 0,
    giveUp: () => undefined,
  };
  const link = new ReconcileLink({
    ...{ reconciliation, metered, clock, log: quietLog },
    now: () => clock.now(),
    random: () => 0.5,
  });
  const answer = (next: SendOutcome): void => {
    outcome = next;
  };
  return { clock, link, session, sent, noted, asked, answer };
}

test('tells soon after the link came up, every hour, and a few minutes after midnight UTC', async () => {
  const { clock, link, session, sent } = rig(false);
  link.begin(session, TAKES);
  await clock.advance(13 * HOUR);
  const minutes = sent.map(one => Math.round((one.at - NOON) / 60_000));
  assert.equal(minutes.slice(0, 3), [1, 61, 121]);
  assert.ok(
    minutes.some(at => at >= 720 && at <= 732),
    `told at the day's end: ${minutes}`,
  );
});

test('says nothing to a cloud that does not take it, and nothing when the session is over', async () => {
  const { clock, link, session, sent } = rig(false);
  link.begin(session, ['quota-report']);
  await clock.advance(5 * HOUR);
  link.begin(session, TAKES);
  link.end();
  await clock.advance(5 * HOUR);
  assert.equal(sent, []);
});

test('hands on what was noted, once, and forgets what another session told', async () => {
  const { clock, link, session, sent, noted } = rig(false);
  link.begin(session, TAKES);
  await clock.advance(60_000);
  const ask = sent[0]?.body.ask ?? -1;
  link.noted({ ask: ask + 1 });
  assert.equal(noted, []);
  link.noted({ ask });
  link.noted({ ask });
  assert.equal(noted, [1]);
  await clock.advance(HOUR);
  const second = sent[1]?.body.ask ?? -1;
  link.begin(session, TAKES);
  link.noted({ ask: second });
  assert.equal(noted, [1]);
});

test('on a metered link tells days that are over, twice a day at most, however often the link comes up', async () => {
  const { clock, link, session, sent, asked } = rig(true);
  for (let at = 0; at < 48; at += 1) {
    link.begin(session, TAKES);
    await clock.advance(HOUR);
  }
  assert.ok(asked.every(finished => finished));
  assert.ok(sent.length >= 2 && sent.length <= 4, `${sent.length} in two days`);
});

test('many days go in several messages, each of which fits', async () => {
  const days = Array.from({ length: 2 * MAX_SLOT_DAYS + 1 }, (_, at) =>
    slotDay(at % 256, dayOf(NOON) - Math.floor(at / 256) * DAY_MS),
  );
  const { clock, link, session, sent } = rig(false, days);
  link.begin(session, TAKES);
  await clock.advance(60_000);
  assert.equal(
    sent.map(one => one.body.days.length),
    [MAX_SLOT_DAYS, MAX_SLOT_DAYS, 1],
  );
  assert.is(new Set(sent.map(one => one.body.ask)).size, 3);
  for (const { body } of sent) {
    assert.ok(uplink['reconcile-report'].safeParse(body).success);
    assert.ok(JSON.stringify(body).length < MAX_FRAME_BYTES / 10);
  }
});

test('what cannot be sent now is told an hour later', async () => {
  const { clock, link, session, sent, answer } = rig(false);
  answer('busy');
  link.begin(session, TAKES);
  await clock.advance(60_000);
  assert.equal(sent, []);
  answer('sent');
  await clock.advance(HOUR);
  assert.is(sent.length, 1);
});

test.run();
