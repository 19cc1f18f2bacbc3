/** The virtual network's command line: what a person gets for a wrong one. */
import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import * as assert from 'uvu/assert';
import { suite } from '../support/suite';

const test = suite('npm run virtual');
const PROGRAM = join(import.meta.dirname, '../simulators/main.ts');

function run(...args: string[]) {
  const { status, stdout, stderr } = spawnSync(process.execPath, ['--import', 'tsx', PROGRAM, ...args], {
    encoding: 'utf8',
    input: '',
  });
  return { status, stdout, stderr };
}

test('--help names every option and ends well', () => {
  const { status, stdout } = run('--help');
  assert.is(status, 0);
  for (const option of [
    '--state-dir',
    '--modems',
    '--kind',
    '--registration-ms',
    '--connect-ms',
    '--cleanup',
  ])
    assert.ok(stdout.includes(option), option);
});

test('a wrong option is named, without a stack trace', () => {
  for (const [args, said] of [
    [['--nonsense'], /nonsense/],
    [[], /--state-dir is missing/],
    [['--state-dir', '/nowhere', '--kind', 'paper'], /--kind must be auto, namespaces or rootless/],
    [['--state-dir', '/nowhere', '--modems', '25'], /--modems must be a whole number up to 24/],
  ] as const) {
    const { status, stderr } = run(...args);
    assert.is(status, 1);
    assert.match(stderr, said);
    assert.not.match(stderr, /\n\s+at /);
  }
});

test.run();
