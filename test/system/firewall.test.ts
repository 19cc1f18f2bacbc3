/**
 * Floods held off by nftables, in namespaces: one is the box, the other its customers and strangers. Needs root,
 * iproute2 and nftables.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { Firewall } from '@mastline/agent/data-plane/firewall';
import { quietLog } from '@mastline/agent/observe/log';
import type { RunNft } from '@mastline/agent/own-table';
import * as assert from 'uvu/assert';
import { ip, nft, runTool, whyNoNamespaces } from '../simulators/run-tool';
import { agentBuilt } from '../support/build-agent';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const test = suite('nftables against floods');
const obstacle = await whyNoNamespaces();
const DEADLINE = { deadlineMs: 60_000 };

const BOX = `mlfb${process.pid}`;
const WORLD = `mlfw${process.pid}`;
const inBox: RunNft = (args, script = '') => runTool('ip', ['netns', 'exec', BOX, 'nft', ...args], script);
const tables = async () =>
  (await inBox(['list', 'tables'])).split('\n').filter(line => line.includes('mastline_p'));

/** How many of `count` connects to `port` of the box from `address` come through within a second and a half. */
async function connects(address: string, port: number, count: number): Promise<number> {
  const script = `
    const net = require('net');
    let through = 0, over = 0;
    for (let at = 0; at < ${count}; at += 1) {
      const socket = net.connect({ host: '${address.includes(':') ? 'fd00:5::1' : '198.51.100.1'}', port: ${port}, localAddress: '${address}' });
      socket.setTimeout(900, () => socket.destroy());
      socket.on('connect', () => { through += 1; socket.destroy(); });
      socket.on('error', () => {});
      socket.on('close', () => { over += 1; if (over === ${count}) console.log(through); });
    }`;
  return Number(await runTool('ip', ['netns', 'exec', WORLD, process.execPath, '-e', script]));
}

function inNamespace(args: string[]): ChildProcess {
  return spawn('ip', ['netns', 'exec', BOX, process.execPath, ...args], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<void> {
  const exited = once(child, 'exit');
  child.kill(signal);
  await exited;
}

if (obstacle) test.skip('all of it', obstacle);
else {
  test.before(async () => {
    await agentBuilt();
    for (const name of [BOX, WORLD]) {
      await ip(`netns add ${name}`);
      await ip('link set lo up', name);
    }
    await ip(`link add net0 type veth peer name net0 netns ${WORLD}`, BOX);
    await ip('addr add 198.51.100.1/24 dev net0', BOX);
    await ip('addr add fd00:5::1/48 dev net0 nodad', BOX);
    for (const last of [2, 3]) await ip(`addr add 198.51.100.${last}/24 dev net0`, WORLD);
    for (const host of ['1::2', '1::3', '2::2'])
      await ip(`addr add fd00:5:0:${host}/48 dev net0 nodad`, WORLD);
    for (const name of [BOX, WORLD]) await ip('link set net0 up', name);
  });
  test.after(async () => {
    for (const name of [BOX, WORLD]) await ip(`netns del ${name}`);
  });

  test(
    'limits a source, and no other source and no other port; goes when it is closed',
    async () => {
      const listen = "require('net').createServer(s => s.on('error', () => {}).resume()).listen";
      const server = inNamespace([
        '-e',
        `${listen}(1080, '::'); ${listen}(1081, '::', () => console.log('ready'))`,
      ]);
      await once(server.stdout!, 'data');
      const limits = { connectsPerSecond: 1, burst: 10 };
      const firewall = new Firewall({ log: quietLog, run: inBox, limits });
      await firewall.protect([1080]);
      // A refused SYN is sent again after a second; by then the client has given up.
      const through = await connects('198.51.100.2', 1080, 40);
      assert.ok(through >= 8 && through < 30, `${through} of 40`);
      assert.is(await connects('198.51.100.3', 1080, 5), 5, 'another source');
      assert.is(await connects('198.51.100.2', 1081, 40), 40, 'another port');
      const sixth = await connects('fd00:5:0:1::2', 1080, 40);
      assert.ok(sixth >= 8 && sixth < 30, `${sixth} of 40`);
      assert.ok((await connects('fd00:5:0:1::3', 1080, 20)) < 10, 'the same /64');
      assert.is(await connects('fd00:5:0:2::2', 1080, 5), 5, 'another /64');
      await firewall.protect([1081]);
      assert.is(await connects('198.51.100.2', 1080, 40), 40, 'no longer a port of ours');
      await firewall.close();
      assert.equal(await tables(), []);
      await end(server, 'SIGKILL');
    },
    DEADLINE,
  );

  test(
    'removes what a killed agent left, and nothing of one that lives',
    async () => {
      await nft('table inet mastline_p4000000_17\ntable inet other', BOX);
      const one = new Firewall({ log: quietLog, run: inBox });
      await one.protect([1080]);
      assert.equal(await tables(), [`table inet ${one.table}`]);
      const other = new Firewall({ log: quietLog, run: inBox, pid: process.ppid });
      await other.protect([1081]);
      assert.is((await tables()).length, 2);
      assert.match(await inBox(['list', 'tables']), /table inet other/);
      await one.close();
      await other.close();
      assert.equal(await tables(), []);
    },
    DEADLINE,
  );

  test(
    'the agent has its table while it serves others than its own box, and leaves it alone when told to',
    async () => {
      const dir = await tempDir('firewall');
      const program = join(import.meta.dirname, '../../agent/dist/main.js');
      const start = async (config: object) => {
        const file = join(dir.path, 'agent.json');
        const credentials = [{ username: 'alice', secret: 'correct-horse' }];
        await writeFile(file, JSON.stringify({ credentials, ...config }));
        const agent = inNamespace([program, 'run', '--config', file]);
        await once(agent.stdout!, 'data');
        return agent;
      };
      const listener = { name: 'main', protocols: ['socks5'], port: 1080 };
      const own = await start({ listeners: [listener] });
      assert.equal(await tables(), [], 'loopback only');
      await end(own, 'SIGTERM');
      const silent = await start({ listeners: [{ ...listener, host: '0.0.0.0' }], firewall: false });
      assert.equal(await tables(), []);
      await end(silent, 'SIGTERM');
      const killed = await start({ listeners: [{ ...listener, host: '0.0.0.0' }] });
      assert.is((await tables()).length, 1);
      await end(killed, 'SIGKILL');
      assert.is((await tables()).length, 1);
      const next = await start({ listeners: [{ ...listener, host: '0.0.0.0' }] });
      assert.is((await tables()).length, 1, 'its own; the other is gone');
      assert.is(await connects('198.51.100.2', 1080, 100), 100, 'a hundred at once are no flood');
      await end(next, 'SIGTERM');
      assert.equal(await tables(), []);
      await dir.remove();
    },
    DEADLINE,
  );
}

test('where it may not, it says so once and goes on', async () => {
  const said: string[] = [];
  const log = { ...quietLog, info: (message: string) => void said.push(message) };
  const firewall = new Firewall({ log, run: () => Promise.reject(new Error('Operation not permitted')) });
  await firewall.protect([1080]);
  await firewall.protect([1081]);
  await firewall.close();
  assert.is(said.length, 1);
});

test.run();
