/**
 * Strangers by the thousand against the agent as it is shipped, in a process of its own so that its memory is its own.
 * `MASTLINE_FLOOD=300000 npx tsx test/agent/data-plane/floods.test.ts` sends more of them.
 */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import * as assert from 'uvu/assert';
import { agentBuilt } from '../../support/build-agent';
import { freePort } from '../../support/free-port';
import { hostileConnects } from '../../support/hostile-connects';
import { seeded } from '../../support/random';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { ALICE, openTunnel } from './clients';
import { readExactly, startOrigin } from './rig';

const test = suite('floods');
test.before(agentBuilt);

const CONNECTS = Number(process.env.MASTLINE_FLOOD ?? 50_000);
const MB = 1024 * 1024;
/** Until the flood's last handshakes are over and memory has been given back. */
const SETTLES_MS = 45_000;

const random = seeded(50_000);
const SAYINGS: ((nth: number) => Uint8Array | null)[] = [
  () => null,
  () => new Uint8Array([5]),
  nth => Buffer.from(Array.from({ length: 50 + (nth % 300) }, () => Math.floor(random() * 256))),
];
const ONE_SOURCE = () => '127.0.0.2';
const MANY_SOURCES = (nth: number) => `127.${1 + (nth % 100)}.${(nth >> 3) % 256}.${1 + ((nth >> 1) % 250)}`;

const residentBytes = (pid: number) =>
  Number(/^VmRSS:\s+(\d+) kB$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]) * 1024;

test(
  'hostile connects leave at most 8 MB behind, and a customer is served meanwhile',
  async () => {
    const dir = await tempDir('floods');
    const origin = await startOrigin(socket => socket.pipe(socket));
    const [port, metricsPort] = [await freePort(), await freePort()];
    const file = join(dir.path, 'agent.json');
    await writeFile(
      file,
      JSON.stringify({
        listeners: [{ name: 'main', protocols: ['socks5', 'http'], port }],
        credentials: [ALICE],
        allowTargets: [`127.0.0.1:${origin.port}`],
        metrics: { port: metricsPort },
      }),
    );
    const program = join(import.meta.dirname, '../../../agent/dist/main.js');
    const agent = spawn(process.execPath, [program, 'run', '--config', file], {
      stdio: ['ignore', 'pipe', 'inherit'],
    });
    const exited = once(agent, 'exit');
    await once(agent.stdout, 'data');
    agent.stdout.resume();
    const figure = async (name: string) => {
      const page = await (await fetch(`http://127.0.0.1:${metricsPort}/metrics`)).text();
      return [...page.matchAll(new RegExp(`^${name} (\\d+)$`, 'gm'))].reduce(
        (sum, m) => sum + Number(m[1]),
        0,
      );
    };
    const serve = async () => {
      const socket = await openTunnel(port, origin.port);
      socket.write('x');
      assert.is((await readExactly(socket, 1)).toString(), 'x');
      socket.destroy();
    };
    for (let turn = 0; turn < 200; turn += 1) await serve();
    await figure('mastline_open_handshakes.*');
    const before = residentBytes(agent.pid ?? 0);

    let flooding = true;
    let served = 0;
    const customer = (async () => {
      while (flooding) {
        await serve();
        served += 1;
      }
    })();
    const each = Math.ceil(CONNECTS / (2 * SAYINGS.length));
    for (const from of [ONE_SOURCE, MANY_SOURCES])
      for (const say of SAYINGS) await hostileConnects({ port, connections: each, open: 4_000, say, from });
    flooding = false;
    await customer;
    assert.ok(served >= 20, `${served} flows of the customer during the flood`);

    const end = performance.now() + SETTLES_MS;
    let left = Number.POSITIVE_INFINITY;
    let grown = Number.POSITIVE_INFINITY;
    while ((left > 0 || grown > 8 * MB) && performance.now() < end) {
      await sleep(250);
      left = await figure('mastline_open_handshakes.*');
      grown = residentBytes(agent.pid ?? 0) - before;
    }
    assert.is(left, 0, 'open handshakes');
    assert.ok(grown <= 8 * MB, `the agent is ${(grown / MB).toFixed(1)} MB larger than before`);
    assert.ok((await figure('mastline_refusals_total\\{reason="source-flood"\\}')) > 0);
    await serve();
    agent.kill('SIGTERM');
    assert.equal(await exited, [0, null]);
    await origin.close();
    await dir.remove();
  },
  { deadlineMs: 150_000 },
);

test.run();
