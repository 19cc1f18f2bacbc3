/**
 * Two cloud processes behind a real HAProxy with the file that is shipped (installer/cloud/haproxy.cfg; addresses and TLS
 * changed), a real PostgreSQL and NATS, a real agent under load: the process that has the agent's socket is killed, stopped,
 * NATS is killed, and the bill is exact. "Back within 15 s" is counted on the real clock, from the kill until HAProxy has a
 * connection to the other process: the agent's, since nobody else asks then.
 */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { connect } from 'node:net';
import { join } from 'node:path';
import { z } from 'zod';
import { agentStatus } from '../../installer/local/agent-client';
import { buildAll } from '../../installer/local/build';
import { type DataDir, openDataDir, readDemo } from '../../installer/local/demo';
import { type Program, startProgram } from '../../installer/local/processes';
import {
  type Simulators,
  START_DEADLINE_MS,
  startAgent,
  startCloud,
  startSimulators,
} from '../../installer/local/product';
import { eventually } from '../support/eventually';
import { freePort } from '../support/free-port';
import { type Load, startLoad } from '../support/load';
import { type OwnHaproxy, startOwnHaproxy } from '../support/own-haproxy';
import { type OwnNats, startOwnNats } from '../support/own-nats';
import { databaseKinds, type TestDatabase, testDatabase } from '../support/postgres';
import { seeded } from '../support/random';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const test = suite('two clouds behind HAProxy', { needs: ['haproxy', 'nats-server'] });
const DEADLINE = { deadlineMs: 120_000 };
const STOP_MS = 5_000;
const SLOTS = 2;
/** Nodes of a process that died are back elsewhere by then. */
const BACK_WITHIN_MS = 15_000;

let folder: Awaited<ReturnType<typeof tempDir>>;
let dataDir: DataDir;
let database: TestDatabase;
let nats: OwnNats;
let haproxy: OwnHaproxy;
let simulators: Simulators;
let agent: { program: Program; statusSocket: string };
const clouds: Program[] = [];
const ports = { balancer: 0, clouds: [0, 0] as [number, number], endpoints: [] as number[] };
const secretKey = randomBytes(32).toString('base64');

test.before(async () => {
  if (process.env.MASTLINE_BUILT !== '1') await buildAll();
  folder = await tempDir('two-clouds');
  dataDir = openDataDir(folder.path);
  database = await testDatabase('server');
  await database.disconnect();
  nats = await startOwnNats();
  ports.balancer = await freePort();
  ports.clouds = [await freePort(), await freePort()];
  for (let at = 0; at < 2 * SLOTS; at += 1) ports.endpoints.push(await freePort());
  simulators = await startSimulators({ dataDir, kind: 'rootless', modems: SLOTS });
  haproxy = await startOwnHaproxy({
    folder: folder.path,
    port: ports.balancer,
    clouds: ports.clouds,
  });
  await startOne(0);
  const { claimCode } = readDemo(dataDir.at('demo.json'));
  await eventually(async () => (await sessions())[0] !== undefined, 'HAProxy answers');
  await eventually(async () => (await get(balancer('/readyz'))).status === 200, 'a cloud is ready behind it');
  agent = await startAgent({ dataDir, cloudUrl: balancer(''), simulators, allowTargets: [], claimCode });
  await eventually(async () => {
    const { listeners } = await agentStatus(agent.statusSocket);
    return listeners.filter(one => one.listening).length === 2 * SLOTS;
  }, 'the endpoints are open');
  await startOne(1);
  await eventually(
    async () => (await get(cloudUrl(1, '/readyz'))).text === 'ready\nother processes: 1\n',
    'met',
  );
});
test.after(async () => {
  await agent?.program.stop(STOP_MS);
  for (const cloud of clouds) await cloud?.stop(STOP_MS);
  await simulators?.program.stop(STOP_MS);
  await haproxy?.kill();
  await nats?.kill();
  await database?.drop();
  dataDir?.release();
  await folder?.remove();
});

const balancer = (path: string) => `http://127.0.0.1:${ports.balancer}${path}`;
const cloudUrl = (which: number, path: string) => `http://127.0.0.1:${ports.clouds[which]}${path}`;

/** The first with the demo, as `npm start` has it, the second beside it. */
async function startOne(which: number): Promise<void> {
  const env: NodeJS.ProcessEnv = {
    NODE_ENV: 'production',
    DATABASE_URL: database.databaseUrl ?? '',
    NATS_URL: nats.url,
    MASTLINE_SECRET_KEY: secretKey,
    MASTLINE_TRUSTED_PROXIES: '1',
  };
  const port = ports.clouds[which] ?? 0;
  clouds[which] =
    which === 0
      ? await startCloud({ dataDir, port, env, endpointPorts: ports.endpoints, slots: simulators.slots })
      : await startProgram({
          name: 'cloud-1',
          script: join(import.meta.dirname, '../../cloud/dist/main.js'),
          args: ['--data-dir', dataDir.at('cloud-1'), '--port', String(port)],
          logFile: dataDir.at('logs', 'cloud-1.log'),
          readyDeadlineMs: START_DEADLINE_MS,
          env,
        });
}

/** Connections that HAProxy has to each cloud now; when nobody asks the portal these are agents. */
async function sessions(): Promise<number[]> {
  const table = await new Promise<string>(resolve => {
    let text = '';
    const socket = connect(haproxy.statsSocket, () => socket.write('show stat clouds 4 -1\n'));
    socket.setEncoding('utf8').on('data', chunk => {
      text += chunk;
    });
    socket.on('error', () => resolve(''));
    socket.on('end', () => resolve(text));
  });
  const [head = '', ...rows] = table.trim().split('\n');
  const columns = head.replace(/^# /, '').split(',');
  const cell = (row: string, name: string) => row.split(',')[columns.indexOf(name)] ?? '';
  return ['cloud-1', 'cloud-2'].flatMap(name => {
    const row = rows.find(each => cell(each, 'svname') === name);
    return row === undefined ? [] : [Number(cell(row, 'scur'))];
  });
}

async function holder(): Promise<0 | 1> {
  let found: number[] = [];
  await eventually(async () => {
    found = await sessions();
    return found[0] !== found[1] && Math.max(...found) === 1;
  }, 'one cloud has the agent');
  return found[0] === 1 ? 0 : 1;
}

/** Milliseconds until that cloud has the agent's connection. */
async function untilAt(which: number): Promise<number> {
  const begun = performance.now();
  await eventually(async () => (await sessions())[which] === 1, 'the node is at the other cloud');
  return performance.now() - begun;
}

async function get(url: string, headers: Record<string, string> = {}) {
  try {
    const response = await fetch(url, {
      headers: { connection: 'close', ...headers },
      signal: AbortSignal.timeout(10_000),
    });
    return { status: response.status, text: await response.text() };
  } catch {
    // Not there: what waits for it asks again.
    return { status: 0, text: '' };
  }
}

function load(tag: string): Load {
  const [credential] = readDemo(dataDir.at('demo.json')).credentials;
  assert.ok(credential);
  const targets = [0, 1].map(slot => ({
    proxy: { host: '127.0.0.1', port: ports.endpoints[2 * slot] ?? 0 },
    ...{ username: credential.username, secret: credential.secret, origin: simulators.origin, tag },
  }));
  return startLoad(targets, { clients: 3, random: seeded(7) });
}

async function ledger(): Promise<{ up: number; down: number; records: number; numbers: number }> {
  const { Client } = (await import('pg')).default;
  const client = new Client({ connectionString: database.databaseUrl ?? '' });
  await client.connect();
  try {
    const { rows } = await client.query(
      `SELECT (SELECT coalesce(sum(up_bytes), 0) FROM usage_rollups) AS up,
              (SELECT coalesce(sum(down_bytes), 0) FROM usage_rollups) AS down,
              count(*) AS records, count(DISTINCT (mark_key, sequence)) AS numbers FROM usage_records`,
    );
    const [row] = rows;
    return {
      ...{ up: Number(row.up), down: Number(row.down) },
      ...{ records: Number(row.records), numbers: Number(row.numbers) },
    };
  } finally {
    await client.end();
  }
}

/** While `trouble` lasts clients are busy; afterwards the bill is theirs, to the byte. */
async function underLoad(tag: string, trouble: () => Promise<void>): Promise<void> {
  const before = await ledger();
  const busy = load(tag);
  await eventually(() => busy.carried.received > 1_000_000, 'there is load');
  try {
    await trouble();
  } finally {
    await busy.stop();
  }
  assert.equal(busy.carried.broken, 0, 'no flow broke');
  let now = before;
  await eventually(async () => {
    now = await ledger();
    return now.down - before.down >= busy.carried.received;
  }, 'all of it is in the ledger');
  assert.equal(now.down - before.down, busy.carried.received);
  assert.equal(now.records, now.numbers, 'nothing is doubled');
}

test(
  'kill -9 of the process that has the node, under load: it is back at the other within 15 s, the bill is exact',
  async () => {
    await underLoad('kill', async () => {
      const which = await holder();
      await clouds[which]?.kill();
      const ms = await untilAt(1 - which);
      console.log(`back at the other process ${Math.round(ms)} ms after the kill`);
      assert.ok(ms < BACK_WITHIN_MS, `${ms} ms`);
      await startOne(which);
    });
  },
  DEADLINE,
);

test(
  'a process that stops asks its nodes to move, ends by itself, and they are at the other',
  async () => {
    await underLoad('stop', async () => {
      const which = await holder();
      assert.equal(await clouds[which]?.stop(STOP_MS), true, 'it ended by itself');
      await untilAt(1 - which);
      await startOne(which);
    });
  },
  DEADLINE,
);

test(
  'NATS killed and started again, under load: both go on, then know each other’s nodes again',
  async () => {
    await underLoad('nats', async () => {
      await nats.kill();
      for (const which of [0, 1])
        await eventually(
          async () => /^ready\nNATS is away for \d+ s/.test((await get(cloudUrl(which, '/readyz'))).text),
          'each says so, and is ready all the same',
        );
      await nats.start();
      for (const which of [0, 1])
        await eventually(
          async () => (await get(cloudUrl(which, '/readyz'))).text === 'ready\nother processes: 1\n',
          'each has found the other again',
        );
    });
    const cookie = await logIn();
    for (const which of [0, 1])
      await eventually(async () => {
        const { text } = await get(cloudUrl(which, '/api/trpc/overview.get'), { cookie });
        return Overview.parse(JSON.parse(text)).result.data.nodes.online === 1;
      }, 'a session made through HAProxy is good at both, and both see the node');
  },
  DEADLINE,
);

test('the caller’s address is the one that HAProxy saw, whatever the caller says', async () => {
  assert.equal((await get(balancer('/echo'), { 'x-forwarded-for': '203.0.113.9' })).text, '127.0.0.1\n');
});

const Overview = z.looseObject({
  result: z.looseObject({ data: z.looseObject({ nodes: z.looseObject({ online: z.int() }) }) }),
});

async function logIn(): Promise<string> {
  const { login } = readDemo(dataDir.at('demo.json'));
  const response = await fetch(balancer('/api/session'), {
    method: 'POST',
    headers: { 'content-type': 'application/json', connection: 'close' },
    body: JSON.stringify(login),
  });
  assert.equal(response.status, 204);
  return response.headers.getSetCookie()[0]?.split(';', 1)[0] ?? '';
}

if (!(await databaseKinds()).includes('server'))
  test.skip('all of the above', 'no PostgreSQL answers at 127.0.0.1:5432');
test.run();
