import { HttpConnectClient, type HttpConnectStep } from '@mastline/shared/protocols/http-connect-client';
import { findHeadEnd, parseRequestHead } from '@mastline/shared/protocols/http-head';
import { readProxyLogin, readProxyRequest } from '@mastline/shared/protocols/http-proxy';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { holds } from './property';

const test = suite('HTTP CONNECT, client side');
const TARGET = { host: 'origin.example', port: 443 };

function answer(text: string, cut = text.length): HttpConnectStep {
  const client = new HttpConnectClient(TARGET, null);
  for (const part of [text.slice(0, cut), text.slice(cut)]) {
    if (part === '') continue;
    client.feed(Buffer.from(part, 'latin1'));
    const step = client.next();
    if (step.kind !== 'more') {
      if (step.kind === 'connected' && cut < text.length && part !== text.slice(cut))
        return {
          kind: 'connected',
          surplus: Buffer.concat([step.surplus, Buffer.from(text.slice(cut), 'latin1')]),
        };
      return step;
    }
  }
  return { kind: 'more' };
}

test('our own server understands the request, IPv6 and credentials included', () => {
  for (const target of [TARGET, { host: '2001:db8::1', port: 8443 }]) {
    const bytes = new HttpConnectClient(target, { username: 'ä b', secret: 'c:d' }).request();
    const found = findHeadEnd(bytes);
    assert.equal(found, { kind: 'end', end: bytes.length });
    const parsed = parseRequestHead(bytes);
    assert.ok(parsed.ok);
    assert.equal(readProxyRequest(parsed.head), { ok: true, request: { kind: 'connect', target } });
    assert.equal(readProxyLogin(parsed.head.fields), { kind: 'basic', username: 'ä b', secret: 'c:d' });
  }
});

const answers: [string, HttpConnectStep][] = [
  ['HTTP/1.1 200 OK\r\n\r\nearly', { kind: 'connected', surplus: Buffer.from('early') }],
  [
    'HTTP/1.0 200 Connection established\r\nProxy-agent: x\r\n\r\n',
    { kind: 'connected', surplus: Buffer.alloc(0) },
  ],
  ['HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n\r\n', { kind: 'connected', surplus: Buffer.alloc(0) }],
  ['HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nearly', { kind: 'connected', surplus: Buffer.from('early') }],
  ['HTTP/1.1 407 x\r\n\r\n', { kind: 'failed', cause: 'bad-credentials', status: 407 }],
  ['HTTP/1.1 502 x\r\n\r\nbody', { kind: 'failed', cause: 'refused', status: 502 }],
  ['HTTP/1.1 302 x\r\nLocation: y\r\n\r\n', { kind: 'failed', cause: 'refused', status: 302 }],
  ['HTTP/1.1 101 x\r\n\r\n', { kind: 'failed', cause: 'not-http', status: 101 }],
  ['SSH-2.0-OpenSSH\r\n\r\n', { kind: 'failed', cause: 'not-http', status: null }],
  ['HTTP/1.1 200 OK\nX: bare line feeds\n\n', { kind: 'failed', cause: 'not-http', status: null }],
  [`HTTP/1.1 200 OK\r\nX: ${'y'.repeat(40_000)}`, { kind: 'failed', cause: 'not-http', status: null }],
];
for (const [text, expected] of answers)
  test(`reads ${JSON.stringify(text.slice(0, 40))}, however it is cut`, () => {
    assert.equal(answer(text), expected);
    const end = Math.min(text.length, 200);
    for (let cut = 1; cut < end; cut += 1) assert.equal(answer(text, cut), expected, `cut at ${cut}`);
  });

test('interim responses have a bound', () => {
  const step = answer('HTTP/1.1 100 Continue\r\n\r\n'.repeat(20));
  assert.equal(step, { kind: 'failed', cause: 'not-http', status: 100 });
});

test('random bytes never throw and never open the way', () => {
  holds(
    fc.property(fc.array(fc.uint8Array({ maxLength: 60 }), { maxLength: 8 }), parts => {
      const client = new HttpConnectClient(TARGET, null);
      for (const part of parts) {
        client.feed(Buffer.from(part));
        assert.is.not(client.next().kind, 'connected');
      }
    }),
  );
});

test.run();
