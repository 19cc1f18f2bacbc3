import { request } from 'node:http';
import { openMetricsServer } from '@mastline/agent/observe/metrics-server';
import { askStatus, openStatusPage } from '@mastline/agent/observe/status-page';
import * as assert from 'uvu/assert';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { basic, openTunnel, socks5, tcp } from '../data-plane/clients';
import { type Rig, readAll, readExactly, startOrigin, startRig } from '../data-plane/rig';

const test = suite('metrics');

interface Page {
  status: number;
  type: string;
  text: string;
}

function get(place: { port: number } | { socketPath: string }, path = '/metrics'): Promise<Page> {
  return new Promise((resolve, reject) => {
    const call = request({ ...place, path, agent: false }, response => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', chunk => {
        text += chunk;
      });
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, type: response.headers['content-type'] ?? '', text }),
      );
    });
    call.on('error', reject);
    call.end();
  });
}

/** Value of the sample with this name and these labels; undefined when the page has none. */
function sample(page: Page, name: string, labels: Record<string, string> = {}): number | undefined {
  for (const line of page.text.split('\n')) {
    const match = /^([a-z_]+)(?:\{(.*)\})? (\S+)$/.exec(line);
    if (match?.[1] !== name) continue;
    if (Object.entries(labels).every(([key, value]) => (match[2] ?? '').includes(`${key}="${value}"`)))
      return Number(match[3]);
  }
  return undefined;
}

async function served(rig: Rig) {
  const port = await freePort();
  const server = await openMetricsServer({ host: '127.0.0.1', port }, () => rig.plane.metrics());
  return { port, close: () => server.close() };
}

test('counts flows, bytes, dials and first bytes by slot and protocol', async () => {
  const origin = await startOrigin(socket => socket.pipe(socket));
  const rig = await startRig();
  const metrics = await served(rig);
  const socks = await openTunnel(rig.port, origin.port);
  socks.write('hello');
  await readExactly(socks, 5);
  const http = await tcp(rig.port);
  http.write(
    `CONNECT 127.0.0.1:${origin.port} HTTP/1.1\r\nHost: x\r\nProxy-Authorization: ${basic()}\r\n\r\nhi`,
  );
  const head = 'HTTP/1.1 200 Connection established\r\n\r\n';
  assert.is((await readExactly(http, head.length + 2)).toString(), `${head}hi`);

  const open = await get({ port: metrics.port });
  assert.is(open.status, 200);
  assert.match(open.type, 'text/plain; version=0.0.4');
  for (const protocol of ['socks5', 'http']) {
    const labels = { slot: '1', protocol };
    assert.is(sample(open, 'mastline_flows_total', labels), 1);
    assert.is(sample(open, 'mastline_open_flows', labels), 1);
    assert.is(sample(open, 'mastline_dial_seconds_count', labels), 1);
    assert.is(sample(open, 'mastline_dial_seconds_bucket', { ...labels, le: '+Inf' }), 1);
    assert.is(sample(open, 'mastline_first_byte_seconds_count', labels), 1);
    const bytes = protocol === 'socks5' ? 5 : 2;
    assert.is(sample(open, 'mastline_bytes_total', { ...labels, direction: 'up' }), bytes);
    assert.is(sample(open, 'mastline_bytes_total', { ...labels, direction: 'down' }), bytes);
  }
  assert.is(sample(open, 'mastline_accepted_total', { thread: '0' }), 2);
  assert.is(sample(open, 'mastline_open_connections', { thread: '0' }), 2);
  assert.ok((sample(open, 'process_resident_memory_bytes') ?? 0) > 1e6);

  for (const socket of [socks, http]) {
    socket.end();
    await readAll(socket);
  }
  await rig.close();
  assert.is(sample(await get({ port: metrics.port }), 'mastline_open_flows', { protocol: 'http' }), 0);
  await metrics.close();
  await origin.close();
});

test('counts refusals by reason, and handshakes that are open', async () => {
  const rig = await startRig();
  const metrics = await served(rig);
  assert.is((await socks5(rig.port, { host: '10.0.0.1', port: 80 })).reply, 2);
  assert.is((await socks5(rig.port, { host: '10.0.0.1', port: 80 })).reply, 2);
  const silent = await tcp(rig.port);
  let page = await get({ port: metrics.port });
  while (sample(page, 'mastline_open_handshakes') !== 1) page = await get({ port: metrics.port });
  assert.is(sample(page, 'mastline_refusals_total', { reason: 'private-target' }), 2);
  silent.destroy();
  await rig.close();
  await metrics.close();
});

test('holds no name, secret or address of a customer', async () => {
  const origin = await startOrigin(socket => socket.pipe(socket));
  const rig = await startRig();
  const metrics = await served(rig);
  const socket = await openTunnel(rig.port, origin.port);
  const { text } = await get({ port: metrics.port });
  for (const word of ['alice', 'correct-horse', '127.0.0.1', String(origin.port), 'e1', 'c1'])
    assert.not.ok(text.includes(word), `the page holds "${word}"`);
  socket.destroy();
  await rig.close();
  await metrics.close();
  await origin.close();
});

test('says which thread failed instead of half a page, and 404 elsewhere', async () => {
  const port = await freePort();
  const server = await openMetricsServer({ host: '127.0.0.1', port }, async () => {
    throw new Error('data-plane-2 did not answer');
  });
  const page = await get({ port });
  assert.is(page.status, 500);
  assert.match(page.text, 'data-plane-2 did not answer');
  assert.is((await get({ port }, '/')).status, 404);
  await server.close();
});

test('a port that is taken is a sentence with the remedy', async () => {
  const taken = await startOrigin(() => undefined);
  try {
    await openMetricsServer({ host: '127.0.0.1', port: taken.port }, async () => []);
    assert.unreachable();
  } catch (error) {
    assert.match((error as { userMessage: string }).userMessage, `metrics port ${taken.port} on 127.0.0.1`);
  }
  await taken.close();
});

test('the status socket has them too', async () => {
  const dir = await tempDir('metrics');
  const rig = await startRig();
  const page = await openStatusPage(dir.path, () => ({ fine: true }), { metrics: () => rig.plane.metrics() });
  assert.equal(await askStatus(dir.path), { fine: true });
  const metrics = await get({ socketPath: page.socketPath });
  assert.is(metrics.status, 200);
  assert.is(sample(metrics, 'mastline_open_connections', { thread: '0' }), 0);
  await page.close();
  await rig.close();
  await dir.remove();
});

test.run();
