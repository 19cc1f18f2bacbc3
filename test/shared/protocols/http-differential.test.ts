/**
 * Requests that are nearly right, judged by another parser: what we forward of a stream, Node's own HTTP server
 * (llhttp) must read as the same requests with the same bodies. Where the two disagree, one could hide a request
 * from the other. Also: the cuts of a stream change nothing.
 */
import { once } from 'node:events';
import { createServer, METHODS } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { BodyScanner, responseFraming } from '@mastline/shared/protocols/http-body';
import { findHeadEnd, parseRequestHead, parseResponseHead } from '@mastline/shared/protocols/http-head';
import { readProxyLogin, readProxyRequest } from '@mastline/shared/protocols/http-proxy';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { cuts, nearly, singleBytes } from './mutations';
import { holds } from './property';

const test = suite('HTTP, judged by another parser');

const STREAM = Buffer.from(
  [
    'POST http://a.example/one HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello',
    'PUT http://a.example/two?x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n',
    '5;ext="x"\r\nworld\r\n0A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n',
    'GET http://a.example/three HTTP/1.1\r\nHost: a\r\nCookie: a=b\r\n\r\n',
  ].join(''),
);
const WORDS = [
  '\r\n',
  '\n',
  '\r',
  ' ',
  '\t',
  ':',
  ',',
  ';',
  '0\r\n\r\n',
  'Content-Length: 3\r\n',
  'content-length:0\r\n',
  'Transfer-Encoding: chunked\r\n',
  'Transfer-Encoding: identity\r\n',
  'Connection: Content-Length, Transfer-Encoding\r\n',
  'GET http://b.example/smuggled HTTP/1.1\r\nHost: b\r\n\r\n',
];

interface Read {
  method: string;
  path: string;
  body: string;
}

/** What a session makes of a client's stream: requests by our reading, and the bytes that go to the origin. */
function forwarded(stream: Buffer): { requests: Read[]; bytes: Buffer; end: string } {
  const requests: Read[] = [];
  const sent: Buffer[] = [];
  const over = (end: string) => ({ requests, bytes: Buffer.concat(sent), end });
  let rest = stream;
  for (;;) {
    const found = findHeadEnd(rest);
    if (found.kind !== 'end') return over(found.kind);
    const parsed = parseRequestHead(rest.subarray(0, found.end));
    if (!parsed.ok) return over(parsed.reason);
    const read = readProxyRequest(parsed.head);
    if (!read.ok) return over(read.reason);
    const { request } = read;
    if (request.kind === 'connect' || request.upgrade) return over(request.kind);
    rest = rest.subarray(found.end);
    const body: Buffer[] = [];
    const pieces: Buffer[] = [];
    const progress = new BodyScanner(request.framing).scan(rest, piece => pieces.push(Buffer.from(piece)));
    new BodyScanner(request.framing, { bare: true }).scan(rest, piece => body.push(Buffer.from(piece)));
    // A request whose body does not come to its end is no request yet.
    if (progress.kind !== 'done') return over(progress.kind);
    rest = rest.subarray(progress.used);
    sent.push(request.head, ...pieces);
    const path = request.head.toString('latin1').split(' ')[1] ?? '';
    requests.push({ method: request.method, path, body: Buffer.concat(body).toString('latin1') });
    if (!request.keepAlive || request.minor === 0) return over('last');
  }
}

test('what is forwarded is read by llhttp as the same requests', async () => {
  let heard: Read[] = [];
  const server = createServer((request, response) => {
    const chunks: Buffer[] = [];
    request.on('data', chunk => chunks.push(chunk));
    request.on('end', () => {
      const body = Buffer.concat(chunks).toString('latin1');
      heard.push({ method: request.method ?? '', path: request.url ?? '', body });
      response.end();
    });
  });
  const wrong: string[] = [];
  server.on('clientError', (error, socket) => {
    wrong.push(error.message);
    socket.destroy();
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  let carried = 0;
  for (const stream of fc.sample(nearly(STREAM, WORDS), 1_000)) {
    const { requests, bytes } = forwarded(stream);
    // llhttp knows a list of methods, we take every token; that is no difference in where a message ends.
    if (bytes.length === 0 || requests.some(one => !METHODS.includes(one.method))) continue;
    heard = [];
    const socket = connect(port, '127.0.0.1');
    socket.end(bytes);
    socket.resume();
    await once(socket, 'close');
    const what = JSON.stringify(stream.toString('latin1'));
    assert.equal(wrong, [], what);
    assert.equal(heard, requests, what);
    carried += 1;
  }
  assert.ok(carried > 100, `${carried} streams of 1,000 had something to forward`);
  server.closeAllConnections();
  server.close();
  await once(server, 'close');
});

test('where a head ends does not depend on how it is cut', () => {
  holds(
    fc.property(nearly(STREAM, WORDS), cuts, (stream, cut) => {
      const whole = findHeadEnd(stream);
      for (const chunks of [cut(stream), singleBytes(stream)]) {
        let [seen, scanned] = [Buffer.alloc(0), 0];
        let found: ReturnType<typeof findHeadEnd> = { kind: 'more' };
        for (const chunk of chunks) {
          seen = Buffer.concat([seen, chunk]);
          found = findHeadEnd(seen, scanned);
          if (found.kind !== 'more') break;
          scanned = seen.length;
        }
        assert.equal(found, whole);
      }
    }),
    2_000,
  );
});

const BODY = Buffer.from('4;ext="x"\r\nwiki\r\n0A\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\nGET ');

test('where a body ends, and what is passed on of it, does not depend on how it is cut', () => {
  const scan = (chunks: Buffer[], bare: boolean) => {
    const scanner = new BodyScanner({ kind: 'chunked' }, { bare });
    const passed: Buffer[] = [];
    let used = 0;
    for (const chunk of chunks) {
      const progress = scanner.scan(chunk, piece => passed.push(Buffer.from(piece)));
      if (progress.kind === 'bad') return { end: 'bad' };
      used += progress.kind === 'done' ? progress.used : chunk.length;
      if (progress.kind === 'done')
        return { end: 'done', used, passed: Buffer.concat(passed).toString('latin1') };
    }
    return { end: 'more', used, passed: Buffer.concat(passed).toString('latin1') };
  };
  holds(
    fc.property(nearly(BODY, WORDS), cuts, fc.boolean(), (body, cut, bare) => {
      const whole = scan([body], bare);
      assert.equal(scan(cut(body), bare), whole);
      assert.equal(scan(singleBytes(body), bare), whole);
    }),
    3_000,
  );
});

test('responses and logins that are nearly right never throw', () => {
  const response = Buffer.from(
    'HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n',
  );
  holds(
    fc.property(nearly(response, WORDS), fc.constantFrom('GET', 'HEAD', 'CONNECT'), (bytes, method) => {
      const found = findHeadEnd(bytes);
      if (found.kind !== 'end') return;
      const head = parseResponseHead(bytes.subarray(0, found.end));
      if (head) responseFraming(head, method);
    }),
    3_000,
  );
  holds(
    fc.property(nearly(Buffer.from('Basic YWxpY2U6c2VjcmV0'), ['=', '-', ':']), value => {
      const field = { name: 'x', key: 'proxy-authorization', value: value.toString('latin1') };
      const login = readProxyLogin([field]);
      if (login.kind === 'basic') assert.not.match(login.username, ':');
    }),
    2_000,
  );
});

test.run();
