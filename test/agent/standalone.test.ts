import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { promisify } from 'node:util';
import Sqlite from 'better-sqlite3';
import * as assert from 'uvu/assert';
import { agentBuilt } from '../support/build-agent';
import { eventually } from '../support/eventually';
import { freePort } from '../support/free-port';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { ALICE, openTunnel } from './data-plane/clients';
import { readExactly, startOrigin } from './data-plane/rig';

const test = suite('agent standalone', { needs: ['curl'] });
const run = promisify(execFile);
const program = join(import.meta.dirname, '../../agent/dist/main.js');

/** Runs the bundled agent on `config`; resolves when it says that it is ready. */
async function start(config: object, dir: string) {
  await agentBuilt();
  const file = join(dir, 'agent.json');
  await writeFile(file, JSON.stringify(config));
  const child = spawn(process.execPath, [program, 'run', '--config', file], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  const out: string[] = [];
  let err = '';
  child.stderr.on('data', chunk => {
    err += chunk;
  });
  const exited = once(child, 'exit').then(([code]) => code as number);
  const ready = new Promise<{ ready: true }>((resolve, reject) => {
    createInterface(child.stdout).on('line', line => {
      out.push(line);
      if (out.length === 1) resolve(JSON.parse(line));
    });
    void exited.then(code => reject(new Error(`exited with ${code}: ${err}`)));
  });
  ready.catch(() => undefined);
  return { child, out, ready, exited, err: () => err };
}

const config = (port: number, originPort: number) => ({
  listeners: [{ name: 'main', protocols: ['socks5', 'http'], port, egress: { address: '127.9.0.1' } }],
  credentials: [ALICE],
  allowTargets: [`127.0.0.1:${originPort}`],
});

test('serves curl from the file alone, and shows what it counted when told to stop', async () => {
  const dir = await tempDir('alone');
  const origin = await startOrigin(socket =>
    socket.once('data', () => void socket.end('HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n127.9.0.1')),
  );
  const port = await freePort();
  const agent = await start(config(port, origin.port), dir.path);
  await agent.ready;
  const { stdout } = await run('curl', [
    '-sS',
    '--noproxy',
    '',
    '-x',
    `socks5h://alice:${ALICE.secret}@127.0.0.1:${port}`,
    `http://127.0.0.1:${origin.port}/`,
  ]);
  assert.is(stdout, '127.9.0.1');
  agent.child.kill('SIGTERM');
  assert.is(await agent.exited, 0);
  assert.match(agent.out.join('\n'), /alice through main: 1 flows, .* and 47 bytes\)/);
  assert.not.match(agent.out.join('\n') + agent.err(), ALICE.secret);
  await origin.close();
  await dir.remove();
});

test(
  'with a data directory usage is in the spool, running flows included, within 5 seconds of SIGTERM',
  async () => {
    const dir = await tempDir('alone');
    const origin = await startOrigin(socket => void socket.write('0123456789'));
    const port = await freePort();
    const dataDir = join(dir.path, 'data');
    const agent = await start({ ...config(port, origin.port), dataDir }, dir.path);
    await agent.ready;
    const client = await openTunnel(port, origin.port);
    await readExactly(client, 10);
    agent.child.kill('SIGTERM');
    assert.is(await agent.exited, 0);
    const db = new Sqlite(join(dataDir, 'spool.db'), { readonly: true });
    const row = db.prepare('SELECT committed_up AS up, committed_down AS down FROM spool').get();
    db.close();
    assert.equal(row, { up: 0, down: 10 });
    client.destroy();
    await origin.close();
    await dir.remove();
  },
  { deadlineMs: 15_000 },
);

test('SIGHUP reads the file again: a running flow goes on, a good file holds, a bad one is refused and said', async () => {
  const dir = await tempDir('alone');
  const origin = await startOrigin(socket => void socket.pipe(socket));
  const port = await freePort();
  const file = config(port, origin.port);
  const agent = await start(file, dir.path);
  await agent.ready;
  const flow = await openTunnel(port, origin.port);
  const hangUp = async (next: object, said: RegExp) => {
    await writeFile(join(dir.path, 'agent.json'), JSON.stringify(next));
    agent.child.kill('SIGHUP');
    await eventually(() => said.test(agent.err()), `${said}`);
    flow.write('there?');
    assert.is((await readExactly(flow, 6)).toString(), 'there?');
  };
  const bob = { username: 'bob', secret: 'another secret' };
  await hangUp({ ...file, credentials: [ALICE, bob] }, /read anew/);
  (await openTunnel(port, origin.port, bob)).destroy();
  await hangUp({ ...file, credentials: [] }, /must hold at least one credential.*refused, the old one stays/);
  (await openTunnel(port, origin.port, bob)).destroy();
  flow.destroy();
  agent.child.kill('SIGTERM');
  assert.is(await agent.exited, 0);
  assert.not.match(agent.err(), bob.secret);
  await origin.close();
  await dir.remove();
});

test('a taken port and a bad file end with a sentence and exit code 1', async () => {
  const dir = await tempDir('alone');
  const origin = await startOrigin(socket => void socket.end());
  const taken = await start(config(origin.port, 1), dir.path);
  assert.is(await taken.exited, 1);
  assert.match(taken.err(), `port ${origin.port} on 127.0.0.1 is taken by another program`);
  const bad = await start({ listeners: [] }, dir.path);
  assert.is(await bad.exited, 1);
  assert.match(bad.err(), 'listeners: must hold at least one listener');
  await origin.close();
  await dir.remove();
});

test.run();
