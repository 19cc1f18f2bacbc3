/**
 * A small fleet with every knob turned up, against a real cloud that is stopped and started in the middle: what the agents
 * committed is in the ledger, once, and charged to whom it belongs. `npm run simulate` makes ten thousand of them.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { databaseKinds } from '../support/postgres';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const test = suite('a small simulated fleet');
const MAIN = join(import.meta.dirname, '../simulators/fleet/main.ts');
const NODES = 300;

const KNOBS = {
  nodes: NODES,
  modems: 4,
  seconds: 15,
  every: 3,
  generators: 1,
  churn: 0.1,
  offline: 0.2,
  duplicates: 0.2,
  reorder: 0.2,
  slow: 0.1,
  old: 0.3,
  skew: 0.2,
  liars: 0.1,
};

interface Report {
  connected: number;
  rssBytesPerNode: number;
  recordsPerSecond: number;
  committed: number;
  acknowledged: number;
  lost: number;
  doubled: number;
  wrongNodes: number;
  rollupDifference: string;
  reconnectSecondsP95: number;
  refusals: Record<string, number>;
  curve: { second: number; connected: number }[];
  problems: string[];
}

async function simulate(over: Record<string, string | number>): Promise<{ code: number; report: Report }> {
  const dir = await tempDir('fleet');
  try {
    const json = join(dir.path, 'report.json');
    const flags = Object.entries({ ...KNOBS, ...over, json }).flatMap(([name, value]) => [
      `--${name}`,
      String(value),
    ]);
    const child = spawn(process.execPath, ['--import', 'tsx', MAIN, ...flags], {
      stdio: ['ignore', 'ignore', 'inherit'],
    });
    const [code] = (await once(child, 'exit')) as [number];
    return { code, report: JSON.parse(readFileSync(json, 'utf8')) as Report };
  } finally {
    await dir.remove();
  }
}

function isSound({ code, report }: Awaited<ReturnType<typeof simulate>>): void {
  assert.equal(report.problems, []);
  assert.is(code, 0);
  const { lost, doubled, wrongNodes, rollupDifference } = report;
  assert.equal(
    { lost, doubled, wrongNodes, rollupDifference },
    { lost: 0, doubled: 0, wrongNodes: 0, rollupDifference: '0' },
  );
  assert.ok(report.connected >= NODES * 0.99, `${report.connected} connected`);
  assert.is(report.acknowledged, report.committed);
  assert.ok(report.committed >= NODES * KNOBS.modems, `${report.committed} records`);
  for (const field of ['rssBytesPerNode', 'recordsPerSecond', 'reconnectSecondsP95'] as const)
    assert.type(report[field], 'number');
  // The knobs were turned: batches did overtake each other, and nodes came back after the restart.
  assert.ok((report.refusals['ledger/gap'] ?? 0) > 0, JSON.stringify(report.refusals));
  assert.ok((report.curve.at(-1)?.connected ?? 0) >= NODES * 0.99);
}

const [best] = await databaseKinds();

test(
  'loses and doubles nothing when the cloud is stopped and started again',
  async () => isSound(await simulate({ database: best ?? 'embedded', restart: 'term' })),
  { deadlineMs: 480_000 },
);

test(
  'loses and doubles nothing on the embedded database when the cloud is killed',
  async () => isSound(await simulate({ database: 'embedded', restart: 'kill', seed: 2 })),
  { deadlineMs: 480_000 },
);

test.run();
