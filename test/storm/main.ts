/**
 * `npm run storm -- --seed 7 --minutes 30`: exit code 0 only when every modem ended in the right state with the right
 * reason, usage was exact and nothing was left behind.
 */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { buildAll } from '../../installer/local/build';
import { whyNoNamespaces } from '../simulators/run-tool';
import { readFlags } from '../support/flags';
import { runStorm } from './storm';

const values = readFlags({
  seed: { type: 'string', default: String(Date.now() % 1_000_000) },
  minutes: { type: 'string', default: '2' },
  modems: { type: 'string', default: '8' },
  keep: { type: 'boolean', default: false },
});
const numberOf = (name: 'seed' | 'minutes' | 'modems', max: number): number => {
  const value = Number(values[name]);
  if (Number.isFinite(value) && value > 0 && value <= max) return value;
  console.error(`--${name} must be a number above 0 and at most ${max}.`);
  process.exit(2);
};
const options = {
  seed: numberOf('seed', 2 ** 32),
  seconds: 60 * numberOf('minutes', 12 * 60),
  modems: numberOf('modems', 24),
};

const obstacle = await whyNoNamespaces();
if (obstacle !== undefined) console.log(`Rootless modems: ${obstacle}.`);
if (process.env.MASTLINE_BUILT !== '1') await buildAll();
const dir = mkdtempSync(join(tmpdir(), 'storm-'));
let weathered = false;
try {
  const report = await runStorm({
    ...options,
    kind: obstacle === undefined ? 'namespaces' : 'rootless',
    dir,
    say: line => console.log(`${new Date().toISOString().slice(11, 19)} ${line}`),
  });
  console.log(JSON.stringify({ ...report, problems: report.problems.length }, null, 2));
  for (const problem of report.problems) console.log(`✗ ${problem}`);
  weathered = report.problems.length === 0;
  console.log(weathered ? 'Weathered.' : `Not weathered; again: --seed ${report.seed}`);
  process.exitCode = weathered ? 0 : 1;
} finally {
  // Logs of programs say why.
  if (values.keep || !weathered) console.log(`Logs and data of the run: ${dir}`);
  else rmSync(dir, { recursive: true, force: true });
}
