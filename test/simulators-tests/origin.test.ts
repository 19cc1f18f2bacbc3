/** The bundled origin: its parser cut everywhere, its bytes counted, its resumes right. */

import { request } from 'node:http';
import { connect } from 'node:net';
import { codeOf } from '@mastline/shared/base/coded-error';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { type Origin, patternByte, startOrigin } from '../simulators/origin';
import { ByteSource, parseHead, parseRange } from '../simulators/origin-request';
import { everySplit } from '../support/chunks';
import { suite } from '../support/suite';

const test = suite('origin');

let origin: Origin;
test.before(async () => {
  origin = await startOrigin({ host: '127.0.0.1', port: 0 });
});
test.after(() => origin.close());

const TWO = Buffer.from(
  'POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: 1\r\n\r\nGET /ip?id=7 HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi',
);

test('reads pipelined requests however they are cut', async () => {
  for (const parts of everySplit(TWO)) {
    const source = new ByteSource(parts.values() as unknown as AsyncIterator<Buffer>);
    const first = await source.head();
    let body = '';
    for await (const part of source.body(first!.framing)) body += part;
    const second = await source.head();
    let rest = '';
    for await (const part of source.body(second!.framing)) rest += part;
    assert.equal([first?.method, first?.path, body], ['POST', '/echo', 'abc']);
    assert.equal([second?.query.get('id'), second?.keepAlive, rest], ['7', false, 'hi']);
    assert.is(await source.head(), null);
  }
});

test('refuses what is no request, by one code', () => {
  const refused = (head: string) =>
    assert.throws(
      () => parseHead(head),
      (error: unknown) => codeOf(error) === 'origin/bad-request',
      head,
    );
  refused('');
  refused('GET /');
  refused('GET / HTTP/2');
  refused('GET / HTTP/1.1\r\nno colon');
  refused('GET / HTTP/1.1\r\ncontent-length: 1\r\ntransfer-encoding: chunked');
  refused('GET / HTTP/1.1\r\ncontent-length: -1');
  void fc.assert(
    fc.property(fc.string(), text => {
      try {
        parseHead(text);
      } catch (error) {
        assert.is(codeOf(error), 'origin/bad-request');
      }
    }),
  );
});

test('ranges: parts, suffixes, beyond, nonsense', () => {
  assert.equal(parseRange('bytes=2-4', 10), { kind: 'part', first: 2, last: 4 });
  assert.equal(parseRange('bytes=2-', 10), { kind: 'part', first: 2, last: 9 });
  assert.equal(parseRange('bytes=-3', 10), { kind: 'part', first: 7, last: 9 });
  assert.equal(parseRange('bytes=10-', 10), { kind: 'beyond' });
  assert.equal(parseRange('bytes=-0', 10), { kind: 'beyond' });
  for (const whole of [undefined, 'bytes=-', 'bytes=4-2', 'lines=1-2', 'bytes=0-1,3-4'])
    assert.equal(parseRange(whole, 10), { kind: 'whole' });
});

/** Sends raw bytes, gives every raw byte that came back until the origin closed. */
function raw(bytes: string): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const parts: Buffer[] = [];
    const socket = connect({ host: origin.address, port: origin.port }, () => socket.write(bytes));
    socket.on('data', part => parts.push(part));
    socket.on('end', () => resolve(Buffer.concat(parts)));
    socket.on('error', reject);
  });
}

test('counts every raw byte of a connection, both ways', async () => {
  const sent =
    'GET /bytes/300000?id=count HTTP/1.1\r\nHost: o\r\n\r\nHEAD /bytes/5 HTTP/1.1\r\nConnection: close\r\n\r\n';
  const got = await raw(sent);
  const [one] = origin.report('count').connections;
  assert.is(one?.bytesReceived, sent.length);
  assert.is(one?.bytesSent, got.length);
  assert.is(one?.requests, 2);
  assert.is(one?.remoteAddress, '127.0.0.1');
});

test('a resumed download fits what came before', async () => {
  const body = async (range: string) => {
    const got = await raw(`GET /bytes/200000 HTTP/1.1\r\nRange: bytes=${range}\r\nConnection: close\r\n\r\n`);
    return got.subarray(got.indexOf('\r\n\r\n') + 4);
  };
  const joined = Buffer.concat([await body('0-70000'), await body('70001-')]);
  assert.is(joined.length, 200_000);
  assert.ok(joined.every((byte, at) => byte === patternByte(at)));
});

test('answers 400 and closes when the request is none', async () => {
  assert.match((await raw('hello\r\n\r\n')).toString(), /^HTTP\/1\.1 400 .*request line/s);
});

test("a reader that stops costs the origin no memory beyond the kernel's", async () => {
  const socket = connect({ host: origin.address, port: origin.port });
  await new Promise(resolve => socket.once('connect', resolve));
  socket.write('GET /bytes/1000000000?id=slow HTTP/1.1\r\n\r\n');
  await new Promise(resolve => socket.once('readable', resolve));
  // Nobody reads on: the origin must be waiting for one write, far from the billion.
  const settled = async () => {
    for (let before = -1; ; ) {
      await new Promise(resolve => setImmediate(resolve));
      const now = origin.report('slow').connections[0]?.bytesSent ?? 0;
      if (now === before) return now;
      before = now;
    }
  };
  assert.ok((await settled()) < 100_000_000);
  const closed = new Promise(resolve => socket.once('close', resolve));
  socket.destroy();
  await closed;
});

test('echoes a large body while it is still being sent', async () => {
  const size = 5_000_000;
  const received = await new Promise<number>((resolve, reject) => {
    const call = request(
      { host: origin.address, port: origin.port, path: '/echo', method: 'POST', agent: false },
      response => {
        let bytes = 0;
        response.on('data', part => {
          bytes += part.length;
        });
        response.on('end', () => resolve(bytes));
      },
    );
    call.on('error', reject);
    call.end(Buffer.alloc(size, 7));
  });
  assert.is(received, size);
});

test.run();
