/** How often a modem is looked at: by its state, by what was done to it, and by whether anybody uses it. */
import type { ModemStatus, Outcome } from '@mastline/agent/modem-plane/driver';
import { EAGER_POLL_MS, ModemWatch, POLL_MS, REST_POLL_MS } from '@mastline/agent/modem-plane/modem-watch';
import type { SlotDriver } from '@mastline/agent/modem-plane/slot-driver';
import { quietLog } from '@mastline/agent/observe/log';
import * as assert from 'uvu/assert';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';

const test = suite('looks at a modem');
const WELL: Outcome<ModemStatus> = {
  ok: true,
  value: {
    data: { state: 'up', reason: '' },
    bearer: {
      ...{ connected: true, address: '10.0.0.2', address6: null, prefixLength: null, gateway: null },
      ...{ dnsServers: [], mtu: null },
    },
    registration: { state: 'registered', carrier: 'One', plmn: '00101', technology: '4g' },
    sim: { state: 'ready' },
  },
};
const fault = { kind: 'unsupported', code: 'none', message: 'not here' } as const;
const unsupported = async () => ({ ok: false, fault }) as const;

/** A modem that is well, and when it was looked at. */
function watched() {
  const clock = fakeClock();
  const looks: number[] = [];
  const driver = {
    kind: 'hilink',
    status: async () => {
      looks.push(clock.monotonicMs());
      return WELL;
    },
    identity: unsupported,
    registration: unsupported,
    close: async () => undefined,
  } as unknown as SlotDriver;
  const watch = new ModemWatch({ driver, clock, log: quietLog, onLook: () => undefined });
  /** The time between looks in the next `ms`. */
  const pauses = async (ms: number) => {
    looks.length = 0;
    await clock.advance(ms);
    return looks.slice(1).map((at, nth) => at - (looks[nth] ?? 0));
  };
  return { clock, looks, watch, pauses };
}

test('a modem that nobody uses is looked at half as often, once it has been well for a while', async () => {
  const { clock, watch, pauses } = watched();
  watch.noteUse(false);
  assert.equal(new Set(await pauses(30_000)), new Set([POLL_MS]), 'at first');
  await clock.advance(10_000);
  assert.equal(await pauses(60_000), Array(5).fill(REST_POLL_MS));
  watch.beEager();
  assert.ok((await pauses(20_000)).every(pause => pause <= POLL_MS));
  await watch.close();
});

test('when it is used again, the next look comes as soon as it would have come all along', async () => {
  const { clock, looks, watch, pauses } = watched();
  watch.noteUse(false);
  await clock.advance(60_000);
  const last = looks.at(-1) ?? 0;
  await clock.advance(last + 3_000 - clock.monotonicMs());
  looks.length = 0;
  watch.noteUse(true);
  await clock.advance(POLL_MS - 3_000);
  assert.equal(looks, [last + POLL_MS]);
  assert.equal(new Set(await pauses(60_000)), new Set([POLL_MS]));
  // One that was due is not put off, and a word that is repeated changes nothing.
  watch.noteUse(false);
  await clock.advance(POLL_MS);
  await clock.advance((looks.at(-1) ?? 0) + 7_000 - clock.monotonicMs());
  watch.noteUse(true);
  watch.noteUse(true);
  looks.length = 0;
  await clock.advance(1);
  assert.is(looks.length, 1);
  await watch.close();
});

test('a look that is due soon, since something was done to the modem, is not put off by use', async () => {
  const { clock, looks, watch } = watched();
  watch.noteUse(false);
  await clock.advance(60_000);
  await clock.advance((looks.at(-1) ?? 0) + 500 - clock.monotonicMs());
  watch.beEager();
  watch.noteUse(true);
  looks.length = 0;
  await clock.advance(EAGER_POLL_MS);
  assert.is(looks.length, 1);
  await watch.close();
});

test.run();
