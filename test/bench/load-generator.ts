/**
 * Runs the load generator (load/*.c, compiled here when there is a compiler; load/node-load.ts where there is none,
 * which costs several times as much CPU beside the proxies) and reads what it reports.
 */
import type { ChildProcess } from 'node:child_process';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { Protocol } from './measures';
import { findProgram, type Programs } from './programs';

export type LoadMode = 'download' | 'upload' | 'duplex' | 'connect' | 'echo' | 'hold' | 'stall';

/** How the generator reaches a proxy; `direct` is a bare relay, whose target is its own business. */
export interface Access {
  kind: Protocol | 'direct';
  port: number;
  user?: string;
  password?: string;
  /** Shadowsocks: the key of aes-256-gcm. */
  key?: Buffer;
}

export interface LoadReport {
  seconds: number;
  bytes: number;
  finished: number;
  failed: number;
  unfinished: number;
  /** Flows that were held and ended by themselves. */
  lost: number;
  measured: number;
  p50Micros: number;
  p99Micros: number;
  /** What the generator itself cost. */
  cpuSeconds: number;
  /** The first thing that went wrong; empty when nothing did. */
  error: string;
}

export interface Generator {
  command: string;
  args: string[];
  /** The generator that speaks Shadowsocks, where the first cannot. */
  shadowsocks: { command: string; args: string[] };
  /** What to tell people about it. */
  note: string;
}

const LOAD_DIR = join(import.meta.dirname, 'load');
const BUILD_DIR = join(import.meta.dirname, '../dist/bench');
/** A run that is over by more than this is cut by the generator, which then says what had not finished. */
const SLACK_SECONDS = 30;
/** Between the end of a child's output and its exit. */
const EXIT_MS = 1_000;
/** So much later it is given up, with whatever can be said of it. */
const SILENCE_SECONDS = 10;

/** Compiles the generator, once for its sources, with the first of `compilers` that is here. */
export function buildGenerator(compilers: readonly string[] = ['cc', 'gcc', 'clang']): Generator {
  const node = {
    command: process.execPath,
    args: ['--import', 'tsx', join(LOAD_DIR, 'node-load.ts')],
  };
  const slower = (why: string): Generator => ({
    ...node,
    shadowsocks: node,
    note: `the load generator runs in Node, since ${why}: it costs several times as much CPU as the one in C, so that rates and latencies are worse for all; CPU figures of the proxies stay true`,
  });
  const compiler = compilers.map(findProgram).find(found => found !== null);
  if (!compiler) return slower('there is no C compiler (apt-get install gcc libc6-dev)');
  const sources = readdirSync(LOAD_DIR).filter(name => /\.[ch]$/.test(name));
  const hash = createHash('sha256').update(process.arch);
  for (const name of sources) hash.update(readFileSync(join(LOAD_DIR, name)));
  const program = join(BUILD_DIR, `load-${hash.digest('hex').slice(0, 16)}`);
  try {
    if (!existsSync(program)) {
      mkdirSync(BUILD_DIR, { recursive: true });
      const half = `${program}.${process.pid}`;
      const files = sources.filter(name => name.endsWith('.c')).map(name => join(LOAD_DIR, name));
      execFileSync(compiler, ['-O2', '-Wall', '-Wextra', '-o', half, ...files, '-ldl', '-lm'], {
        timeout: 120_000,
        stdio: ['ignore', 'ignore', 'pipe'],
      });
      renameSync(half, program);
    }
  } catch (error) {
    return slower(`${compiler} could not build it: ${messageOf(error).slice(0, 600)}`);
  }
  const own = { command: program, args: [] };
  try {
    execFileSync(program, ['check'], { timeout: 10_000, stdio: ['ignore', 'ignore', 'pipe'] });
  } catch {
    return {
      ...own,
      shadowsocks: node,
      note: 'the load generator is in C, but for Shadowsocks in Node, since libcrypto was not found (apt-get install libssl3)',
    };
  }
  return { ...own, shadowsocks: own, note: 'the load generator is in C' };
}

export interface Sink {
  port: number;
  mustLive(): void;
}

/** The far end of all flows; lives until `programs` is closed. */
export async function startSink(programs: Programs, generator: Generator): Promise<Sink> {
  const child = programs.spawn(generator.command, [...generator.args, 'sink']);
  const output = linesOf(child);
  const first = await output.next(15_000);
  if (first === null) throw new Error(`the sink did not start: ${output.errors()}`);
  const { port } = JSON.parse(first) as { port: number };
  return {
    port,
    mustLive() {
      if (child.exitCode !== null || child.signalCode !== null)
        throw new Error(`the sink ended: ${output.errors()}`);
    },
  };
}

export interface LoadOptions {
  mode: LoadMode;
  access: Access;
  targetPort: number;
  connections: number;
  seconds: number;
}

/** A run from begin to end. Throws when flows broke, or when bytes were not the right ones. */
export async function runLoad(
  programs: Programs,
  generator: Generator,
  options: LoadOptions,
): Promise<LoadReport> {
  const load = startLoad(programs, generator, options);
  try {
    return judged(await load.report((options.seconds + SLACK_SECONDS + SILENCE_SECONDS) * 1000));
  } finally {
    await load.end();
  }
}

export interface Held {
  flows: number;
  /** Has every flow show that it is alive, and closes them. Throws when one is not. */
  finish(): Promise<LoadReport>;
  /** Ends the load without asking; harmless after `finish`. */
  abandon(): Promise<void>;
}

/** Opens `connections` flows and keeps them. Throws when not all could be opened. */
export async function holdLoad(
  programs: Programs,
  generator: Generator,
  options: Omit<LoadOptions, 'seconds'> & { openMs: number },
): Promise<Held> {
  const load = startLoad(programs, generator, { ...options, seconds: 3_000 });
  try {
    const line = await load.next(options.openMs);
    if (line === null)
      throw new Error(
        `${options.connections} flows could not be opened in ${options.openMs / 1000} s ${load.errors()}`.trim(),
      );
    const event = JSON.parse(line) as { event: string; flows: number; error: string };
    if (event.event !== 'held' || event.flows < options.connections)
      throw new Error(
        `only ${event.flows ?? 0} of ${options.connections} flows could be opened: ${event.error}`,
      );
    return {
      flows: event.flows,
      async finish() {
        try {
          load.proceed();
          return judged(await load.report(45_000));
        } finally {
          await load.end();
        }
      },
      abandon: load.end,
    };
  } catch (error) {
    await load.end();
    throw error;
  }
}

function judged(report: LoadReport): LoadReport {
  if (report.failed > 0 || report.unfinished > 0 || report.lost > 0)
    throw new Error(
      `${report.failed + report.unfinished} flows failed beside ${report.finished} that were well: ${report.error}`,
    );
  return report;
}

function startLoad(programs: Programs, generator: Generator, options: LoadOptions) {
  const { access } = options;
  const program = access.kind === 'shadowsocks' ? generator.shadowsocks : generator;
  const child = programs.spawn(
    program.command,
    [
      ...program.args,
      options.mode,
      ...['--kind', access.kind],
      ...['--proxy', `127.0.0.1:${access.port}`],
      ...['--target', `127.0.0.1:${options.targetPort}`],
      ...['--connections', String(options.connections)],
      ...['--seconds', String(options.seconds)],
      ...['--limit', String(options.seconds + SLACK_SECONDS)],
    ],
    {
      ...(access.user === undefined ? {} : { LOAD_USER: access.user, LOAD_PASSWORD: access.password ?? '' }),
      ...(access.key === undefined ? {} : { LOAD_KEY: access.key.toString('hex') }),
    },
  );
  const output = linesOf(child);
  return {
    ...output,
    proceed: () => void child.stdin?.end(),
    async report(deadlineMs: number): Promise<LoadReport> {
      const line = await output.next(deadlineMs);
      if (line === null)
        throw new Error(`the load generator ${await lastWords(child, deadlineMs)}: ${output.errors()}`);
      return JSON.parse(line) as LoadReport;
    },
    async end() {
      if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return;
      const exited = once(child, 'exit');
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** What became of a child that did not report: its exit is told a moment after its output ends. */
async function lastWords(child: ChildProcess, deadlineMs: number): Promise<string> {
  if (child.exitCode === null && child.signalCode === null)
    await Promise.race([once(child, 'exit'), new Promise(resolve => setTimeout(resolve, EXIT_MS).unref())]);
  if (child.signalCode !== null) return `was ended by ${child.signalCode} without a report`;
  if (child.exitCode !== null) return `ended with code ${child.exitCode} without a report`;
  return `said nothing within ${deadlineMs / 1000} s`;
}

/** Lines of a child's output, one at a time. */
function linesOf(child: ChildProcess) {
  const waiting: string[] = [];
  let wake: (() => void) | null = null;
  let ended = false;
  let errors = '';
  child.stderr?.on('data', chunk => {
    errors = (errors + chunk).slice(-2_000);
  });
  child.once('error', error => {
    errors += error.message;
    ended = true;
    wake?.();
  });
  if (child.stdout === null) throw new Error('the child has no standard output');
  const lines = createInterface(child.stdout);
  lines.on('line', line => {
    waiting.push(line);
    wake?.();
  });
  lines.on('close', () => {
    ended = true;
    wake?.();
  });
  return {
    errors: () => errors.trim(),
    /** The next line; null when the child has ended or `deadlineMs` has passed. */
    async next(deadlineMs: number): Promise<string | null> {
      if (waiting.length === 0 && !ended)
        await new Promise<void>(resolve => {
          const timer = setTimeout(resolve, deadlineMs);
          wake = () => {
            clearTimeout(timer);
            resolve();
          };
        });
      wake = null;
      return waiting.shift() ?? null;
    },
  };
}
