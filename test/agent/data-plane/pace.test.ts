import { LimitCells, limitBytes, shapeOf } from '@mastline/agent/data-plane/limit-cells';
import type { WindowWaiter } from '@mastline/agent/data-plane/meter';
import { Pace } from '@mastline/agent/data-plane/pace';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';

const test = suite('pace');

const ROW = 5;

function world(perSecond: number) {
  const time = { ms: 10_000 };
  const cells = new LimitCells({
    memory: new SharedArrayBuffer(limitBytes(2)),
    lanes: 2,
    monotonicMs: () => time.ms,
  });
  const shape = shapeOf(perSecond, Math.max(16_384, perSecond / 5));
  const lane = () => {
    const pace = new Pace(cells, ROW, 'down');
    pace.shape = shape;
    return pace;
  };
  return { time, cells, lane };
}

/** A flow that always has `read` more bytes to send after it sent the last, and counts what it got. */
class Greedy implements WindowWaiter {
  got = 0;
  #held = 0;
  readonly #pace: Pace;
  readonly #read: number;

  constructor(pace: Pace, read: number) {
    this.#pace = pace;
    this.#read = read;
  }

  pump(): void {
    // At most one read for each turn of the event loop, as sockets do.
    if (this.#held === 0) this.#held = this.#read;
    while (this.#held > 0) {
      const got = this.#pace.take(this.#held, false);
      if (got === 0) break;
      this.#held -= got;
      this.got += got;
    }
    this.#pace.wait(this);
  }
}

function run(seconds: number, time: { ms: number }, paces: Pace[]): void {
  for (let turn = 0; turn < seconds * 50; turn += 1) {
    time.ms += 20;
    for (const pace of paces) pace.serve();
  }
}

for (const perSecond of [1_000, 20_000, 300_000, 5_000_000])
  test(`${perSecond} bytes a second are shared equally by three flows with unequal appetite, and all are used`, () => {
    const { time, lane } = world(perSecond);
    const pace = lane();
    const flows = [pace.readBytes, 65_536, 262_144].map(read => new Greedy(pace, read));
    for (const flow of flows) flow.pump();
    // What was saved up goes to whoever comes first.
    const before = flows.map(flow => flow.got);
    run(60, time, [pace]);
    const got = flows.map((flow, at) => flow.got - (before[at] ?? 0));
    const all = got.reduce((sum, one) => sum + one, 0);
    for (const one of got)
      assert.ok(Math.abs(one - all / 3) <= all * 0.05 + 8_192, `unequal: ${got.join(', ')}`);
    assert.ok(all <= perSecond * 60 + Math.max(16_384, perSecond / 5), `${all} is too much`);
    assert.ok(all >= perSecond * 60 * 0.95, `${all} is too little`);
  });

test('two lanes share by the number of flows that wait in each', () => {
  const { time, lane } = world(200_000);
  const [one, two] = [lane(), lane()];
  const flows = [one, two, two, two].map(pace => new Greedy(pace, 64_000));
  for (const flow of flows) flow.pump();
  const before = flows.map(flow => flow.got);
  run(60, time, [one, two]);
  const got = flows.map((flow, at) => flow.got - (before[at] ?? 0));
  const all = got.reduce((sum, each) => sum + each, 0);
  assert.ok(all <= 200_000 * 60.5 && all >= 200_000 * 55, `${all}`);
  for (const each of got) assert.ok(Math.abs(each - all / 4) <= all * 0.08, `unequal: ${got.join(', ')}`);
});

test('nobody goes before those who wait, except with leave', () => {
  const { time, lane } = world(100_000);
  const pace = lane();
  const flow = new Greedy(pace, 50_000);
  flow.pump();
  time.ms += 1_000;
  assert.is(pace.take(1_000, false), 0);
  assert.is(pace.take(1_000, true), 1_000);
});

test('a limit that is lifted sets the waiting free, and nothing is left behind', () => {
  const { cells, lane } = world(1_000);
  const pace = lane();
  let pumped = 0;
  const waiter = {
    pump() {
      pumped += 1;
    },
  };
  pace.wait(waiter);
  pace.wait(waiter);
  assert.is(cells.waiting(ROW, 'down', 0), 1);
  pace.shape = null;
  pace.serve();
  assert.equal([pumped, cells.waiting(ROW, 'down', 0), pace.waiting], [1, 0, false]);
  pace.stopWaiting(waiter);
  assert.is(cells.waiting(ROW, 'down', 0), 0);
});

test.run();
