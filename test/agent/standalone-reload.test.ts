import { createSocket } from 'node:dgram';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { connect } from 'node:tls';
import { readAgentConfig, type StandaloneConfig } from '@mastline/agent/config';
import { createDataPlane } from '@mastline/agent/data-plane/data-plane';
import { quietLog } from '@mastline/agent/observe/log';
import { planOf, type SlotNumbers } from '@mastline/agent/standalone-plan';
import { StandaloneReload } from '@mastline/agent/standalone-reload';
import * as assert from 'uvu/assert';
import { makeCertificates } from '../support/certificates';
import { eventually } from '../support/eventually';
import { freePort } from '../support/free-port';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';
import { ALICE, openTunnel, pipelinedSocks5, socks5, tcp } from './data-plane/clients';
import { memorySink, type Origin, readExactly, startOrigin } from './data-plane/rig';

const test = suite('reading the standalone file again', { needs: ['openssl'] });

let dir: Awaited<ReturnType<typeof tempDir>>;
let echo: Origin;
test.before(async () => {
  dir = await tempDir('reload');
  echo = await startOrigin(socket => void socket.pipe(socket));
});
test.after(async () => {
  await echo.close();
  await dir.remove();
});

/** An agent without its process: what runStandalone joins, on `file`. */
async function serve(file: object) {
  const path = join(dir.path, `${Math.random()}.json`);
  const write = (next: object | string) =>
    writeFile(path, typeof next === 'string' ? next : JSON.stringify(next));
  await write(file);
  const config = readAgentConfig(path) as StandaloneConfig;
  const numbers: SlotNumbers = new Map();
  const plan = planOf(config, numbers);
  const plane = createDataPlane({ sink: memorySink(), log: quietLog });
  for (const one of await plane.apply(plan)) assert.is(one.problem, null);
  const reader = new StandaloneReload({ path, plane, numbers, log: quietLog }, { config, plan });
  return {
    plane,
    async reload(next: object | string) {
      await write(next);
      return reader.reload();
    },
    async close() {
      await reader.close();
      await plane.close(0);
    },
  };
}

const fileFor = (port: number, more: object = {}) => ({
  listeners: [{ name: 'main', protocols: ['socks5', 'http'], port, ...more }],
  credentials: [ALICE],
  allowTargets: ['127.0.0.0/8'],
});

/** Whether the way is still there. */
async function echoes(socket: Awaited<ReturnType<typeof openTunnel>>, word: string): Promise<boolean> {
  socket.write(word);
  return (await readExactly(socket, word.length)).toString() === word;
}

const cut = (socket: Awaited<ReturnType<typeof openTunnel>>) => {
  socket.resume();
  return eventually(() => socket.destroyed, 'the flow is cut');
};

test('listeners, credentials and limits change, and flows that are still allowed go on', async () => {
  const [port, added] = [await freePort(), await freePort()];
  const agent = await serve(fileFor(port));
  const flow = await openTunnel(port, echo.port);
  assert.ok(await echoes(flow, 'one'));
  const bob = { username: 'bob', secret: 'another secret' };
  const next = fileFor(port);
  assert.equal(
    await agent.reload({
      ...next,
      listeners: [...next.listeners, { name: 'more', protocols: ['socks5'], port: added }],
      credentials: [{ ...ALICE, limits: { concurrentFlows: 1 } }, bob],
    }),
    {
      ok: true,
      listeners: [
        { endpointId: 'main', listening: true, problem: null },
        { endpointId: 'more', listening: true, problem: null },
      ],
      waits: [],
    },
  );
  assert.ok(await echoes(flow, 'two'));
  assert.is.not((await socks5(port, { host: '127.0.0.1', port: echo.port })).reply, 0);
  const other = await openTunnel(added, echo.port, bob);
  assert.ok(await echoes(other, 'three'));
  // The new listener goes away, and what it carried with it; the first is not touched.
  assert.ok((await agent.reload(next)).ok);
  await cut(other);
  assert.ok(await echoes(flow, 'four'));
  flow.destroy();
  await agent.close();
});

test('a credential that ends by time or is gone ends its flows', async () => {
  const port = await freePort();
  const agent = await serve(fileFor(port));
  const expired = await openTunnel(port, echo.port);
  const file = fileFor(port);
  await agent.reload({
    ...file,
    credentials: [{ ...ALICE, limits: { expiresAt: '2020-01-01T00:00:00Z' } }],
  });
  await cut(expired);
  assert.ok((await agent.reload(file)).ok);
  const gone = await openTunnel(port, echo.port);
  await agent.reload({ ...file, credentials: [{ username: 'bob', secret: 'another secret' }] });
  await cut(gone);
  await agent.close();
});

test('a limit of the way out bounds all that leave by it, and its number stays when the order changes', async () => {
  const [first, second] = [await freePort(), await freePort()];
  const way = (address: string, limits?: object) => ({ egress: { address, ...(limits ? { limits } : {}) } });
  const listeners = [
    { name: 'a', protocols: ['socks5'], port: first, ...way('127.8.0.1') },
    { name: 'b', protocols: ['socks5'], port: second, ...way('127.8.0.2') },
  ];
  const file = { ...fileFor(first), listeners };
  const agent = await serve(file);
  const flow = await openTunnel(second, echo.port);
  assert.ok(await echoes(flow, 'one'));
  const limited = { ...listeners[1], ...way('127.8.0.2', { concurrentFlows: 1 }) };
  assert.ok((await agent.reload({ ...file, listeners: [limited, listeners[0]] })).ok);
  assert.ok(await echoes(flow, 'two'));
  assert.is.not((await socks5(second, { host: '127.0.0.1', port: echo.port })).reply, 0);
  const free = await openTunnel(first, echo.port);
  assert.ok(await echoes(free, 'three'));
  for (const socket of [flow, free]) socket.destroy();
  await agent.close();
});

test('addresses that need no login come and go, and their flows go with them', async () => {
  const port = await freePort();
  const agent = await serve(fileFor(port));
  const withoutLogin = async () => {
    const socket = await tcp(port);
    socket.write(Buffer.from([5, 1, 0]));
    return { socket, method: (await readExactly(socket, 2))[1] };
  };
  assert.is((await withoutLogin()).method, 0xff);
  const openTo = { sourceAddresses: ['127.0.0.1'], credential: 'alice' };
  assert.ok((await agent.reload(fileFor(port, { openTo }))).ok);
  const { socket, method } = await withoutLogin();
  assert.is(method, 0);
  const request = Buffer.from([5, 1, 0, 1, 127, 0, 0, 1, 0, 0]);
  request.writeUInt16BE(echo.port, 8);
  socket.write(request);
  assert.is((await readExactly(socket, 10))[1], 0);
  assert.ok(await echoes(socket, 'open'));
  // A client that logs in although it need not is known by its login.
  const known = await tcp(port);
  known.write(pipelinedSocks5({ host: '127.0.0.1', port: echo.port }));
  await readExactly(known, 2 + 2 + 10);
  assert.ok((await agent.reload(fileFor(port))).ok);
  await cut(socket);
  assert.ok(await echoes(known, 'still'));
  known.destroy();
  await agent.close();
});

test('a listener may become another protocol on the same port', async () => {
  const port = await freePort();
  const agent = await serve(fileFor(port));
  const shadowsocks = {
    ...fileFor(port, { protocols: ['shadowsocks'], method: 'aes-256-gcm' }),
  };
  assert.ok((await agent.reload(shadowsocks)).ok);
  // Its datagram port is there: nobody else can have it.
  const other = createSocket('udp4');
  const taken = new Promise(resolve => other.once('error', resolve));
  other.bind({ port, address: '127.0.0.1', exclusive: true });
  assert.match(String(await taken), 'EADDRINUSE');
  other.close();
  assert.ok((await agent.reload(fileFor(port))).ok);
  const flow = await openTunnel(port, echo.port);
  assert.ok(await echoes(flow, 'back'));
  flow.destroy();
  await agent.close();
});

test('a file that cannot be served is refused with the reason, and nothing changes', async () => {
  const [port, other] = [await freePort(), await freePort()];
  const agent = await serve(fileFor(port));
  const flow = await openTunnel(port, echo.port);
  const taken = await startOrigin(socket => void socket.end());
  const file = fileFor(port);
  const withListener = (more: object) => ({
    ...file,
    listeners: [{ name: 'other', protocols: ['socks5'], port: other, ...more }],
  });
  const cases: [object | string, RegExp][] = [
    ['{', /is not JSON/],
    [{ ...file, credentials: [] }, /credentials: must hold at least one credential/],
    [withListener({ port: taken.port }), /other: port \d+ on 127\.0\.0\.1 is taken by another program/],
    [withListener({ host: '203.0.113.9' }), /this machine has no such address/],
    [withListener({ egress: { address: '203.0.113.9' } }), /Flows cannot leave from 203\.0\.113\.9/],
    [
      withListener({ tls: { certFile: '/nowhere/a.pem', keyFile: '/nowhere/b.pem' } }),
      /other: .*does not exist/,
    ],
    [{ dataDir: '/d', cloud: { url: 'http://127.0.0.1:1' }, slots: [], echoUrls: [] }, /start it anew/],
  ];
  for (const [next, reason] of cases) {
    const answer = await agent.reload(next);
    assert.not(answer.ok);
    assert.match(answer.ok ? '' : answer.problem, reason);
  }
  assert.ok(await echoes(flow, 'untouched'));
  const again = await openTunnel(port, echo.port);
  for (const socket of [flow, again]) socket.destroy();
  await taken.close();
  await agent.close();
});

test('what needs a restart is named at each reading until the restart', async () => {
  const port = await freePort();
  const agent = await serve(fileFor(port));
  for (let time = 0; time < 2; time += 1) {
    const answer = await agent.reload({ ...fileFor(port), threads: 2, dataDir: dir.path });
    assert.equal(answer.ok && answer.waits, ['dataDir', 'threads']);
  }
  await agent.close();
});

test('a certificate that the new file names is used at once', async () => {
  const port = await freePort();
  makeCertificates(dir.path);
  const files = { certFile: join(dir.path, 'server.pem'), keyFile: join(dir.path, 'server.key') };
  const agent = await serve(fileFor(port));
  const plain = await openTunnel(port, echo.port);
  assert.ok((await agent.reload(fileFor(port, { tls: files }))).ok);
  assert.ok(await echoes(plain, 'goes on'));
  const socket = connect({ port, host: '127.0.0.1', rejectUnauthorized: false });
  await new Promise(resolve => socket.once('secureConnect', resolve));
  socket.write(Buffer.from([5, 1, 2]));
  assert.is((await readExactly(socket, 2))[1], 2);
  for (const one of [socket, plain]) one.destroy();
  await agent.close();
});

test.run();
