/**
 * `npm run storm -- --seed 7 --minutes 30`: exit code 0 only when every modem ended in the right state, usage was exact
 * and nothing was left behind.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createLog, quietLog } from '@mastline/agent/observe/log';
import { whyNoNamespaces } from '../simulators/run-tool';
import { readFlags } from '../support/flags';
import { runStorm } from './storm';

const values = readFlags({
  seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  minutes: { type: 'string', default: '2' },
  modems: { type: 'string', default: '8' },
  verbose: { type: 'boolean', default: false },
});
const numberOf = (name: 'seed' | 'minutes' | 'modems', max: number): number => {
  const value = Number(values[name]);
  if (Number.isFinite(value) && value > 0 && value <= max) return value;
  console.error(`--${name} must be a number above 0 and at most ${max}.`);
  process.exit(2);
};

const dir = mkdtempSync(join(tmpdir(), 'storm-'));
const obstacle = await whyNoNamespaces();
if (obstacle !== undefined) console.log(`Rootless modems: ${obstacle}.`);
try {
  const report = await runStorm({
    seed: numberOf('seed', 2 ** 32),
    seconds: 60 * numberOf('minutes', 24 * 60),
    modems: numberOf('modems', 24),
    kind: obstacle === undefined ? 'namespaces' : 'rootless',
    dir,
    log: values.verbose ? createLog({ level: 'info' }) : quietLog,
    say: line => console.log(line),
  });
  console.log(JSON.stringify({ ...report, problems: report.problems.length }, null, 2));
  for (const problem of report.problems) console.log(`✗ ${problem}`);
  console.log(report.problems.length === 0 ? 'Weathered.' : `Not weathered; again: --seed ${report.seed}`);
  process.exitCode = report.problems.length === 0 ? 0 : 1;
} finally {
  rmSync(dir, { recursive: true, force: true });
}
