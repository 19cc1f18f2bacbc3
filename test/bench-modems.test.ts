/**
 * The bench of many modems, held to what it says, on five modems and one round of windows: the others lose no request to
 * the one that flaps, and one whose agent stands still is judged as worse. The figures are for `npm run bench:modems`.
 */
import * as assert from 'uvu/assert';
import { buildAll } from '../installer/local/build';
import { type ModemFigures, measureModems, modemLines } from './bench/modems';
import { suite } from './support/suite';

const test = suite('bench of many modems', { needs: ['socat'] });

test.before(async () => {
  if (process.env.MASTLINE_BUILT !== '1') await buildAll();
});

const good: ModemFigures = {
  modems: 20,
  kind: 'namespaces',
  rest: {
    ...{
      seconds: 45,
      cpuPercent: 1,
      rssMegabytes: 100,
      writtenBytes: 0,
      writes: {},
      writesPerModemMinute: 0,
    },
  },
  flap: {
    ...{ rounds: 1, requests: 100, p99Micros: { calm: 1000, apart: 1000, flapping: 1000 } },
    ...{ ratio: 1, ratios: [1], range: { least: 1, most: 1 }, machineRatio: 1 },
    ...{ cpuPerSecond: { calm: 0.01, apart: 0.01, flapping: 0.01 }, broken: 0 },
  },
};

test(
  'one flapping modem costs the others no request, and an agent that stands still at each of its misfortunes is noticed',
  async () => {
    const { flap, rest } = await measureModems({
      ...{ modems: 5, rounds: 1, stallMs: 500, settleMs: 0, restMs: 2000, say: () => undefined },
    });
    assert.ok(flap.ratio > 1.1, JSON.stringify(flap));
    assert.is(flap.broken, 0, JSON.stringify(flap));
    assert.ok(flap.requests > 50, JSON.stringify(flap));
    assert.ok(rest.cpuPercent >= 0 && rest.rssMegabytes > 10, JSON.stringify(rest));
  },
  { deadlineMs: 300_000 },
);

test('meets its goals only when every one is met', () => {
  assert.is(modemLines(good).met, true);
  const { rest, flap } = good;
  for (const worse of [
    { rest: { ...rest, cpuPercent: 3.1 } },
    { rest: { ...rest, rssMegabytes: 151 } },
    { rest: { ...rest, writesPerModemMinute: 1.1 } },
    { rest: { ...rest, writesPerModemMinute: null } },
    { flap: { ...flap, ratio: 1.11 } },
    { flap: { ...flap, ratio: Number.NaN } },
    { flap: { ...flap, broken: 1 } },
    { flap: { ...flap, requests: 0 } },
  ])
    assert.is(modemLines({ ...good, ...worse }).met, false, JSON.stringify(worse));
});

test.run();
