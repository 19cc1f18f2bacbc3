/**
 * `npm run bench:proxy`: starts the agent and every other proxy that is here, drives them by turns, and prints what
 * they cost. Start reading here; what is done in a scenario is scenarios.ts, who is measured peers.ts and mastline.ts.
 */
import { randomBytes } from 'node:crypto';
import { accessSync, constants, writeFileSync } from 'node:fs';
import { dirname, resolve } from 'node:path';
import { AGENT_VERSION } from '@mastline/agent/version';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { buildAgent } from '../../installer/local/build';
import type { Contender } from './contender';
import { installPeers } from './install-peers';
import { buildGenerator, startSink } from './load-generator';
import { describeMachine, machineLines } from './machine';
import { mastline, refusalOf } from './mastline';
import type { Failure, Protocol, Run } from './measures';
import { BENCH_HELP, type BenchOptions, parseOptions } from './options';
import { findPeers, type Login, PEERS } from './peers';
import { makeWorkplace, portsFor } from './places';
import {
  expectedMs,
  holding,
  isChosen,
  isMemory,
  isRate,
  planSteps,
  QUICK_MS,
  type Step,
  sizesOf,
} from './plan';
import { Programs, reachableFileLimit } from './programs';
import { type Bench, measureMemory, measureRate, type Served, serve, warmUp } from './scenarios';
import { failureLines, tableLines, verdictLines } from './table';
import { verdictsOf } from './verdicts';

const NO_TIME = 'no time was left in the short form';

/** Runs the bench; resolves to the exit code: 0 when everything of the agent that was asked for could be measured. */
async function benchProxy(args: string[]): Promise<number> {
  try {
    const options = parseOptions(args);
    if (options === 'help') {
      process.stdout.write(BENCH_HELP);
      return 0;
    }
    if (process.platform !== 'linux')
      throw new CodedError('bench/not-linux', 'the bench reads /proc: it needs Linux');
    if (options.json !== null) accessSync(dirname(resolve(options.json)), constants.W_OK);
    return await run(options, args);
  } catch (error) {
    console.error(error instanceof CodedError ? error.userMessage : error);
    return error instanceof CodedError && error.code === 'bench/usage' ? 2 : 1;
  }
}

async function run(options: BenchOptions, args: string[]): Promise<number> {
  const begun = performance.now();
  const workplace = makeWorkplace();
  const programs = new Programs(reachableFileLimit(), workplace.root);
  const runs: Run[] = [];
  const failures: Failure[] = [];
  const notes: string[] = [];
  const interrupted = new AbortController();
  const onSignal = () => {
    console.error('\nstopping: everything that was started is ended');
    interrupted.abort();
    // Whatever is awaited now fails, since its program is gone.
    void programs.close();
  };
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'] as const;
  for (const signal of signals) process.once(signal, onSignal);
  try {
    const machine = describeMachine(programs.fileLimit);
    for (const line of machineLines(machine)) console.log(line);
    const generator = buildGenerator();
    console.log(generator.note);
    await buildAgent();
    const sink = await startSink(programs, generator);
    const bench: Bench = { programs, generator, sink, workplace };
    const contenders = await gather(bench, options, failures);
    const deadline = options.quick ? begun + QUICK_MS : Number.POSITIVE_INFINITY;
    const servedBy = options.quick ? begun + QUICK_MS / 2 : deadline;
    const served = await serveAll(bench, contenders, { options, servedBy }, failures);
    const steps = planSteps(
      [...served.keys()],
      options,
      options.quick ? deadline - performance.now() : Number.POSITIVE_INFINITY,
    );
    if (steps.length === 0)
      throw new CodedError('bench/nothing', 'nothing of what was asked for can be measured here');
    await measureAll(
      bench,
      { steps, served, options, deadline, interrupted: interrupted.signal },
      { runs, failures, notes },
    );
    if (interrupted.signal.aborted) return 130;
    const verdicts = verdictsOf(runs);
    for (const line of tableLines({ runs, failures }, verdicts)) console.log(line);
    console.log(
      '\nMedians; a ratio is the median of the ratios within each round; less is better for all but MB/s and conn/s.',
    );
    for (const line of new Set(contenders.map(({ name, version, note }) => `  ${name} ${version}: ${note}`)))
      console.log(line);
    if (verdicts.length > 0)
      console.log(`\nWhat the data plane must reach, and aims at:\n${verdictLines(verdicts).join('\n')}`);
    if (failures.length > 0) console.log(`\nNot measured:\n${failureLines(failures).join('\n')}`);
    const command = ['npm run bench:proxy', ...(args.length > 0 ? ['--', ...args] : [])].join(' ');
    if (options.json !== null) {
      const peers = contenders.map(({ name, version, threads, note }) => ({ name, version, threads, note }));
      const report = {
        command,
        endedAt: new Date().toISOString(),
        machine,
        peers,
        runs,
        failures,
        notes,
        verdicts,
      };
      writeFileSync(options.json, `${JSON.stringify(report, null, 2)}\n`);
    }
    console.log(`\n${command}: ${runs.length} runs in ${((performance.now() - begun) / 1000).toFixed(0)} s`);
    return failures.some(one => one.proxy === 'mastline' && one.reason !== NO_TIME) ? 1 : 0;
  } catch (error) {
    if (interrupted.signal.aborted) return 130;
    throw error;
  } finally {
    for (const signal of signals) process.removeListener(signal, onSignal);
    await programs.close();
    workplace.remove();
  }
}

/** Who takes part: the agent, and the peers that are here or can be installed. */
async function gather(bench: Bench, options: BenchOptions, failures: Failure[]): Promise<Contender[]> {
  const login: Login = { user: 'bench', password: randomBytes(20).toString('hex') };
  const context = { login, fileLimit: bench.programs.fileLimit };
  const wanted = PEERS.filter(peer =>
    isChosen(options, peer.name, peer.make(peer.executable, context).protocols),
  );
  let peers = findPeers(wanted, context);
  if (peers.missing.length > 0 && options.install) {
    installPeers(peers.missing, line => console.log(line));
    peers = findPeers(wanted, context);
  }
  for (const { name, packageName } of peers.missing)
    failures.push(failure(name, `not on this machine (Debian's package ${packageName})`));
  const ours = isChosen(options, 'mastline', options.protocols)
    ? await agents(bench, { options, login }, failures)
    : [];
  return [...ours, ...peers.contenders];
}

/** The agent in as many ways as are asked for, in the protocols that it serves. */
async function agents(
  bench: Bench,
  given: { options: BenchOptions; login: Login },
  failures: Failure[],
): Promise<Contender[]> {
  const { options, login } = given;
  const all: Protocol[] = options.protocols;
  const found: Contender[] = [];
  const attempt = async (threads: number, protocols: Protocol[]) => {
    const contender = mastline(threads, { login, version: AGENT_VERSION, protocols });
    const at = {
      dir: bench.workplace.folder('attempt'),
      ports: await portsFor(contender),
      targetPort: bench.sink.port,
    };
    const refusal = await refusalOf(contender, bench.programs, at);
    if (refusal === null) found.push(contender);
    return refusal;
  };
  for (const threads of new Set([1, options.threads])) {
    const refusal = await attempt(threads, all);
    if (refusal === null) continue;
    const rest = all.filter(protocol => protocol !== 'shadowsocks');
    const served = rest.length > 0 && rest.length < all.length && (await attempt(threads, rest)) === null;
    failures.push({ ...failure('mastline', refusal), protocol: served ? 'shadowsocks' : null, threads });
  }
  return found;
}

const failure = (proxy: Failure['proxy'], reason: string): Failure => ({
  proxy,
  protocol: null,
  scenario: null,
  repeat: null,
  threads: null,
  reason,
});

/** Starts every contender that has rates to show, warms it up, and leaves out those that do not serve. */
async function serveAll(
  bench: Bench,
  contenders: readonly Contender[],
  how: { options: BenchOptions; servedBy: number },
  failures: Failure[],
): Promise<Map<Contender, Served | null>> {
  const { options, servedBy } = how;
  const all = new Map<Contender, Served | null>();
  for (const contender of contenders) {
    if (!options.scenarios.some(isRate)) {
      all.set(contender, null);
      continue;
    }
    try {
      // The agent is the first.
      if (all.size > 0 && performance.now() > servedBy) throw new Error(NO_TIME);
      const served = await serve(bench, contender);
      const protocols = contender.protocols.filter(protocol => options.protocols.includes(protocol));
      for (const protocol of protocols)
        await warmUp(bench, { served, protocol }, sizesOf(options.quick).warmSeconds);
      all.set(contender, served);
    } catch (error) {
      failures.push({ ...failure(contender.name, messageOf(error)), threads: contender.threads });
    }
  }
  return all;
}

interface Work {
  steps: readonly Step[];
  served: ReadonlyMap<Contender, Served | null>;
  options: BenchOptions;
  deadline: number;
  interrupted: AbortSignal;
}

/** Every step in turn. A step that fails is told and the others go on. */
async function measureAll(
  bench: Bench,
  work: Work,
  into: { runs: Run[]; failures: Failure[]; notes: string[] },
): Promise<void> {
  const { steps, options, deadline } = work;
  const sizes = sizesOf(options.quick);
  const told = new Set<string>();
  let done = 0;
  for (const step of steps) {
    if (work.interrupted.aborted) return;
    const { scenario, protocol, contender, repeat } = step;
    const { name: proxy, threads } = contender;
    const row = { proxy, protocol, scenario, repeat, threads };
    progress(`${done}/${steps.length} runs, round ${repeat}: ${scenario}, ${proxy} ${protocol}`);
    done += 1;
    try {
      if (performance.now() + expectedMs(step, sizes) > deadline) throw new Error(NO_TIME);
      if (isMemory(scenario)) {
        const size = holding(step, { quick: options.quick, fileLimit: bench.programs.fileLimit });
        if (size.because !== null)
          told.add(`${proxy}: ${size.flows} flows in ${scenario}, since ${size.because}`);
        into.runs.push({ ...row, ...(await measureMemory(bench, { contender, protocol, scenario }, size)) });
      } else {
        const served = work.served.get(contender);
        if (!served) throw new Error('it was not started');
        into.runs.push({
          ...row,
          ...(await measureRate(bench, { served, protocol, scenario }, sizes.seconds)),
        });
      }
    } catch (error) {
      if (work.interrupted.aborted) return;
      into.failures.push({ ...row, reason: messageOf(error) });
    }
  }
  progress('');
  into.notes.push(...told);
  for (const line of told) console.log(line);
}

/** A line that is written over, where people look; nothing in a file. */
function progress(line: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${line}`);
}

// Not only its code: a pipe that nobody reads any more must not keep this alive.
process.exit(await benchProxy(process.argv.slice(2)));
