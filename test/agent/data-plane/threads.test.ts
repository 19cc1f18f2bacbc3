import { spawn } from 'node:child_process';
import dgram from 'node:dgram';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { connect, type Socket } from 'node:net';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { Worker } from 'node:worker_threads';
import { threadCount } from '@mastline/agent/data-plane/thread-count';
import { socks5Datagram } from '@mastline/shared/protocols/socks5-udp';
import * as assert from 'uvu/assert';
import { agentBuilt } from '../../support/build-agent';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { ALICE, openTunnel, pipelinedSocks5, tcp } from './clients';
import { endpoint, memorySink, planFor, readAll, readExactly, startOrigin, startRig } from './rig';

const test = suite('threads of the data plane');
test.before(agentBuilt);

/** As many threads, this one among them or `apart`. */
const LAYOUTS = [
  { threads: 3, apart: false },
  { threads: 1, apart: true },
  { threads: 2, apart: true },
];
const named = ({ threads, apart }: (typeof LAYOUTS)[number]) =>
  `${threads} thread${threads === 1 ? '' : 's'}${apart ? ' apart' : ''}`;

/** Connections that each thread has taken since the start. */
const acceptedOf = async (rig: Awaited<ReturnType<typeof startRig>>) =>
  (await rig.plane.metrics()).map(lane => lane.accepted);

/** One connection that sends a byte through and gets it back. */
async function echoOnce(port: number, originPort: number): Promise<void> {
  const socket = await openTunnel(port, originPort);
  socket.write('x');
  assert.is((await readExactly(socket, 1)).toString(), 'x');
  socket.end();
  await readAll(socket);
}

/** Connects and is closed before it could say anything. */
async function turnedAway(port: number): Promise<void> {
  const socket = connect({ port, host: '127.0.0.1' });
  // A reset may come before "connect" is told of.
  socket.on('error', () => undefined);
  await new Promise(resolve => socket.once('close', resolve));
}

/** Sockets of this process that listen on `port`, by inode: /proc is what the kernel thinks. */
function listeningDescriptors(port: number): number {
  const hex = port.toString(16).toUpperCase().padStart(4, '0');
  const inodes = readFileSync('/proc/self/net/tcp', 'utf8')
    .split('\n')
    .map(line => line.trim().split(/\s+/))
    .filter(fields => fields[1]?.endsWith(`:${hex}`) && fields[3] === '0A')
    .map(fields => fields[9]);
  return readdirSync('/proc/self/fd').filter(fd => {
    try {
      return inodes.some(inode => readlinkSync(`/proc/self/fd/${fd}`) === `socket:[${inode}]`);
    } catch {
      return false;
    }
  }).length;
}

test(
  'two threads share the connections of one port, each 40 to 60 %',
  async () => {
    // In a process of its own: this one is busy being all the clients, and would be a lane that is never free.
    const dir = await tempDir('threads');
    const origin = await startOrigin(socket => socket.pipe(socket));
    const [port, metricsPort] = [await freePort(), await freePort()];
    const file = join(dir.path, 'agent.json');
    await writeFile(
      file,
      JSON.stringify({
        listeners: [{ name: 'main', protocols: ['socks5'], port }],
        credentials: [ALICE],
        allowTargets: [`127.0.0.1:${origin.port}`],
        metrics: { port: metricsPort },
        threads: 2,
      }),
    );
    const program = join(import.meta.dirname, '../../../agent/dist/main.js');
    const agent = spawn(process.execPath, [program, 'run', '--config', file], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(agent, 'exit');
    try {
      await once(agent.stdout, 'data');
      agent.stdout.resume();
      const total = 1_000;
      const accepted = async () => {
        const page = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
        return [...page.matchAll(/^mastline_accepted_total\{thread="\d"\} (\d+)$/gm)].map(match =>
          Number(match[1]),
        );
      };
      const round = async () => {
        const before = await accepted();
        let left = total;
        const client = async () => {
          while (left > 0) {
            left -= 1;
            await echoOnce(port, origin.port);
          }
        };
        await Promise.all(Array.from({ length: 20 }, client));
        const shares = (await accepted()).map((one, at) => one - (before[at] ?? 0));
        assert.is(shares.length, 2);
        assert.is(
          shares.reduce((sum, one) => sum + one, 0),
          total,
        );
        return shares;
      };
      // The kernel wakes whoever is free: while other programs keep one of the threads from its core, the other serves.
      // Threads that do not share would not share in any round.
      const rounds: number[][] = [];
      const isEven = (shares: number[]) => shares.every(one => one >= total * 0.4 && one <= total * 0.6);
      while (rounds.length < 5 && !rounds.some(isEven)) rounds.push(await round());
      assert.ok(rounds.some(isEven), `shares ${rounds.join(' | ')}`);
      agent.kill('SIGTERM');
      assert.equal(await exited, [0, null]);
    } finally {
      agent.kill('SIGKILL');
    }
    await origin.close();
    await dir.remove();
  },
  { deadlineMs: 60_000 },
);

for (const layout of LAYOUTS)
  test(`${named(layout)}: every byte and flow is counted once`, async () => {
    const origin = await startOrigin(socket => socket.pipe(socket));
    const sink = memorySink();
    const rig = await startRig({ sink, ...layout });
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        for (let turn = 0; turn < 20; turn += 1) await echoOnce(rig.port, origin.port);
      }),
    );
    assert.is(
      (await acceptedOf(rig)).reduce((sum, one) => sum + one, 0),
      200,
    );
    await rig.close();
    assert.equal(sink.total(), { up: 200, down: 200, flows: 200 });
    await origin.close();
  });

for (const layout of LAYOUTS)
  test(`${named(layout)}: a limit on connections is exact`, async () => {
    const origin = await startOrigin(socket => socket.pipe(socket));
    const rig = await startRig({ ...layout, limits: { connections: 10, openHandshakes: 8 } });
    const held: Socket[] = [];
    for (let at = 0; at < 10; at += 1) held.push(await openTunnel(rig.port, origin.port));
    for (let at = 0; at < 20; at += 1) {
      await turnedAway(rig.port);
    }
    const lanes = await rig.plane.metrics();
    assert.is(
      lanes.reduce((sum, lane) => sum + lane.connections, 0),
      10,
    );
    assert.is(
      lanes.reduce((sum, lane) => sum + (lane.refusals['too-many-flows'] ?? 0), 0),
      20,
    );
    // A place that is given back may be taken in any thread.
    held.pop()?.resetAndDestroy();
    while ((await rig.plane.figures())[0]?.openFlows !== 9) await new Promise(setImmediate);
    held.push(await openTunnel(rig.port, origin.port));
    for (const socket of held) socket.destroy();
    await rig.close();
    await origin.close();
  });

test('open handshakes are bounded over all threads, and each place comes back', async () => {
  const rig = await startRig({ threads: 2, limits: { openHandshakes: 4 } });
  const silent = await Promise.all(Array.from({ length: 4 }, () => tcp(rig.port)));
  const open = async () => (await rig.plane.metrics()).reduce((sum, lane) => sum + lane.handshakes, 0);
  while ((await open()) !== 4) await new Promise(setImmediate);
  // A fifth takes the place of one in the thread that it came to, or is turned away where that has none.
  silent.push(connect({ port: rig.port, host: '127.0.0.1' }).on('error', () => undefined));
  await Promise.race(silent.map(socket => new Promise(gone => socket.resume().once('close', gone))));
  assert.is(await open(), 4);
  for (const socket of silent) socket.resetAndDestroy();
  while ((await open()) !== 0) await new Promise(setImmediate);
  await rig.close();
});

for (const layout of LAYOUTS)
  test(`${named(layout)}: the window of a slot is one, and a stalled disk stops all flows at the same sum`, async () => {
    const windowBytes = 64 * 1024;
    const origin = await startOrigin(socket => {
      socket.on('error', () => undefined);
      socket.write(Buffer.alloc(256 * 1024));
    });
    const sink = memorySink();
    let release = () => {};
    const disk = new Promise<void>(resolve => {
      release = resolve;
    });
    const commit = sink.commit.bind(sink);
    sink.commit = async deltas => {
      await disk;
      return commit(deltas);
    };
    const rig = await startRig({ sink, ...layout, limits: { windowBytes, commitBytes: windowBytes / 2 } });
    const sockets = await Promise.all(Array.from({ length: 8 }, () => openTunnel(rig.port, origin.port)));
    let got = 0;
    let gotAll = () => {};
    const all = new Promise<void>(resolve => {
      gotAll = resolve;
    });
    for (const socket of sockets) {
      socket.on('data', (chunk: Buffer) => {
        got += chunk.length;
        if (got === 8 * 256 * 1024) gotAll();
      });
      socket.resume();
    }
    const carried = async () =>
      (await rig.plane.metrics()).flatMap(lane => lane.paths).reduce((sum, path) => sum + path.downBytes, 0);
    while ((await carried()) < windowBytes) await new Promise(setImmediate);
    for (let turn = 0; turn < 50; turn += 1) await new Promise(setImmediate);
    assert.is(await carried(), windowBytes);
    assert.ok((await rig.plane.metrics()).some(lane => lane.windowWaits > 0));
    release();
    await all;
    for (const socket of sockets) socket.destroy();
    await rig.close();
    assert.is(sink.total().down, 8 * 256 * 1024);
    await origin.close();
  });

for (const layout of LAYOUTS)
  test(`${named(layout)}: a port that changes hands within one plan does so everywhere; closing closes all its descriptors`, async () => {
    const origin = await startOrigin(socket => socket.pipe(socket));
    const [one, two] = [await freePort(), await freePort()];
    const rig = await startRig({
      ...layout,
      plan: { endpoints: [endpoint(one, { id: 'e1' }), endpoint(two, { id: 'e2' })] },
    });
    assert.is(listeningDescriptors(one), layout.threads);
    const held = await openTunnel(one, origin.port);
    const swapped = planFor(one, { endpoints: [endpoint(two, { id: 'e1' }), endpoint(one, { id: 'e2' })] });
    for (const outcome of await rig.plane.apply(swapped)) assert.is(outcome.problem, null);
    await Promise.all(Array.from({ length: 30 }, (_, at) => echoOnce(at % 2 ? one : two, origin.port)));
    // Descriptors closed twice would hit somebody else's: this flow has lived through all of it.
    held.write('still here');
    assert.is((await readExactly(held, 10)).toString(), 'still here');
    await rig.plane.apply(planFor(one, { endpoints: [endpoint(one, { id: 'e2' })] }));
    assert.is(listeningDescriptors(two), 0);
    assert.is(listeningDescriptors(one), layout.threads);
    held.destroy();
    await rig.close();
    assert.is(listeningDescriptors(one), 0);
    await origin.close();
  });

for (const layout of LAYOUTS)
  test(`${named(layout)}: closing waits for running flows, and bills them`, async () => {
    const origin = await startOrigin(socket => socket.pipe(socket));
    const sink = memorySink();
    const rig = await startRig({ sink, ...layout });
    const sockets = await Promise.all(Array.from({ length: 10 }, () => openTunnel(rig.port, origin.port)));
    const closing = rig.plane.close(10_000);
    await Promise.all(
      sockets.map(async socket => {
        socket.write('abc');
        assert.is((await readExactly(socket, 3)).toString(), 'abc');
        socket.end();
        await readAll(socket);
      }),
    );
    await closing;
    assert.equal(sink.total(), { up: 30, down: 30, flows: 10 });
    await origin.close();
  });

test('lanes that are apart serve while the control thread stands still', async () => {
  const rig = await startRig({ threads: 1, apart: true });
  // The client and its target live in a thread of their own, since this one is what stands still.
  const rounds = new Int32Array(new SharedArrayBuffer(4));
  const client = new Worker(
    `
    const { workerData } = require('node:worker_threads');
    const { connect, createServer } = require('node:net');
    const origin = createServer(socket => socket.pipe(socket)).listen(0, '127.0.0.1', async () => {
      const socket = connect(workerData.port, '127.0.0.1').on('error', error => { throw error; });
      const target = '127.0.0.1:' + origin.address().port;
      const login = Buffer.from(workerData.login).toString('base64');
      socket.write(['CONNECT ' + target + ' HTTP/1.1', 'Host: ' + target, 'Proxy-Authorization: Basic ' + login, '', '']
        .join('\\r\\n'));
      socket.once('data', head => {
        if (!head.toString().includes(' 200 ')) throw new Error(head.toString());
        socket.on('data', () => {
          Atomics.add(workerData.rounds, 0, 1);
          Atomics.notify(workerData.rounds, 0);
          socket.write('x');
        });
        socket.write('x');
      });
    });`,
    { eval: true, workerData: { port: rig.port, rounds, login: `${ALICE.username}:${ALICE.secret}` } },
  );
  const failed = once(client, 'error').then(([error]) => {
    throw error;
  });
  await Promise.race([failed, once(client, 'online')]);
  const deadlineMs = 30_000;
  for (let seen = 0; seen < 100; seen = Atomics.load(rounds, 0))
    assert.is.not(Atomics.wait(rounds, 0, seen, deadlineMs), 'timed-out', `${seen} rounds`);
  await client.terminate();
  await rig.close();
});

test('the control thread and the helpers of V8 give way, workers that have begun do not', async () => {
  const program = `
    import { readFileSync, readdirSync } from 'node:fs';
    import { Worker } from 'node:worker_threads';
    import { createLog } from '@mastline/agent/observe/log';
    import { giveWay, helperThreads } from '@mastline/agent/give-way';
    const helpers = helperThreads();
    const all = () => readdirSync('/proc/self/task').map(Number);
    const first = new Set(all());
    const carrier = new Worker('setInterval(() => {}, 1000)', { eval: true });
    carrier.once('online', () => {
      const carriers = all().filter(thread => !first.has(thread));
      giveWay([...helpers, 999_999_999], createLog({ level: 'info' }));
      // proc_pid_stat(5): the name in parentheses may hold spaces.
      const nice = thread => Number(readFileSync('/proc/self/task/' + thread + '/stat', 'utf8').split(') ')[1].split(' ')[16]);
      console.log(JSON.stringify({ giving: [process.pid, ...helpers].map(nice), carriers: carriers.map(nice) }));
      process.exit();
    });`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', program], {
    cwd: import.meta.dirname,
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  const { giving, carriers }: Record<string, number[]> = JSON.parse(await text(child.stdout));
  assert.ok(giving !== undefined && giving.length > 1 && giving.every(nice => nice === 5), `${giving}`);
  assert.ok(
    carriers !== undefined && carriers.length > 0 && carriers.every(nice => nice === 0),
    `${carriers}`,
  );
});

test('a lane that is apart serves datagrams', async () => {
  const rig = await startRig({ threads: 2, apart: true });
  const target = dgram.createSocket('udp4').bind(0, '127.0.0.1');
  await once(target, 'listening');
  target.on('message', (bytes, from) => target.send(bytes, from.port, from.address));
  // The kernel gives a connection to whichever thread is free: several, so that both have some.
  for (let at = 0; at < 8; at += 1) {
    const control = await tcp(rig.port);
    control.write(pipelinedSocks5({ host: '0.0.0.0', port: 0 }, 3));
    const relay = (await readExactly(control, 14)).readUInt16BE(12);
    const own = dgram.createSocket('udp4').bind(0, '127.0.0.1');
    await once(own, 'listening');
    const answered = once(own, 'message');
    const to = { host: '127.0.0.1', port: target.address().port };
    own.send(socks5Datagram(to, Buffer.from('ping')), relay, '127.0.0.1');
    const [datagram] = await answered;
    assert.is(datagram.subarray(-4).toString(), 'ping');
    own.close();
    control.destroy();
  }
  target.close();
  await rig.close();
});

test('pipelined clients are served by every thread', async () => {
  const origin = await startOrigin(socket => socket.pipe(socket));
  const rig = await startRig({ threads: 2 });
  await Promise.all(
    Array.from({ length: 40 }, async () => {
      const socket = await tcp(rig.port);
      socket.end(
        Buffer.concat([pipelinedSocks5({ host: '127.0.0.1', port: origin.port }), Buffer.from('hello')]),
      );
      const answer = await readAll(socket);
      assert.is(answer.subarray(-5).toString(), 'hello');
    }),
  );
  await rig.close();
  await origin.close();
});

test('"auto" is one thread on a small machine, and not more than eight on a large one', () => {
  const gigabyte = 1024 ** 3;
  assert.is(threadCount('auto', { parallelism: 4, memoryBytes: gigabyte / 2 }), 1);
  assert.is(threadCount('auto', { parallelism: 4, memoryBytes: gigabyte }), 4);
  assert.is(threadCount('auto', { parallelism: 64, memoryBytes: 64 * gigabyte }), 8);
  assert.is(threadCount(3, { parallelism: 1, memoryBytes: gigabyte / 2 }), 3);
});

test.run();
