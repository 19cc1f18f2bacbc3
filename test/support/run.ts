/**
 * `npm test`: builds what runs once, then runs every `*.test.ts` as a process of its own, so that a leaked handle, a
 * crash or a forgotten `run()` is the failure of one file and is named. Files under `system/` (whole products, load,
 * network namespaces) run one at a time, the others two at a time, those with a browser after those that may make network
 * interfaces. The last line is `N passed, N failed`.
 *
 * The run always ends: each file and the whole run have a deadline, and what a file left running is found by a mark
 * in its environment, killed and named as that file's failure, so that no orphan can hold a pipe open for ever.
 *
 * A file that fails is run once more, alone, when everything else is over: what fails twice has failed. What passes then
 * is named at the end and its first failure stays in the output, since it is a test that does not hold on a busy
 * machine, to be mended. When more than a few files failed, the change is at fault and nothing is run again.
 *
 * Arguments are parts of paths: `npm test -- data-plane ledger` runs the files whose path has one of them.
 */
import { spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { connect } from 'node:net';
import { join, relative } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { buildAll } from '../../installer/local/build';

const root = join(import.meta.dirname, '../..');
const FILE_DEADLINE_MS = 8 * 60_000;
const SYSTEM_FILE_DEADLINE_MS = 15 * 60_000;
const RUN_DEADLINE_MS = 60 * 60_000;
/** How long what a file started may outlive it: a peer that was told to stop needs a moment. */
const ORPHAN_GRACE_MS = 5_000;
const AT_ONCE = 2;
/** More failed files than these are not bad luck. */
const MAX_FILES_AGAIN = 4;
const MARK = 'MASTLINE_TEST_FILE';

interface Outcome {
  file: string;
  passed: number;
  failed: number;
  skipped: string[];
  seconds: number;
  output: string;
}

export async function runTests(filters: string[]): Promise<number> {
  const files = readdirSync(join(root, 'test'), { recursive: true, encoding: 'utf8' })
    .filter(path => path.endsWith('.test.ts') && !path.includes('node_modules'))
    .filter(path => filters.length === 0 || filters.some(part => path.includes(part)))
    .sort();
  if (files.length === 0) {
    console.error(`no test file has ${filters.map(part => `"${part}"`).join(' or ')} in its path`);
    return 1;
  }
  console.log('building the agent, the cloud and the portal …');
  await buildAll();
  await sayWhatIsReachable();

  const endBy = performance.now() + RUN_DEADLINE_MS;
  const run = async (file: string) => {
    const left = endBy - performance.now();
    if (left <= 0) return notBegun(file);
    const deadline = file.startsWith('system/') ? SYSTEM_FILE_DEADLINE_MS : FILE_DEADLINE_MS;
    return runFile(file, Math.min(deadline, left));
  };
  const outcomes: Outcome[] = [];
  const alone = files.filter(file => file.startsWith('system/'));
  const together = files.filter(file => !file.startsWith('system/'));
  const inBrowser = together.filter(usesBrowser);
  for (const group of [together.filter(file => !inBrowser.includes(file)), inBrowser])
    await Promise.all(
      Array.from({ length: AT_ONCE }, async () => {
        for (let file = group.shift(); file; file = group.shift()) outcomes.push(report(await run(file)));
      }),
    );
  for (const file of alone) outcomes.push(report(await run(file)));

  const unsteady: string[] = [];
  const again = outcomes.filter(one => one.failed > 0);
  if (again.length > 0 && again.length <= MAX_FILES_AGAIN)
    for (const { file } of again) {
      console.log(`once more, alone: ${file}`);
      const second = report(await run(file));
      outcomes[outcomes.findIndex(one => one.file === file)] = second;
      if (second.failed === 0) unsteady.push(file);
    }
  if (unsteady.length > 0)
    console.log(`\nUNSTEADY, failed first and passed alone, to be mended: ${unsteady.join(', ')}`);

  const failures = outcomes.filter(one => one.failed > 0);
  if (failures.length > 0)
    console.log(`\nfailed, see above: ${failures.map(outcome => outcome.file).join(', ')}`);
  const skipped = outcomes.flatMap(outcome => outcome.skipped);
  if (skipped.length > 0)
    console.log(`\nnot run on this machine:\n${skipped.map(line => `  ${line}`).join('\n')}`);
  const sum = (of: (outcome: Outcome) => number) =>
    outcomes.reduce((total, outcome) => total + of(outcome), 0);
  const failed = sum(one => one.failed);
  const skippedPart = skipped.length > 0 ? `, ${skipped.length} skipped` : '';
  console.log(`\n${sum(one => one.passed)} passed, ${failed} failed${skippedPart}`);
  return failed === 0 ? 0 : 1;
}

/** Chromium drops its requests (ERR_NETWORK_CHANGED) whenever an interface comes or goes, as others' tests make them do. */
function usesBrowser(file: string): boolean {
  return /from '(playwright-core|[./]+browser)'/.test(readFileSync(join(root, 'test', file), 'utf8'));
}

function notBegun(file: string): Outcome {
  const output = `not begun: the whole run has ${RUN_DEADLINE_MS / 60_000} minutes`;
  return { file, passed: 0, failed: 1, skipped: [], seconds: 0, output };
}

async function runFile(file: string, deadlineMs: number): Promise<Outcome> {
  const begun = performance.now();
  const mark = `${process.pid}:${file}`;
  let output = '';
  const child = spawn(process.execPath, ['--import', 'tsx', join(root, 'test', file)], {
    cwd: root,
    env: {
      ...process.env,
      // Daemons that tests run as peers lie in sbin, which is not on everybody's path.
      PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`,
      MASTLINE_BUILT: '1',
      FORCE_COLOR: '0',
      [MARK]: mark,
    },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const take = (chunk: Buffer) => {
    output += chunk.toString('utf8');
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  const closed = new Promise<void>(resolve => child.once('close', () => resolve()));
  // `close` waits for every holder of the pipes, so an orphan could put it off for ever; `exit` does not.
  const code = await new Promise<number | null>(resolve => {
    const timer = setTimeout(() => {
      output += `\n${file} did not end within ${Math.round(deadlineMs / 1000)} s\n`;
      child.kill('SIGKILL');
    }, deadlineMs);
    child.once('error', error => {
      output += `\n${error.message}\n`;
      clearTimeout(timer);
      resolve(1);
    });
    child.once('exit', exitCode => {
      clearTimeout(timer);
      resolve(exitCode);
    });
  });
  const orphans = await endOrphans(mark);
  if (orphans.length > 0)
    output += `\n${file} left processes running (killed now):\n${orphans.map(one => `  ${one}`).join('\n')}\n`;
  await Promise.race([closed, sleep(2_000)]);
  child.stdout.destroy();
  child.stderr.destroy();

  // uvu sums up once per suite; a file may hold several.
  const sum = (label: string) =>
    [...output.matchAll(new RegExp(`^ {2}${label}: +(\\d+)`, 'gm'))].reduce((n, m) => n + Number(m[1]), 0);
  const total = sum('Total');
  const passed = sum('Passed');
  const skipped = output.split('\n').filter(line => line.startsWith('NOT RUN '));
  let failed = total - passed;
  // A crash after the summary, an empty file, something left running: exit code and totals must both be good.
  if (failed === 0 && (code !== 0 || orphans.length > 0 || total + skipped.length === 0)) failed = 1;
  return { file, passed, failed, skipped, seconds: (performance.now() - begun) / 1000, output };
}

/** Waits a moment for marked processes to go, kills those that stay; gives their pids and command lines. */
async function endOrphans(mark: string): Promise<string[]> {
  const until = performance.now() + ORPHAN_GRACE_MS;
  let left = markedProcesses(mark);
  while (left.length > 0 && performance.now() < until) {
    await sleep(100);
    left = markedProcesses(mark);
  }
  for (const { pid } of left) {
    try {
      process.kill(pid, 'SIGKILL');
    } catch {
      // It went in the meantime.
    }
  }
  return left.map(({ pid, command }) => `${pid} ${command}`);
}

/** Processes whose environment carries the mark, read from /proc; none where there is no /proc. */
function markedProcesses(mark: string): { pid: number; command: string }[] {
  const needle = `${MARK}=${mark}\0`;
  const found: { pid: number; command: string }[] = [];
  let entries: string[] = [];
  try {
    entries = readdirSync('/proc');
  } catch {
    return found;
  }
  for (const entry of entries) {
    if (!/^\d+$/.test(entry)) continue;
    try {
      if (!`${readFileSync(`/proc/${entry}/environ`, 'latin1')}\0`.includes(needle)) continue;
      const command = readFileSync(`/proc/${entry}/cmdline`, 'latin1').replaceAll('\0', ' ').trim();
      if (command) found.push({ pid: Number(entry), command });
    } catch {
      // Gone, or not ours to read.
    }
  }
  return found;
}

function report(outcome: Outcome): Outcome {
  const sign = outcome.failed > 0 ? 'FAILED' : 'ok    ';
  const skipped = outcome.skipped.length > 0 ? `, ${outcome.skipped.length} not run` : '';
  console.log(
    `${sign} ${relative('.', outcome.file)}  ${outcome.passed} passed, ${outcome.failed} failed${skipped}  (${outcome.seconds.toFixed(1)} s)`,
  );
  // At once: of a run that is stopped from outside, what is known so far must be there.
  if (outcome.failed > 0) console.log(`──── ${outcome.file}\n${outcome.output.trimEnd()}\n────`);
  return outcome;
}

/** One line that says which real servers the tests will talk to. */
async function sayWhatIsReachable(): Promise<void> {
  const open = (port: number) =>
    new Promise<boolean>(resolve => {
      const socket = connect({ host: '127.0.0.1', port });
      socket.setTimeout(1000, () => socket.destroy());
      socket.on('connect', () => {
        socket.destroy();
        resolve(true);
      });
      socket.on('error', () => resolve(false)).on('close', () => resolve(false));
    });
  const postgres = await open(5432);
  console.log(
    postgres
      ? 'PostgreSQL answers on 127.0.0.1:5432: database tests run there and on the embedded PGlite.'
      : 'No PostgreSQL on 127.0.0.1:5432: database tests run on the embedded PGlite only.',
  );
}
