/**
 * `npm run profile:proxy`: a CPU profile of the agent alone while it carries load, and what to look for in it. The
 * load is the bench's (load-generator.ts), the agent is the bench's (mastline.ts) with V8's profiler on; figures
 * belong to bench:proxy, since the profiler itself costs.
 */
import { randomBytes } from 'node:crypto';
import { mkdirSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { AGENT_VERSION } from '@mastline/agent/version';
import { buildAgent } from '../../installer/local/build';
import { buildGenerator, runLoad, startSink } from './load-generator';
import { mastline } from './mastline';
import { makeWorkplace, portsFor } from './places';
import { Programs, reachableFileLimit } from './programs';

const HELP = `Writes a CPU profile of the agent under load.

  npm run profile:proxy -- [--scenario connect|download|upload|duplex|echo] [--protocol socks5|http|shadowsocks] [--seconds N] [--out DIR]

Defaults: connect, socks5, 5 seconds, test/dist/profiles.
`;
const SCENARIOS = ['connect', 'download', 'upload', 'duplex', 'echo'] as const;
const PROTOCOLS = ['socks5', 'http', 'shadowsocks'] as const;
const CONNECTIONS = { connect: 16, download: 4, upload: 4, duplex: 4, echo: 4 } as const;
const MAX_SECONDS = 120;
/** Functions that are shown. */
const TOP = 25;

interface Profile {
  nodes: { id: number; callFrame: { functionName: string; url: string; lineNumber: number } }[];
  samples: number[];
  timeDeltas: number[];
}

async function profileProxy(args: string[]): Promise<void> {
  const { values } = parseArgs({
    args,
    options: {
      scenario: { type: 'string', default: 'connect' },
      protocol: { type: 'string', default: 'socks5' },
      seconds: { type: 'string', default: '5' },
      out: { type: 'string', default: 'test/dist/profiles' },
      help: { type: 'boolean', default: false },
    },
  });
  if (values.help) return void process.stdout.write(HELP);
  const mode = oneOf('--scenario', values.scenario, SCENARIOS);
  const protocol = oneOf('--protocol', values.protocol, PROTOCOLS);
  const seconds = Number(values.seconds);
  if (!(seconds >= 1 && seconds <= MAX_SECONDS))
    throw new Error(`--seconds must be from 1 to ${MAX_SECONDS}, not "${values.seconds}"`);
  const out = resolve(values.out);
  mkdirSync(out, { recursive: true });

  const workplace = makeWorkplace();
  const programs = new Programs(reachableFileLimit(), workplace.root);
  try {
    const generator = buildGenerator();
    await buildAgent();
    const sink = await startSink(programs, generator);
    const login = { user: 'profile', password: randomBytes(12).toString('hex') };
    const agent = mastline(1, { login, version: AGENT_VERSION, protocols: [protocol] });
    const ports = await portsFor(agent);
    const program = agent.program({ dir: workplace.folder('agent'), ports, targetPort: sink.port });
    const profiles = workplace.folder('profiles');
    const running = await programs.start({
      ...program,
      args: ['--cpu-prof', `--cpu-prof-dir=${profiles}`, ...program.args],
    });
    const access = agent.access(protocol, ports.get(protocol) ?? 0);
    const report = await runLoad(programs, generator, {
      mode,
      access,
      targetPort: sink.port,
      connections: CONNECTIONS[mode],
      seconds,
    });
    // Profiles are written when the agent ends by itself.
    await running.stop();
    if (report.finished === 0 && report.measured === 0)
      throw new Error(`nothing was carried: ${report.error}`);
    console.log(`${mode} over ${protocol}: ${report.finished} finished, ${report.failed} failed`);
    const stamp = new Date().toISOString().replace(/[:.]/g, '-');
    for (const name of readdirSync(profiles)) {
      const profile = JSON.parse(readFileSync(join(profiles, name), 'utf8')) as Profile;
      // One for each thread: --cpu-prof numbers them, the main thread is 0.
      const thread = /\.(\d+)\.\d+\.cpuprofile$/.exec(name)?.[1] ?? name;
      const to = join(out, `${stamp}-${mode}-${protocol}-thread${thread}.cpuprofile`);
      renameSync(join(profiles, name), to);
      console.log(`\n${to}`);
      for (const line of topOf(profile)) console.log(line);
    }
    console.log(`
Open a file in Chromium (chrome://inspect, "Open dedicated DevTools for Node", Performance, Load) or in VS Code.
  writeBuffer, internalConnect, connect, close  are system calls: on loopback they hold the kernel's work for both ends
  (garbage collector)                            grows with what is allocated for each connection or chunk
  (program)                                      is native code outside JavaScript, libuv's polling included
  thread 0 carries bytes; the highest number is the spool, whose time in sqliteTransaction is mostly waiting for the disk`);
  } finally {
    await programs.close();
    workplace.remove();
  }
}

function oneOf<T extends string>(name: string, value: string, known: readonly T[]): T {
  const found = known.find(one => one === value);
  if (found) return found;
  throw new Error(`${name} must be one of ${known.join(', ')}, not "${value}"`);
}

/** The functions with the most time of their own, in percent of the time that was not idle. */
function topOf(profile: Profile): string[] {
  const frames = new Map(profile.nodes.map(node => [node.id, node.callFrame]));
  const own = new Map<string, number>();
  let busy = 0;
  profile.samples.forEach((id, at) => {
    const frame = frames.get(id);
    if (!frame || frame.functionName === '(idle)') return;
    const micros = profile.timeDeltas[at] ?? 0;
    const place =
      frame.url === '' ? '' : ` ${frame.url.split('/').slice(-2).join('/')}:${frame.lineNumber + 1}`;
    const name = `${frame.functionName || '(anonymous)'}${place}`;
    busy += micros;
    own.set(name, (own.get(name) ?? 0) + micros);
  });
  return [...own]
    .sort((a, b) => b[1] - a[1])
    .slice(0, TOP)
    .map(([name, micros]) => `${((100 * micros) / Math.max(1, busy)).toFixed(1).padStart(6)} %  ${name}`);
}

try {
  await profileProxy(process.argv.slice(2));
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
  process.exitCode = 1;
}
