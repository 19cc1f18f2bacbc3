/**
 * `npm start`: virtual modems, cloud, agent, in that order, each a process of its own; then a table that says how to
 * use them; and on Ctrl-C back in the reverse order within five seconds. A second start on the same data directory
 * continues where the first was. What each program does is its own business.
 */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';
import { type AgentStatus, agentStatus } from './agent-client';
import { buildAll } from './build';
import { type DataDir, type Demo, openDataDir, readDemo } from './demo';
import { runOnce } from './once';
import { HELP, parseStartOptions, type StartOptions } from './options';
import { type Endpoints, logIn, type PortalClient } from './portal-client';
import { freePorts, mustBeFree } from './ports';
import type { Program } from './processes';
import { START_DEADLINE_MS, startAgent, startCloud, startSimulators } from './product';
import { type Progress, progress, table } from './progress';

const root = join(import.meta.dirname, '../..');
/** The agent gets 3 s for running flows and a little to commit and to tell the cloud. */
const AGENT_STOP_MS = 4_000;
const OTHERS_STOP_MS = 800;

/** Runs until Ctrl-C, a program's death, or, with `--once`, until the comparison is made. Sets the exit code. */
export async function start(args: string[]): Promise<void> {
  const out = progress();
  const programs: Program[] = [];
  let dataDir: DataDir | undefined;
  const interrupted = interruption();
  let exitCode = 1;
  try {
    const options = parseStartOptions(args, join(root, '.mastline'));
    if (options.help) {
      process.stdout.write(HELP);
      process.exit(0);
    }
    dataDir = openDataDir(options.dataDir);
    const running = bringUp({ options, dataDir, out, programs });
    // When Ctrl-C wins the race, the steps behind it fail as their programs go: nobody waits for them.
    running.catch(() => undefined);
    const up = await Promise.race([running, interrupted.then(() => undefined)]);
    if (up === undefined) exitCode = 130;
    else if (options.once) {
      const { text, agree } = await runOnce({ ...up, progress: out });
      console.log(`\n${text}\n\n${agree ? 'All counts agree.' : 'The counts do NOT agree.'}`);
      exitCode = agree ? 0 : 1;
    } else {
      console.log(welcome(up));
      const end = await Promise.race([interrupted, ...programs.map(program => program.died)]);
      exitCode = end === 'interrupted' ? 0 : 1;
      if (end !== 'interrupted') console.error(`\n✗ ${end}`);
    }
  } catch (error) {
    console.error(`\n✗ ${error instanceof CodedError ? error.userMessage : messageOf(error)}`);
    if (!(error instanceof CodedError) && error instanceof Error) console.error(error.stack);
  } finally {
    await bringDown(programs, out);
    dataDir?.release();
  }
  process.exit(exitCode);
}

interface Setting {
  options: StartOptions;
  dataDir: DataDir;
  out: Progress;
  programs: Program[];
}

interface Up {
  demo: Demo;
  demoFile: string;
  portalUrl: string;
  portal: PortalClient;
  endpoints: Endpoints;
  agentSocket: string;
  origin: { host: string; port: number };
  slots: AgentStatus['slots'];
}

async function bringUp(setting: Setting): Promise<Up> {
  const { options, dataDir, out, programs } = setting;
  const demoFile = dataDir.at('demo.json');
  const first = !existsSync(demoFile);
  const started = (program: Program) => void programs.push(program);
  const ports = await choosePorts(options, dataDir.at('ports.json'));
  await out.step('building agent, cloud, portal and simulators', build);

  const simulators = await out.step(
    'virtual modems',
    () => startSimulators({ dataDir, kind: options.kind, modems: options.modems, started }),
    made =>
      `${made.slots.length}, ${made.kind === 'namespaces' ? 'as network namespaces' : 'rootless'} (${made.why})`,
  );
  const origin = simulators.origin;

  const portalUrl = `http://127.0.0.1:${ports.portal}`;
  await out.step(
    'cloud',
    () =>
      startCloud({
        dataDir,
        port: ports.portal,
        endpointPorts: ports.endpoints,
        slots: simulators.slots,
        echoUrl: simulators.echoUrls[0],
        started,
      }),
    () => `database migrated${first ? ', demo organizations made' : ''}, portal on ${portalUrl}`,
  );
  const demo = readDemo(demoFile);

  const agent = await out.step(
    'agent',
    () =>
      startAgent({
        dataDir,
        cloudUrl: portalUrl,
        simulators,
        allowTargets: options.allowTargets,
        claimCode: demo.claimCode,
        started,
      }),
    () => (demo.claimCode === null ? 'running' : 'enrolled with a one-time claim code, running'),
  );
  const agentSocket = agent.statusSocket;

  const status = await out.step(
    'endpoints and exit addresses',
    () => whenServing(agentSocket, options.modems),
    now =>
      `${now.listeners.length} endpoints open, ${now.slots.filter(slot => slot.exitAddress).length} modems connected`,
  );
  const portal = await logIn(portalUrl, demo.login.email, demo.login.password);
  const endpoints = await portal.endpoints();
  return { demo, demoFile, portalUrl, portal, endpoints, agentSocket, origin, slots: status.slots };
}

const DEFAULT_PORT = 4080;
const Ports = z.array(z.int().min(1).max(65_535)).min(3);

/** Only what changed is built; without rights to write that is no harm until something has changed. */
async function build(): Promise<void> {
  try {
    await buildAll();
  } catch (error) {
    if (!/EACCES|EROFS/.test(`${codeOf(error)} ${messageOf(error)}`)) throw error;
    throw new CodedError('start/build-rights', messageOf(error), {
      userMessage: `The sources have changed since they were last built, and you may not write to ${root}.\nRun once as its owner, or clone the repository into a folder of your own.`,
      cause: error,
    });
  }
}

/** The portal's port, then two for each modem: those of the last start unless others are wished for. */
async function choosePorts(options: StartOptions, file: string) {
  const count = 1 + 2 * options.modems;
  const last = existsSync(file)
    ? parseOrExplain(Ports, JSON.parse(readFileSync(file, 'utf8')), file, 'start/ports')
    : [];
  const from = (port: number) => Array.from({ length: count }, (_, index) => port + index);
  let ports: number[];
  if (options.port === 0) ports = await freePorts(count);
  else if (options.port !== undefined) ports = from(options.port);
  else ports = last.length === count ? last : from(DEFAULT_PORT);
  for (const [index, port] of ports.entries())
    await mustBeFree(
      port,
      index === 0 ? 'the portal' : 'an endpoint',
      `Stop that program, or choose another range of ${count} ports: npm start -- --port N`,
    );
  writeFileSync(file, JSON.stringify(ports), { mode: 0o600 });
  const [portal, ...endpoints] = ports;
  if (portal === undefined) throw new CodedError('start/port', 'no free port');
  return { portal, endpoints };
}

/** Waits until every endpoint listens and every modem has an exit address, or says what stands in the way. */
async function whenServing(agentSocket: string, modems: number): Promise<AgentStatus> {
  const wanted = 2 * modems;
  // Those that were added by hand may be slow on purpose.
  const own = (status: AgentStatus) => status.slots.filter(slot => slot.slot <= modems);
  const deadline = performance.now() + START_DEADLINE_MS;
  for (;;) {
    const status = await agentStatus(agentSocket);
    const broken = status.listeners.find(listener => listener.problem !== null);
    if (broken)
      throw new CodedError('start/endpoint', String(broken.problem?.message), {
        userMessage: `An endpoint cannot be opened: ${broken.problem?.message}`,
      });
    const listening = status.listeners.filter(listener => listener.listening).length;
    if (listening >= wanted && own(status).every(slot => slot.exitAddress !== null)) return status;
    if (performance.now() > deadline) {
      const missing = own(status).filter(slot => slot.exitAddress === null);
      throw new CodedError('start/serving', 'not serving in time', {
        userMessage:
          missing.length > 0
            ? `No exit address: ${missing.map(slot => `modem ${slot.slot} is ${slot.state} (${slot.reason || 'no reason given'})`).join('; ')}.`
            : `Only ${listening} of ${wanted} endpoints are open after ${START_DEADLINE_MS / 1000} s.`,
      });
    }
    await wait(100);
  }
}

function welcome(up: Up): string {
  const credential = up.demo.credentials[0];
  const rows = up.endpoints.map(endpoint => {
    const exit =
      up.slots.find(slot => endpoint.slots.some(one => one.slot === slot.slot))?.exitAddress ?? '-';
    const scheme = endpoint.protocols[0] === 'socks5' ? 'socks5h' : 'http';
    const proxy = `${scheme}://${credential?.username}:${credential?.secret}@${endpoint.host}:${endpoint.port}`;
    return [endpoint.name, exit, `curl -x ${proxy} http://${up.origin.host}:${up.origin.port}/ip`];
  });
  return [
    '',
    `Portal    ${up.portalUrl}`,
    `Log in    ${up.demo.login.email}   password ${up.demo.login.password}   (kept in ${up.demoFile})`,
    '',
    table([['endpoint', 'exit address', 'try it'], ...rows]),
    '',
    'Ctrl-C ends everything; npm start continues where it was.',
  ].join('\n');
}

/** Agent first, so that its last usage still finds the cloud. */
async function bringDown(programs: Program[], out: Progress): Promise<void> {
  const order = ['agent', 'cloud', 'simulators'];
  if (programs.length === 0) return;
  const killed: string[] = [];
  for (const name of order) {
    const program = programs.find(one => one.name === name);
    if (program && !(await program.stop(name === 'agent' ? AGENT_STOP_MS : OTHERS_STOP_MS)))
      killed.push(name);
  }
  out.say(killed.length === 0 ? 'Stopped.' : `Stopped; had to be killed: ${killed.join(', ')}.`);
}

/** Resolves at the first SIGINT, SIGTERM or SIGHUP; a second one ends this process, and with it every child, at once. */
function interruption(): Promise<'interrupted'> {
  return new Promise(resolve => {
    let times = 0;
    for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP'] as const)
      process.on(signal, () => {
        times += 1;
        if (times === 1) {
          process.stderr.write('\nStopping: running flows get 3 seconds (again to end at once) …\n');
          resolve('interrupted');
        } else process.exit(130);
      });
  });
}
