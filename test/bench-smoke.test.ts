/**
 * The proxy bench itself, held to what it says: options, /proc, medians, ratios, verdicts, the plan, and one real run
 * of two seconds through the agent. What the figures are is for `npm run bench:proxy`, on a machine that is quiet.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Contender } from './bench/contender';
import { buildGenerator, holdLoad, runLoad, startSink } from './bench/load-generator';
import type { Protocol, ProxyName, Run } from './bench/measures';
import { type BenchOptions, parseOptions } from './bench/options';
import { makeWorkplace } from './bench/places';
import { holding, planSteps } from './bench/plan';
import { cpuSecondsOf, parseSmapsRollup, parseStat, residentBytesOf } from './bench/process-tree';
import { Programs, reachableFileLimit } from './bench/programs';
import { sharesOf } from './bench/scenarios';
import { bestPeer, median, medianOf, pairedRatio, percentileOf } from './bench/statistics';
import { tableLines } from './bench/table';
import { verdictsOf } from './bench/verdicts';
import { suite } from './support/suite';
import { tempDir } from './support/temp';

const test = suite('proxy bench');

const run = (proxy: ProxyName, repeat: number, figures: Partial<Run> = {}): Run => ({
  proxy,
  protocol: 'socks5',
  scenario: 'download',
  repeat,
  threads: proxy === 'mastline' ? 1 : null,
  seconds: 1,
  flows: 4,
  ...figures,
});
const row = (proxy: ProxyName) => {
  const { protocol, scenario, threads } = run(proxy, 1);
  return { proxy, protocol, scenario, threads };
};
const cpu = (proxy: ProxyName, repeat: number, cpuSecondsPerGB: number) =>
  run(proxy, repeat, { cpuSecondsPerGB });

const options = (args: string[]): BenchOptions => {
  const parsed = parseOptions(args);
  if (parsed === 'help') throw new Error('no help was asked for');
  return parsed;
};

test('options: --only names scenarios, proxies and protocols; what is not named of a kind is all of it', () => {
  const some = options(['--only', 'echo,mastline,v2ray']);
  assert.deepEqual(some.scenarios, ['echo']);
  assert.deepEqual(some.proxies, ['mastline', 'v2ray']);
  assert.deepEqual(some.protocols, ['socks5', 'http', 'shadowsocks']);
});

test('options: what is wrong is named', () => {
  for (const [args, part] of [
    [['--only', 'ecco'], 'does not know "ecco"'],
    [['--threads', '0'], '--threads must be a whole number from 1 to 64'],
    [['--repeats', 'many'], '--repeats must be'],
    [['--fast'], "Unknown option '--fast'"],
  ] as const)
    assert.throws(
      () => options([...args]),
      (error: Error) => error.message.includes(part),
      part,
    );
});

test('a line of /proc/PID/stat is read though the name in it holds a parenthesis and spaces', () => {
  const rest = '7 1 1 0 -1 4194560 1 2 3 4 100 50 25 5 20 0 1 0 12345';
  assert.deepEqual(parseStat(`42 (a) b (c) S ${rest}`), { pid: 42, parent: 7, cpuSeconds: 1.8 });
  assert.throws(() => parseStat('nothing of the kind'), /not a line/);
});

test('smaps_rollup gives private and shared bytes, and a missing field is an error', () => {
  const text = 'x\nShared_Clean:  8 kB\nShared_Dirty:  2 kB\nPrivate_Clean:  1 kB\nPrivate_Dirty:  4 kB\n';
  assert.deepEqual(parseSmapsRollup(text), { privateBytes: 5 * 1024, sharedBytes: 10 * 1024 });
  assert.throws(() => parseSmapsRollup(text.replace('Private_Dirty', 'Other')), /no Private_Dirty/);
});

test('CPU and memory of a process are those of its children too', async () => {
  const script =
    'node -e "const b=Buffer.alloc(5e7,1);let n=0;const e=Date.now()+300;while(Date.now()<e)n+=b[n%5e7];console.log(1);setInterval(()=>n,1e3)" & wait';
  const child = spawn('sh', ['-c', script], { stdio: ['ignore', 'pipe', 'inherit'], detached: true });
  const pid = child.pid ?? -1;
  try {
    await once(child.stdout, 'data');
    assert.ok(cpuSecondsOf(pid) > 0.05, `${cpuSecondsOf(pid)} s`);
    assert.ok(residentBytesOf(pid) > 5e7, `${residentBytesOf(pid)} bytes`);
  } finally {
    const closed = once(child, 'close');
    process.kill(-pid, 'SIGKILL');
    await closed;
  }
  assert.throws(() => cpuSecondsOf(pid), /has ended/);
});

test('median and percentile', () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1, 2, 3]), 2.5);
  assert.ok(Number.isNaN(median([])));
  const hundred = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.equal(percentileOf(hundred, 0.99), 99);
  assert.equal(percentileOf(hundred, 0.5), 50);
  assert.equal(percentileOf([], 0.5), 0);
});

test('a ratio is taken within a repeat: a machine that slows down for all changes nothing', () => {
  const runs = [1, 2, 3].flatMap(repeat => [
    cpu('mastline', repeat, 0.5 * 10 ** repeat),
    cpu('danted', repeat, 10 ** repeat),
  ]);
  const paired = pairedRatio(runs, { row: row('mastline'), other: row('danted') }, 'cpuSecondsPerGB');
  assert.deepEqual(paired, { ratio: 0.5, pairs: 3 });
  assert.equal(medianOf(runs, row('danted'), 'cpuSecondsPerGB'), 100);
  assert.equal(
    pairedRatio(
      [cpu('mastline', 1, 1), cpu('danted', 2, 1)],
      { row: row('mastline'), other: row('danted') },
      'cpuSecondsPerGB',
    ),
    null,
  );
});

test('the best peer speaks the same protocol or none, and is never the agent', () => {
  const other: Protocol = 'http';
  const runs = [
    cpu('mastline', 1, 0.1),
    cpu('danted', 1, 0.7),
    { ...cpu('tinyproxy', 1, 0.2), protocol: other },
    { ...cpu('haproxy', 1, 0.6), protocol: other },
  ];
  assert.equal(bestPeer(runs, row('mastline'), 'cpuSecondsPerGB')?.proxy, 'haproxy');
  assert.equal(bestPeer(runs.slice(0, 3), row('mastline'), 'cpuSecondsPerGB')?.proxy, 'danted');
});

test('a bare relay is no measure for who seals each byte', () => {
  const protocol: Protocol = 'shadowsocks';
  const runs = [
    { ...cpu('mastline', 1, 0.1), protocol },
    { ...cpu('ss-libev', 1, 0.7), protocol },
    { ...cpu('haproxy', 1, 0.2), protocol: 'none' as Protocol },
  ];
  assert.equal(bestPeer(runs, { ...row('mastline'), protocol }, 'cpuSecondsPerGB')?.proxy, 'ss-libev');
});

test('where no peer speaks HTTP, the best of those with SOCKS5 stands beside it; for Shadowsocks nobody else does', () => {
  const runs = [cpu('mastline', 1, 0.1), cpu('danted', 1, 0.7), cpu('v2ray', 1, 0.6)];
  const asked = (protocol: Protocol) =>
    bestPeer(runs, { ...row('mastline'), protocol }, 'cpuSecondsPerGB')?.proxy ?? null;
  assert.equal(asked('http'), 'v2ray');
  assert.equal(asked('shadowsocks'), null);
  const own = { ...cpu('tinyproxy', 1, 0.9), protocol: 'http' as const };
  assert.equal(
    bestPeer([...runs, own], { ...row('mastline'), protocol: 'http' }, 'cpuSecondsPerGB')?.proxy,
    'tinyproxy',
  );
});

test('verdicts: aim, must, neither, and unknown when the peer was not measured', () => {
  const reached = (value: number) =>
    verdictsOf([cpu('mastline', 1, value), cpu('danted', 1, 1)]).map(one => one.reached);
  assert.deepEqual(reached(0.5), ['aim']);
  assert.deepEqual(reached(0.51), ['must']);
  assert.deepEqual(reached(0.66), ['neither']);
  assert.deepEqual(
    verdictsOf([cpu('mastline', 1, 0.1)]).map(one => one.reached),
    ['unknown'],
  );
});

test('verdicts: HTTP is held against danted, which speaks SOCKS5 only', () => {
  const [verdict] = verdictsOf([{ ...cpu('mastline', 1, 0.6), protocol: 'http' }, cpu('danted', 1, 1)]);
  assert.equal(verdict?.value, 0.6);
});

test('verdicts: fewer idle flows than asked for do not pass, and a short hold says nothing', () => {
  const idle = (flows: number, heldSeconds: number) =>
    verdictsOf([
      run('mastline', 1, { scenario: 'idle', rssBytesPerIdleFlow: 5_000, flows, heldSeconds }),
    ]).map(one => `${one.figure} ${one.reached}`);
  assert.deepEqual(idle(9_900, 60), ['rssBytesPerIdleFlow aim', 'flows held 60 s neither']);
  assert.deepEqual(idle(10_000, 60), ['rssBytesPerIdleFlow aim', 'flows held 60 s aim']);
  assert.deepEqual(idle(10_000, 3), ['rssBytesPerIdleFlow aim']);
});

test('verdicts: two threads need an even share, whatever they cost', () => {
  const connect = (threads: number, threadShares?: number[]) => ({
    ...run('mastline', 1, {
      scenario: 'connect',
      cpuMicrosPerConnection: 100,
      ...(threadShares ? { threadShares } : {}),
    }),
    threads,
  });
  const share = (shares: number[]) =>
    verdictsOf([connect(1), connect(2, shares)]).find(one => one.figure.includes('share'))?.reached;
  assert.equal(share([0.55, 0.45]), 'aim');
  assert.equal(share([0.7, 0.3]), 'neither');
});

test('shares are those of the busiest threads, of what they did together', () => {
  const before = new Map([
    [1, 5],
    [2, 1],
    [3, 1],
  ]);
  const after = new Map([
    [1, 5.1],
    [2, 4],
    [3, 2],
    [4, 0],
  ]);
  assert.deepEqual(sharesOf(before, after, 2), [0.75, 0.25]);
});

const contender = (name: ProxyName, protocols: Protocol[], threads: number | null = null): Contender => ({
  name,
  version: '1',
  protocols,
  threads,
  mostFlows: name === 'danted' ? { flows: 1_000, because: 'it forks' } : null,
  note: '',
  program: () => ({ command: 'true', args: [], ports: [] }),
  access: (_protocol, port) => ({ kind: 'direct', port }),
});

test('every round has every proxy once a scenario, and begins with another one', () => {
  const steps = planSteps(
    [contender('mastline', ['socks5', 'http'], 1), contender('danted', ['socks5'])],
    options(['--only', 'echo']),
    Number.POSITIVE_INFINITY,
  );
  assert.equal(steps.length, 15);
  const rounds = [1, 2, 3, 4, 5].map(repeat =>
    steps.filter(step => step.repeat === repeat).map(step => `${step.contender.name} ${step.protocol}`),
  );
  for (const names of rounds) assert.equal(new Set(names).size, 3);
  assert.deepEqual(
    rounds.slice(0, 3).map(names => names[0]),
    ['mastline socks5', 'mastline http', 'danted socks5'],
  );
});

test('with more threads one thread is measured as well, in connect only', () => {
  const agents = [contender('mastline', ['socks5'], 1), contender('mastline', ['socks5'], 2)];
  const steps = planSteps(agents, options(['--threads', '2', '--repeats', '1', '--only', 'connect,echo']), 0);
  assert.deepEqual(steps.map(step => `${step.scenario} ${step.contender.threads}`).sort(), [
    'connect 1',
    'connect 2',
    'echo 2',
  ]);
});

test('as many flows are held as files allow, and it says why there are fewer', () => {
  const step = { scenario: 'idle', repeat: 1, protocol: 'socks5' } as const;
  const ours = { ...step, contender: contender('mastline', ['socks5'], 1) };
  assert.deepEqual(holding(ours, { quick: false, fileLimit: 65_536 }), {
    flows: 10_000,
    because: null,
    holdSeconds: 60,
  });
  const few = holding(ours, { quick: false, fileLimit: 4_096 });
  assert.equal(few.flows, 1_998);
  assert.match(few.because ?? '', /file limit of 4096/);
  const danted = holding(
    { ...step, contender: contender('danted', ['socks5']) },
    { quick: false, fileLimit: 65_536 },
  );
  assert.deepEqual(danted, { flows: 1_000, because: 'it forks', holdSeconds: 3 });
});

test('the table names the verdict and ratios, and keeps quiet where there is nothing to compare', () => {
  const runs = [cpu('mastline', 1, 0.4), cpu('danted', 1, 1)];
  const lines = tableLines({ runs, failures: [] }, verdictsOf(runs));
  const ours = lines.find(line => line.includes('mastline')) ?? '';
  assert.match(ours, /0\.400 .* 0\.40 .*AIM 0\.40 of danted/);
});

test('the table says how many runs of a row have no figure', () => {
  const runs = [cpu('mastline', 1, 0.4), cpu('mastline', 2, 0.4)];
  const failures = [{ ...row('mastline'), repeat: 3, reason: 'cut' }];
  const cells = (tableLines({ runs, failures }, []).find(line => line.includes('mastline')) ?? '').split(
    / {2,}/,
  );
  assert.ok(cells.includes('2 of 3'), cells.join('|'));
});

test('a load generator that ends without a report is named, with how it ended and what it said', async () => {
  const workplace = makeWorkplace();
  const programs = new Programs(reachableFileLimit(), workplace.root);
  const ends = (script: string) =>
    runLoad(
      programs,
      { ...shell(script), shadowsocks: shell(script), note: '' },
      { mode: 'echo', access: { kind: 'direct', port: 1 }, targetPort: 1, connections: 1, seconds: 0 },
    );
  const shell = (script: string) => ({ command: 'sh', args: ['-c', script] });
  try {
    await assert.rejects(ends('echo no room >&2; exit 3'), /ended with code 3 without a report: no room/);
    await assert.rejects(ends('kill -9 $$'), /was ended by SIGKILL without a report/);
  } finally {
    await programs.close();
    workplace.remove();
  }
});

for (const [language, compilers] of [
  ['C', undefined],
  ['Node', []],
] as const)
  test(
    `the load generator in ${language} carries in every mode, and names what is wrong`,
    async () => {
      const workplace = makeWorkplace();
      const programs = new Programs(reachableFileLimit(), workplace.root);
      try {
        const generator = buildGenerator(compilers);
        const sink = await startSink(programs, generator);
        const at = (port: number) => ({
          access: { kind: 'direct', port } as const,
          targetPort: sink.port,
          connections: 2,
        });
        for (const mode of ['download', 'upload', 'duplex'] as const) {
          const { bytes, finished } = await runLoad(programs, generator, {
            mode,
            seconds: 0,
            ...at(sink.port),
          });
          assert.ok(bytes > 0 && finished === 2, `${mode}: ${bytes} bytes in ${finished} flows`);
        }
        for (const mode of ['connect', 'echo'] as const) {
          const report = await runLoad(programs, generator, { mode, seconds: 0, ...at(sink.port) });
          assert.ok(
            report.measured >= 2 && report.p99Micros >= report.p50Micros && report.p50Micros > 0,
            mode,
          );
        }
        for (const mode of ['hold', 'stall'] as const) {
          const held = await holdLoad(programs, generator, { mode, openMs: 20_000, ...at(sink.port) });
          assert.equal(held.flows, 2);
          assert.equal((await held.finish()).finished, 2);
        }
        // Port 1 is nobody's.
        const nobody = runLoad(programs, generator, { mode: 'echo', seconds: 0, ...at(1) });
        await assert.rejects(nobody, /2 flows failed .*refused/i);
      } finally {
        await programs.close();
        workplace.remove();
      }
    },
    { deadlineMs: 120_000 },
  );

test('what was started ends, and its folder goes, when the bench is killed outright', async () => {
  const { root } = makeWorkplace();
  const programs = pathToFileURL(join(import.meta.dirname, 'bench/programs.ts')).href;
  const script = `import('${programs}').then(({ Programs }) => {
    const child = new Programs(256, '${root}').spawn('sh', ['-c', 'sleep 1000 & wait']);
    child.once('spawn', () => console.log(child.pid));
  })`;
  const bench = spawn(process.execPath, ['--import', 'tsx', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const [line] = await once(bench.stdout, 'data');
  const group = Number(line);
  const closed = once(bench, 'close');
  bench.kill('SIGKILL');
  await closed;
  const lives = () => {
    try {
      return process.kill(-group, 0);
    } catch {
      // ESRCH: the whole group is gone.
      return false;
    }
  };
  while (lives() || existsSync(root)) await new Promise(resolve => setTimeout(resolve, 20));
});

test(
  'a run of two seconds through the agent writes what is promised and leaves nothing behind',
  async () => {
    const dir = await tempDir('bench');
    const file = join(dir.path, 'bench.json');
    const args = ['--only', 'download,mastline,socks5', '--repeats', '1', '--no-install', '--json', file];
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', join(import.meta.dirname, 'bench/proxy.ts'), ...args],
      {
        stdio: ['ignore', 'pipe', 'pipe'],
      },
    );
    let output = '';
    for (const stream of [child.stdout, child.stderr])
      stream.on('data', chunk => {
        output += chunk;
      });
    const [code] = await once(child, 'close');
    assert.equal(code, 0, output);
    const { runs, failures } = JSON.parse(readFileSync(file, 'utf8')) as { runs: Run[]; failures: unknown[] };
    assert.deepEqual(failures, []);
    assert.equal(runs.length, 1);
    const [one] = runs;
    assert.deepEqual(
      [one?.proxy, one?.protocol, one?.scenario, one?.repeat],
      ['mastline', 'socks5', 'download', 1],
    );
    assert.ok((one?.cpuSecondsPerGB ?? 0) > 0 && (one?.megabytesPerSecond ?? 0) > 0, JSON.stringify(one));
    assert.ok((one?.seconds ?? 0) >= 2, JSON.stringify(one));
    assert.match(output, /download socks5, cpuSecondsPerGB: nothing to compare with: danted/);
    await dir.remove();
  },
  { deadlineMs: 120_000 },
);

test.run();
