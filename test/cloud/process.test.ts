/** The cloud as a process, from its bundle: ready line, demo made once, one opener, a clean stop, sentences for what goes wrong. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { chmod, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { DemoAnswer } from '@mastline/cloud/server/seed';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { cloudBuilt } from '../support/build-cloud';
import { connect, deviceKey, enrol } from '../support/cloud-agent';
import { usageRecord } from '../support/cloud-world';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const test = suite('cloud: the process');
const main = join(import.meta.dirname, '../../cloud/dist/main.js');
let dir: Awaited<ReturnType<typeof tempDir>>;
const running = new Set<ChildProcess>();

test.before(async () => {
  await cloudBuilt();
  dir = await tempDir('cloud-process');
});
test.afterEach(async () => {
  for (const child of running) {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
});
test.after(async () => dir.remove());

interface Started {
  child: ChildProcess;
  url: string;
}

function run(args: string[], env: Record<string, string> = {}): ChildProcess {
  const child = spawn(process.execPath, [main, ...args], {
    env: { PATH: process.env.PATH, LOG_LEVEL: 'warn', NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  running.add(child);
  child.once('exit', () => running.delete(child));
  return child;
}

async function start(args: string[]): Promise<Started> {
  const child = run(['--port', '0', '--data-dir', join(dir.path, 'data'), ...args]);
  let stderr = '';
  child.stderr?.on('data', chunk => {
    stderr += chunk;
  });
  const failed = once(child, 'exit').then(() => {
    throw new Error(`the cloud ended before it was ready: ${stderr}`);
  });
  const [line] = (await Promise.race([
    once(child.stdout as NonNullable<typeof child.stdout>, 'data'),
    failed,
  ])) as [Buffer];
  failed.catch(() => {});
  const ready = JSON.parse(line.toString()) as { ready: boolean; url: string };
  assert.equal(ready.ready, true);
  return { child, url: ready.url };
}

async function fails(args: string[], env: Record<string, string> = {}): Promise<string> {
  const child = run(args, env);
  let stderr = '';
  child.stderr?.on('data', chunk => {
    stderr += chunk;
  });
  const [code] = await once(child, 'close');
  assert.equal(code, 1, stderr);
  return stderr;
}

async function stop({ child }: Started): Promise<void> {
  child.kill('SIGTERM');
  const [code, signal] = await once(child, 'exit');
  assert.deepEqual([code, signal], [0, null]);
}

async function demoFiles(nodeId: string | null): Promise<{ request: string; output: string }> {
  const request = join(dir.path, 'demo.json');
  const output = join(dir.path, 'demo-answer.json');
  const endpoints = [0, 1].map(slot => ({
    name: `SOCKS5 slot ${slot}`,
    protocols: ['socks5'],
    listen: { host: '127.0.0.1', port: 21_080 + slot },
    slots: [slot],
  }));
  await writeFile(request, JSON.stringify({ output, nodeId, endpoints }));
  return { request, output };
}

const answerIn = async (path: string) => JSON.parse(await readFile(path, 'utf8')) as DemoAnswer;

test(
  'the demo is made once: same log-in and secrets later, a claim code only while there is no node',
  async () => {
    const { request, output } = await demoFiles(null);
    const first = await start(['--demo-seed', request]);
    const made = await answerIn(output);
    assert.equal((await stat(output)).mode & 0o777, 0o600);
    assert.equal(made.credentials.length, 2);
    const key = deviceKey();
    const enrolled = await enrol(first.url, key, made.claimCode ?? '');
    const node = { id: String(enrolled.body.nodeId), privateKey: key.privateKey };
    const epoch = uuidv7();
    const { link } = await connect(first.url, node, { epoch });
    const state = JSON.parse((await link.next('desired-state')).payload);
    assert.deepEqual(
      state.endpoints.map((each: { listen: { port: number } }) => each.listen.port).sort(),
      [21_080, 21_081],
    );
    const of = { endpointId: state.endpoints[0].id, credentialId: made.credentials[0]?.id ?? '' };
    link.send('usage-batch', { epoch, records: [usageRecord(of, 1, { at: Date.now() })] });
    assert.equal((await link.next('usage-ack')).mark, 1);

    await stop(first);
    assert.equal((await link.closed).code, CLOSE.moveAway);

    await demoFiles(node.id);
    const second = await start(['--demo-seed', request]);
    assert.deepEqual(await answerIn(output), { ...made, claimCode: null });
    const logIn = await fetch(`${second.url}/api/session`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify(made.login),
    });
    assert.equal(logIn.status, 204);
    const cookie = (logIn.headers.get('set-cookie') ?? '').split(';', 1)[0] ?? '';
    const input = encodeURIComponent(JSON.stringify({ from: Date.now() - 3_600_000 }));
    const usage = await fetch(`${second.url}/api/trpc/usage.since?input=${input}`, { headers: { cookie } });
    const { result } = (await usage.json()) as { result: { data: { total: { upBytes: number } } } };
    assert.equal(result.data.total.upBytes, 101);

    // The file lost: nobody knows the password any more, so there is a new one; the secrets stay.
    await rm(output);
    await stop(second);
    const third = await start(['--demo-seed', request]);
    const anew = await answerIn(output);
    assert.notEqual(anew.login.password, made.login.password);
    assert.deepEqual(anew.credentials, made.credentials);
    await stop(third);
  },
  { deadlineMs: 90_000 },
);

test(
  'kill -9 loses nothing that was acknowledged',
  async () => {
    const { request, output } = await demoFiles(null);
    const first = await start(['--demo-seed', request]);
    const key = deviceKey();
    const enrolled = await enrol(first.url, key, (await answerIn(output)).claimCode ?? '');
    const node = { id: String(enrolled.body.nodeId), privateKey: key.privateKey };
    const epoch = uuidv7();
    const { link } = await connect(first.url, node, { epoch });
    let acknowledged = 0;
    for (let sequence = 1; sequence <= 20; sequence += 1) {
      const of = { endpointId: 'unknown', credentialId: 'unknown' };
      link.send('usage-batch', { epoch, records: [usageRecord(of, sequence, { at: Date.now() })] });
      acknowledged = (await link.next('usage-ack')).mark;
    }
    first.child.kill('SIGKILL');
    await once(first.child, 'exit');
    const second = await start([]);
    const again = await connect(second.url, node, { epoch, lastSequence: 20 });
    assert.equal(again.welcome.mark, acknowledged);
    again.link.close();
    await stop(second);
  },
  { deadlineMs: 90_000 },
);

test(
  'a data directory has one opener, and the second is told who has it',
  async () => {
    const first = await start([]);
    const said = await fails(['--port', '0', '--data-dir', join(dir.path, 'data')]);
    assert.match(said, new RegExp(`in use by another Mastline cloud \\(process ${first.child.pid}\\)`));
    await stop(first);
  },
  { deadlineMs: 60_000 },
);

test(
  'a taken port, a broken database, an open secret key, an unreachable server: a sentence each',
  async () => {
    const taken = createServer();
    await new Promise<void>(resolve => taken.listen(0, '127.0.0.1', resolve));
    const port = String((taken.address() as { port: number }).port);
    const data = join(dir.path, 'data');
    assert.match(await fails(['--port', port, '--data-dir', data]), new RegExp(`port ${port} .* is taken`));
    await new Promise(resolve => taken.close(resolve));

    await chmod(join(data, 'secret.key'), 0o644);
    assert.match(await fails(['--port', '0', '--data-dir', data]), /chmod 600/);
    await chmod(join(data, 'secret.key'), 0o600);

    await writeFile(join(data, 'database', 'PG_VERSION'), 'nonsense');
    assert.match(
      await fails(['--port', '0', '--data-dir', data]),
      /embedded database in .* cannot be opened/,
    );

    const closed = 'postgres://root@127.0.0.1:1/x';
    assert.match(
      await fails(['--database-url', closed, '--data-dir', data]),
      /Cannot use the database in DATABASE_URL/,
    );
  },
  { deadlineMs: 90_000 },
);

test('every problem of the configuration is named at once, without values', async () => {
  const said = await fails(['--port', '70000'], {
    DATABASE_URL: 'mysql://user:hunter2@x/y',
    MASTLINE_SECRET_KEY: 'c2hvcnQ=',
    PUBLIC_URL: 'ftp://x',
  });
  for (const name of ['PORT', 'DATABASE_URL', 'MASTLINE_SECRET_KEY', 'PUBLIC_URL'])
    assert.match(said, new RegExp(name));
  assert.ok(!said.includes('hunter2'));
  assert.match(await fails(['--no-such-flag']), /--data-dir VALUE/);
});

test.run();
