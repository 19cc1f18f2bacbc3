import { once } from 'node:events';
import { createServer, type IncomingMessage, type RequestListener, type ServerResponse } from 'node:http';
import type { AddressInfo, Socket } from 'node:net';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { basic, tcp } from './clients';
import { memorySink, readAll, startOrigin, startRig } from './rig';

const test = suite('HTTP proxy');
const AUTH = `Proxy-Authorization: ${basic()}\r\n`;

async function httpOrigin(serve: RequestListener) {
  const server = createServer(serve);
  const connections: Socket[] = [];
  server.on('connection', socket => connections.push(socket));
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  return {
    port,
    server,
    connections,
    async close() {
      server.closeAllConnections();
      for (const socket of connections) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  };
}

async function bodyOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString();
}

/** Resolves with all that came when it contains `text`. */
function until(socket: Socket, text: string): Promise<string> {
  return new Promise((resolve, reject) => {
    let got = '';
    const onData = (chunk: Buffer) => {
      got += chunk.toString('latin1');
      if (!got.includes(text)) return;
      socket.off('data', onData);
      resolve(got);
    };
    socket.on('data', onData);
    socket.once('close', () => reject(new Error(`closed with: ${got}`)));
    socket.resume();
  });
}

const get = (port: number, path: string, fields = '', version = '1.1') =>
  `GET http://127.0.0.1:${port}${path} HTTP/${version}\r\nHost: 127.0.0.1:${port}\r\n${AUTH}${fields}\r\n`;

test('keeps both connections, answers pipelined requests in order, counts what was forwarded', async () => {
  const origin = await httpOrigin((request, response) => response.end(`<${request.url}>`));
  const sink = memorySink();
  const rig = await startRig({ sink });
  const client = await tcp(rig.port);
  client.write(get(origin.port, '/1') + get(origin.port, '/2') + get(origin.port, '/3'));
  const got = await until(client, '</3>');
  assert.ok(got.indexOf('</1>') < got.indexOf('</2>'));
  assert.is(origin.connections.length, 1, 'one connection to the origin');
  client.end();
  await once(client, 'end');
  const wire = origin.connections[0];
  await rig.close();
  assert.equal(sink.total(), { up: wire?.bytesRead, down: got.length, flows: 1 });
  await origin.close();
});

test('another origin on the same client connection gets a connection of its own', async () => {
  const [one, two] = [
    await httpOrigin((_, response) => response.end('one')),
    await httpOrigin((_, response) => response.end('two')),
  ];
  const rig = await startRig();
  const client = await tcp(rig.port);
  client.write(get(one.port, '/'));
  await until(client, 'one');
  client.write(get(two.port, '/'));
  await until(client, 'two');
  client.destroy();
  await rig.close();
  await one.close();
  await two.close();
});

test('a kept origin connection that died is replaced, once, for a request that may be repeated', async () => {
  let served = 0;
  const origin = await startOrigin(socket => {
    socket.once('data', () => {
      served += 1;
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok');
      // The next request on this connection is never answered.
      socket.once('data', () => socket.resetAndDestroy());
    });
  });
  const rig = await startRig();
  const client = await tcp(rig.port);
  client.write(get(origin.port, '/'));
  await until(client, 'ok');
  client.write(get(origin.port, '/again'));
  await until(client, 'ok');
  assert.is(served, 2);
  client.write(
    `POST http://127.0.0.1:${origin.port}/ HTTP/1.1\r\nHost: a\r\n${AUTH}Content-Length: 1\r\n\r\nx`,
  );
  assert.match(
    await until(client, 'code='),
    '502 Bad Gateway\r\nMastline-Error: leg=origin; code=origin-closed',
  );
  client.destroy();
  await rig.close();
  await origin.close();
});

test('chunked bodies and trailers pass both ways', async () => {
  const origin = await httpOrigin(async (request, response) => {
    const body = await bodyOf(request);
    response.setHeader('Trailer', 'X-Sum');
    response.write(`${request.method} ${body}`);
    response.addTrailers({ 'X-Sum': String(request.trailers['x-sum']) });
    response.end();
  });
  const rig = await startRig();
  const client = await tcp(rig.port);
  const head = `POST http://127.0.0.1:${origin.port}/ HTTP/1.1\r\nHost: a\r\n${AUTH}Transfer-Encoding: chunked\r\n\r\n`;
  for (const byte of `${head}4;x=y\r\nwiki\r\n3\r\ned.\r\n0\r\nX-Sum: 42\r\n\r\n`) client.write(byte);
  const got = await until(client, '\r\n0\r\nX-Sum: 42\r\n\r\n');
  assert.match(got, /Transfer-Encoding: chunked/i);
  assert.match(got, 'POST wiki');
  client.destroy();
  await rig.close();
  await origin.close();
});

test('100-continue comes from the origin, not from us', async () => {
  const origin = await httpOrigin(() => undefined);
  origin.server.on('checkContinue', async (request: IncomingMessage, response: ServerResponse) => {
    response.writeContinue();
    response.end(await bodyOf(request));
  });
  const rig = await startRig();
  const client = await tcp(rig.port);
  client.write(
    `PUT http://127.0.0.1:${origin.port}/ HTTP/1.1\r\nHost: a\r\n${AUTH}Expect: 100-continue\r\nContent-Length: 5\r\n\r\n`,
  );
  assert.is(await until(client, '\r\n\r\n'), 'HTTP/1.1 100 Continue\r\n\r\n');
  client.write('12345');
  assert.match(await until(client, '12345'), '200 OK');
  client.destroy();
  await rig.close();
  await origin.close();
});

test('an upgrade becomes a tunnel; a 101 that nobody asked for is a bad response', async () => {
  const origin = await startOrigin(socket => {
    socket.once('data', () => {
      socket.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nearly');
      socket.on('data', chunk => socket.write(chunk));
    });
  });
  const rig = await startRig();
  const client = await tcp(rig.port);
  client.write(get(origin.port, '/', 'Connection: Upgrade\r\nUpgrade: echo\r\n'));
  const got = await until(client, 'early');
  assert.match(got, '101 Switching Protocols\r\nUpgrade: echo\r\nConnection: Upgrade\r\n\r\nearly');
  client.write('GET / HTTP/1.1\r\n\r\n');
  await until(client, 'GET / HTTP/1.1\r\n\r\n');
  client.destroy();
  const second = await tcp(rig.port);
  second.write(get(origin.port, '/'));
  assert.match(await until(second, 'code='), 'origin-bad-response');
  second.destroy();
  await rig.close();
  await origin.close();
});

test('an HTTP/1.0 client gets plain bytes and an end', async () => {
  const origin = await startOrigin(socket => {
    socket.once('data', request => {
      socket.end(
        `HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n${request.toString().slice(0, 3)}\r\n0\r\n\r\n`,
      );
    });
  });
  const rig = await startRig();
  const client = await tcp(rig.port);
  client.write(get(origin.port, '/', '', '1.0'));
  const got = (await readAll(client)).toString();
  assert.match(got, 'Connection: close\r\n\r\nGET');
  assert.not.match(got, 'Transfer-Encoding');
  client.destroy();
  await rig.close();
  await origin.close();
});

test('a body that ends with the connection ends ours; one that breaks off resets ours', async () => {
  const origin = await startOrigin(socket => {
    socket.once('data', request => {
      if (request.includes('/whole')) socket.end('HTTP/1.1 200 OK\r\n\r\nall of it');
      else socket.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf', () => socket.end());
    });
  });
  const rig = await startRig();
  const whole = await tcp(rig.port);
  whole.write(get(origin.port, '/whole'));
  assert.match((await readAll(whole)).toString(), 'Connection: close\r\n\r\nall of it');
  whole.destroy();
  const half = await tcp(rig.port);
  half.write(get(origin.port, '/half'));
  assert.match(
    await readAll(half).then(
      () => 'a clean end',
      error => error.message,
    ),
    'ECONNRESET',
  );
  half.destroy();
  await rig.close();
  await origin.close();
});

const badResponses: [string, string][] = [
  ['two lengths', 'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nxx'],
  [
    'length and chunked',
    'HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n',
  ],
  ['a folded line', 'HTTP/1.1 200 OK\r\nX: 1\r\n 2\r\n\r\n'],
  ['no HTTP at all', 'SSH-2.0-OpenSSH\r\n\r\n'],
  ['an endless head', `HTTP/1.1 200 OK\r\nX: ${'x'.repeat(40_000)}`],
  ['endless interim answers', 'HTTP/1.1 103 Early Hints\r\n\r\n'.repeat(20)],
];
for (const [what, response] of badResponses)
  test(`a response with ${what} is refused as a fault of the origin`, async () => {
    const origin = await startOrigin(socket => socket.once('data', () => socket.write(response)));
    const rig = await startRig();
    const client = await tcp(rig.port);
    client.write(get(origin.port, '/'));
    assert.match(
      await until(client, 'code='),
      '502 Bad Gateway\r\nMastline-Error: leg=origin; code=origin-bad-response',
    );
    client.destroy();
    await rig.close();
    await origin.close();
  });

test('the connection may be used again after 407, and requests are judged one by one', async () => {
  const origin = await httpOrigin((_, response) => response.end('fine'));
  const rig = await startRig({ plan: { allowTargets: [`127.0.0.1:${origin.port}`] } });
  const client = await tcp(rig.port);
  client.write(`GET http://127.0.0.1:${origin.port}/ HTTP/1.1\r\nHost: a\r\n\r\n`);
  await until(client, 'are required.');
  client.write(get(origin.port, '/'));
  await until(client, 'fine');
  client.write(get(1, '/'));
  await until(client, 'code=private-target');
  client.write(get(origin.port, '/'));
  await until(client, 'fine');
  client.destroy();
  await rig.close();
  await origin.close();
});

test('a slow client holds the origin back', async () => {
  let written = 0;
  const origin = await httpOrigin((_, response) => {
    const block = Buffer.alloc(1 << 20);
    const more = () => {
      while (written < 48) {
        written += 1;
        if (!response.write(block)) return response.once('drain', more);
      }
      return response.end();
    };
    more();
  });
  const sink = memorySink();
  const rig = await startRig({ sink });
  const client = await tcp(rig.port);
  client.pause();
  client.write(get(origin.port, '/', 'Connection: close\r\n'));
  let before = -1;
  while (before !== written || written === 0) {
    before = written;
    await new Promise(resolve => setTimeout(resolve, 100));
  }
  assert.ok(written < 40, `${written} MiB written`);
  const got = await readAll(client);
  client.destroy();
  await rig.close();
  assert.is(sink.total().down, got.length);
  assert.ok(got.length > 48 << 20);
  await origin.close();
});

test('a large upload to a slow origin arrives whole', async () => {
  const origin = await httpOrigin(async (request, response) => {
    await new Promise(resolve => setTimeout(resolve, 100));
    response.end(String((await bodyOf(request)).length));
  });
  const sink = memorySink();
  const rig = await startRig({ sink });
  const client = await tcp(rig.port);
  const size = 32 << 20;
  client.write(
    `PUT http://127.0.0.1:${origin.port}/ HTTP/1.1\r\nHost: a\r\n${AUTH}Content-Length: ${size}\r\n\r\n`,
  );
  client.write(Buffer.alloc(size));
  assert.match(await until(client, String(size)), '200 OK');
  const wire = origin.connections[0]?.bytesRead;
  client.destroy();
  await rig.close();
  assert.is(sink.total().up, wire);
  await origin.close();
});

test.run();
