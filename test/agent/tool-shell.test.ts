/** Programs that are run from the shell that is kept: what they say, how they end, and what hangs is killed. */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { NOT_FOUND, ToolShell } from '@mastline/agent/tool-shell';
import { codeOf } from '@mastline/shared/base/coded-error';
import * as assert from 'uvu/assert';
import { eventually } from '../support/eventually';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const test = suite('tool shell');
const PATIENCE_MS = 60_000;

let shell: ToolShell;
test.beforeEach(() => {
  shell = new ToolShell();
});
// It is not closed in the tests: a shell that is kept does not keep a program from ending, this file included.

const run = (program: string, args: string[] = [], input?: string, deadlineMs = PATIENCE_MS) =>
  shell.run({ program, args, input, deadlineMs });

test('gives what the program said on both outputs, and its exit code', async () => {
  const end = await run('sh', ['-c', 'printf out; printf err >&2; exit 7']);
  assert.equal(end, { exitCode: 7, stdout: 'out', stderr: 'err' });
  assert.equal(await run('true'), { exitCode: 0, stdout: '', stderr: '' });
});

test('words and input mean nothing to the shell', async () => {
  const nasty = `a 'b' "c" $(exit 1) \`id\` \\ $HOME\n#x;&|`;
  assert.is((await run('printf', ['%s', nasty])).stdout, nasty);
  assert.is((await run('cat', [], `${nasty}\n`)).stdout, `${nasty}\n`);
  const long = `${'0123456789abcdef'.repeat(16_384)}\n`;
  assert.is((await run('cat', [], long)).stdout, long);
});

test('a program without input has none, not the next commands', async () => {
  const [first, second] = await Promise.all([run('cat'), run('echo', ['second'])]);
  assert.is(first.stdout, '');
  assert.is(second.stdout, 'second\n');
});

test('a program that is not installed is told by its exit code', async () => {
  assert.is((await run('mastline-no-such-program')).exitCode, NOT_FOUND);
});

test('runs one after the other, from one process', async () => {
  const parents = await Promise.all([1, 2, 3].map(() => run('sh', ['-c', 'echo $PPID'])));
  assert.is(new Set(parents.map(one => one.stdout)).size, 1);
});

test('what hangs is killed with all that it began, and the next runs', async () => {
  const dir = await tempDir('tool-shell');
  try {
    const pidFile = join(dir.path, 'pid');
    const hangs = run(
      'sh',
      ['-c', `sleep 3600 & echo $! >${pidFile}.new; mv ${pidFile}.new ${pidFile}; wait`],
      undefined,
      5_000,
    );
    const next = run('echo', ['next']);
    await hangs.then(
      () => assert.unreachable(),
      error => assert.is(codeOf(error), 'tool/too-slow'),
    );
    assert.is((await next).stdout, 'next\n');
    const pid = readFileSync(pidFile, 'utf8').trim();
    await eventually(
      () => !existsSync(`/proc/${pid}`) || /^State:\s+Z/m.test(readFileSync(`/proc/${pid}/status`, 'utf8')),
    );
  } finally {
    await dir.remove();
  }
});

test('a shell that somebody kills fails the program it ran, and the next has another', async () => {
  await run('sh', ['-c', 'kill -9 $PPID; sleep 1']).then(
    () => assert.unreachable(),
    error => assert.is(codeOf(error), 'tool/no-shell'),
  );
  assert.is((await run('echo', ['next'])).stdout, 'next\n');
});

test('too many at once are refused', async () => {
  const all = await Promise.allSettled(Array.from({ length: 300 }, () => run('true')));
  const refused = all.filter(one => one.status === 'rejected');
  assert.is(refused.length, 300 - 256);
  for (const one of refused) assert.is(codeOf((one as PromiseRejectedResult).reason), 'tool/busy');
});

test.run();
