import { Worker } from 'node:worker_threads';
import { isOlder, LimitCells, limitBytes, shapeOf } from '@mastline/agent/data-plane/limit-cells';
import { LimitRows } from '@mastline/agent/data-plane/limit-rows';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { holds } from '../../shared/protocols/property';
import { suite } from '../../support/suite';

const test = suite('limit cells');

function cellsAt(start = 0, lanes = 2) {
  const time = { ms: start };
  const memory = new SharedArrayBuffer(limitBytes(lanes));
  return { time, memory, cells: new LimitCells({ memory, lanes, monotonicMs: () => time.ms }) };
}

test('a bucket that was never used is full, also in the first moment of a clock', () => {
  const { cells } = cellsAt();
  const shape = shapeOf(1, 60);
  for (let flow = 0; flow < 60; flow += 1) assert.is(cells.take(3, 'flows', { shape, want: 1, least: 1 }), 1);
  assert.is(cells.take(3, 'flows', { shape, want: 1, least: 1 }), 0);
  assert.is(cells.take(4, 'flows', { shape, want: 1, least: 1 }), 1, 'another row is another bucket');
});

test('a bucket never gives more than its burst and what time has earned, and gives that much in the end', () => {
  const step = fc.record({
    wait: fc.integer({ min: 0, max: 400 }),
    want: fc.integer({ min: 1, max: 300_000 }),
  });
  const rate = fc.integer({ min: 1_000, max: 125_000_000 });
  holds(
    fc.property(rate, fc.array(step, { maxLength: 60 }), (perSecond, steps) => {
      const { time, cells } = cellsAt(1_000);
      const burst = Math.max(16_384, perSecond / 5);
      const shape = shapeOf(perSecond, burst);
      let taken = 0;
      for (const { wait, want } of steps) {
        time.ms += wait;
        taken += cells.take(0, 'down', { shape, want, least: 1 });
        const earned = burst + ((time.ms - 1_000) * perSecond) / 1_000;
        assert.ok(taken <= earned + 1, `${taken} of ${earned}`);
      }
      // Whoever always takes what there is gets the whole rate, but for rounding once a take.
      const from = taken + cells.take(0, 'down', { shape, want: 1e9, least: 1 });
      taken = from;
      for (let second = 0; second < 20; second += 1) {
        time.ms += 100;
        taken += cells.take(0, 'down', { shape, want: 1e9, least: 1 });
      }
      const expected = perSecond * 2;
      assert.ok(
        Math.abs(taken - from - expected) <= 20 * (1 + perSecond / 1e6),
        `${taken - from} of ${expected}`,
      );
    }),
  );
});

test('what is given back can be taken again', () => {
  const { cells } = cellsAt(5_000);
  const shape = shapeOf(10_000, 20_000);
  assert.is(cells.take(0, 'up', { shape, want: 20_000, least: 1 }), 20_000);
  cells.giveBack(0, 'up', { shape, units: 15_000 });
  assert.is(cells.take(0, 'up', { shape, want: 20_000, least: 1 }), 15_000);
});

test('a rate that changes takes effect at once, without a gift', () => {
  const { time, cells } = cellsAt(5_000);
  cells.take(0, 'up', { shape: shapeOf(1_000, 1_000), want: 1_000, least: 1 });
  const fast = shapeOf(1_000_000, 200_000);
  assert.is(cells.take(0, 'up', { shape: fast, want: 200_000, least: 1 }), 0);
  time.ms += 100;
  assert.is(cells.take(0, 'up', { shape: fast, want: 200_000, least: 1 }), 100_000);
});

test('the oldest flow is found over lanes, also where ages wrap', () => {
  const { cells } = cellsAt();
  assert.is(cells.hasOldest(0, 0), false);
  cells.setOldest(0, 0, 7);
  cells.setOldest(0, 1, 5);
  assert.equal([cells.hasOldest(0, 0), cells.hasOldest(0, 1)], [false, true]);
  cells.setOldest(0, 1, 0);
  assert.is(cells.hasOldest(0, 0), true);
  assert.ok(isOlder(0x7fffffff, -0x80000000));
  assert.is(isOlder(-0x80000000, 0x7fffffff), false);
});

test('rows are the same for all who hear the same plans, and nobody gets a row that is in use', () => {
  const plan = fc.uniqueArray(fc.integer({ min: 0, max: 30 }).map(String), { maxLength: 20 });
  holds(
    fc.property(fc.array(plan, { maxLength: 20 }), plans => {
      const [one, two] = [new LimitRows(), new LimitRows()];
      for (const names of plans) {
        const before = new Map(names.map(name => [name, one.row(name)]));
        one.assign(new Set(names));
        two.assign(new Set(names));
        const rows = names.map(name => one.row(name));
        assert.equal(
          rows,
          names.map(name => two.row(name)),
        );
        assert.is(new Set(rows).size, names.length);
        for (const [name, row] of before)
          if (row !== undefined) assert.is(one.row(name), row, 'keeps its row');
      }
    }),
  );
});

test(
  'four threads together get exactly what there is: places, quota and tokens',
  async () => {
    const memory = new SharedArrayBuffer(limitBytes(4));
    const cells = new LimitCells({ memory, lanes: 4, monotonicMs: () => 1_000 });
    cells.setQuota(2, 100_000);
    const program = `
      import { LimitCells, shapeOf } from ${JSON.stringify(new URL('../../../agent/src/data-plane/limit-cells.ts', import.meta.url).href)};
      import { parentPort, workerData } from 'node:worker_threads';
      const cells = new LimitCells({ memory: workerData, lanes: 4, monotonicMs: () => 1000 });
      const shape = shapeOf(100, 50_000);
      const got = { places: 0, quota: 0, tokens: 0 };
      for (let at = 0; at < 60_000; at += 1) {
        if (cells.open(1, 1_000)) { if (at % 3) cells.closed(1); else got.places += 1; }
        got.quota += cells.takeQuota(2, 1 + at % 7);
        got.tokens += cells.take(3, 'up', { shape, want: 1 + at % 5, least: 1 });
      }
      parentPort.postMessage(got);
    `;
    const results = await Promise.all(
      Array.from(
        { length: 4 },
        () =>
          new Promise<{ places: number; quota: number; tokens: number }>((resolve, reject) => {
            const worker = new Worker(
              `import('tsx/esm/api').then(({ register }) => { register(); return import('data:text/javascript,' + ${JSON.stringify(encodeURIComponent(program))}); })`,
              { eval: true, workerData: memory },
            );
            worker.once('message', resolve);
            worker.once('error', reject);
          }),
      ),
    );
    const sum = (of: 'places' | 'quota' | 'tokens') => results.reduce((all, one) => all + one[of], 0);
    assert.is(sum('quota'), 100_000);
    assert.is(cells.quotaLeft(2), 0);
    assert.is(sum('places'), cells.openFlows(1));
    assert.is(sum('places'), 1_000);
    assert.ok(sum('tokens') <= 50_000 && sum('tokens') > 49_990, `${sum('tokens')} tokens`);
  },
  { deadlineMs: 60_000 },
);

test.run();
