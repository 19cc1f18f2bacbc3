import {
  BodyScanner,
  type Framing,
  requestFraming,
  responseFraming,
} from '@mastline/shared/protocols/http-body';
import {
  findHeadEnd,
  MAX_HEAD_BYTES,
  parseRequestHead,
  parseResponseHead,
} from '@mastline/shared/protocols/http-head';
import { readProxyLogin, readProxyRequest } from '@mastline/shared/protocols/http-proxy';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { everySplit } from '../../support/chunks';
import { suite } from '../../support/suite';
import { holds } from './property';

const test = suite('HTTP proxy parsing');

/** What becomes of a request head: the head as forwarded, CONNECT's target, or the reason of refusal. */
function read(text: string): string {
  const bytes = Buffer.from(text, 'latin1');
  const found = findHeadEnd(bytes);
  if (found.kind !== 'end') return found.kind;
  const parsed = parseRequestHead(bytes.subarray(0, found.end));
  if (!parsed.ok) return parsed.reason;
  const outcome = readProxyRequest(parsed.head);
  if (!outcome.ok) return outcome.reason;
  const { request } = outcome;
  if (request.kind === 'connect') return `connect ${request.target.host} ${request.target.port}`;
  return request.head.toString('latin1');
}

test('forwards an absolute-form request with its hop-by-hop fields taken off', () => {
  const forwarded = read(
    [
      'POST http://Example.com:8080/a?b=c HTTP/1.1',
      'Host: ignored.example',
      'Proxy-Authorization: Basic c2VjcmV0',
      'Proxy-Connection: keep-alive',
      'Connection: close, X-Private',
      'X-Private: 1',
      'Keep-Alive: timeout=5',
      'Content-Length: 3',
      'X-Kept:  spaced value\t',
      '',
      '',
    ].join('\r\n'),
  );
  assert.is(
    forwarded,
    'POST /a?b=c HTTP/1.1\r\nHost: example.com:8080\r\nContent-Length: 3\r\nX-Kept: spaced value\r\n\r\n',
  );
});

test('frames, upgrades and trailers survive where they are meant to', () => {
  const head = (...fields: string[]) =>
    read(`GET http://a.example/ HTTP/1.1\r\nHost: a\r\n${fields.join('\r\n')}\r\n\r\n`);
  assert.match(head('Transfer-Encoding: chunked'), 'Transfer-Encoding: chunked');
  const upgrade = head('Connection: Upgrade', 'Upgrade: websocket');
  assert.match(upgrade, 'Upgrade: websocket\r\nConnection: Upgrade');
  assert.not.match(head('Upgrade: websocket'), 'Upgrade', 'not asked for by Connection');
  assert.match(head('TE: trailers, gzip', 'Connection: TE'), 'TE: trailers\r\nConnection: TE');
  assert.match(head('Connection: Content-Length, Host', 'Content-Length: 5'), 'Content-Length: 5');
});

test('empty paths, queries and OPTIONS', () => {
  const first = (line: string) => read(`${line}\r\nHost: a\r\n\r\n`).split('\r\n')[0];
  assert.is(first('GET http://a.example HTTP/1.1'), 'GET / HTTP/1.1');
  assert.is(first('GET http://a.example?q HTTP/1.1'), 'GET /?q HTTP/1.1');
  assert.is(first('OPTIONS http://a.example HTTP/1.1'), 'OPTIONS * HTTP/1.1');
  assert.is(first('GET http://[2001:db8::1]:81/x HTTP/1.0'), 'GET /x HTTP/1.0');
});

test('reads CONNECT targets', () => {
  const connect = (authority: string) => read(`CONNECT ${authority} HTTP/1.1\r\nHost: a\r\n\r\n`);
  assert.is(connect('example.com:443'), 'connect example.com 443');
  assert.is(connect('[2001:db8::1]:443'), 'connect 2001:db8::1 443');
  for (const bad of [
    'example.com',
    'example.com:0',
    'example.com:65536',
    'u@example.com:1',
    '2001:db8::1:443',
    '[1.2.3.4]:1',
    ':443',
  ])
    assert.is(connect(bad), 'bad-request', bad);
});

const HOST = 'Host: a\r\n';
const line = (fields: string) => `POST http://a.example/ HTTP/1.1\r\n${HOST}${fields}\r\n\r\n`;
const smuggles: [string, string, string][] = [
  ['two lengths', line('Content-Length: 3\r\nContent-Length: 4'), 'bad-framing'],
  ['two equal lengths', line('Content-Length: 3\r\nContent-Length: 3'), 'bad-framing'],
  ['a list of lengths', line('Content-Length: 3, 3'), 'bad-framing'],
  ['a signed length', line('Content-Length: +3'), 'bad-framing'],
  ['a negative length', line('Content-Length: -1'), 'bad-framing'],
  ['a hexadecimal length', line('Content-Length: 0x3'), 'bad-framing'],
  ['an empty length', line('Content-Length:'), 'bad-framing'],
  ['a length that is no safe integer', line(`Content-Length: ${'9'.repeat(16)}`), 'bad-framing'],
  ['length and chunked', line('Content-Length: 3\r\nTransfer-Encoding: chunked'), 'bad-framing'],
  ['another coding', line('Transfer-Encoding: gzip, chunked'), 'bad-framing'],
  ['an unknown coding', line('Transfer-Encoding: xchunked'), 'bad-framing'],
  ['chunked twice', line('Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked'), 'bad-framing'],
  ['an empty coding', line('Transfer-Encoding:'), 'bad-framing'],
  [
    'chunked in HTTP/1.0',
    `POST http://a.example/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n`,
    'bad-framing',
  ],
  [
    'CONNECT with a body',
    `CONNECT a.example:443 HTTP/1.1\r\n${HOST}Content-Length: 3\r\n\r\n`,
    'bad-framing',
  ],
  ['a folded line', line('X: 1\r\n 2'), 'bad-request'],
  ['a blank before the colon', line('Content-Length : 3'), 'bad-request'],
  ['a field without a name', line(': 3'), 'bad-request'],
  ['a field without a colon', line('nothing'), 'bad-request'],
  ['a bare LF in a field', line('X: 1\nContent-Length: 3'), 'bad'],
  ['a bare LF as an end', `GET http://a.example/ HTTP/1.1\n${HOST}\r\n`, 'bad'],
  ['a bare CR in a field', line('X: 1\rContent-Length: 3'), 'bad-request'],
  ['a NUL in a field', line('X: \0'), 'bad-request'],
  ['two hosts', line('Host: b'), 'bad-request'],
  ['no host', 'GET http://a.example/ HTTP/1.1\r\n\r\n', 'bad-request'],
  ['a user in the address', `GET http://u:p@a.example/ HTTP/1.1\r\n${HOST}\r\n`, 'bad-request'],
  ['two blanks in the request line', `GET  http://a.example/ HTTP/1.1\r\n${HOST}\r\n`, 'bad-request'],
  ['a version that is none', `GET http://a.example/ HTTP/1.2\r\n${HOST}\r\n`, 'unsupported-version'],
  ['HTTP/2 by name', `GET http://a.example/ HTTP/2.0\r\n${HOST}\r\n`, 'unsupported-version'],
  ['a request for the proxy itself', `GET / HTTP/1.1\r\n${HOST}\r\n`, 'not-a-proxy-request'],
  [
    'an https address without CONNECT',
    `GET https://a.example/ HTTP/1.1\r\n${HOST}\r\n`,
    'not-a-proxy-request',
  ],
  ['a head that begins with its end', '\n\r\n', 'bad'],
  [
    'too many fields',
    line(Array.from({ length: 200 }, (_, at) => `X-${at}: 1`).join('\r\n')),
    'head-too-large',
  ],
];
for (const [what, text, answer] of smuggles) test(`refuses ${what}`, () => assert.is(read(text), answer));

test('finds the end of a head however it is cut, and bounds it', () => {
  const bytes = Buffer.from(`GET http://a.example/ HTTP/1.1\r\n${HOST}\r\nrest`);
  for (let cut = 0; cut <= bytes.length; cut += 1) {
    const first = findHeadEnd(bytes.subarray(0, cut));
    if (first.kind === 'end') assert.is(first.end, bytes.length - 4);
    else assert.equal(findHeadEnd(bytes, cut), { kind: 'end', end: bytes.length - 4 });
  }
  assert.is(findHeadEnd(Buffer.alloc(MAX_HEAD_BYTES, 'a')).kind, 'too-large');
  assert.is(findHeadEnd(Buffer.alloc(MAX_HEAD_BYTES - 1, 'a')).kind, 'more');
});

test('reads Basic credentials and nothing else', () => {
  const login = (...values: string[]) =>
    readProxyLogin(values.map(value => ({ name: 'Proxy-Authorization', key: 'proxy-authorization', value })));
  const basic = (text: string) => `Basic ${Buffer.from(text).toString('base64')}`;
  assert.equal(login(), { kind: 'none' });
  assert.equal(login(basic('käthe:s:e')), { kind: 'basic', username: 'käthe', secret: 's:e' });
  assert.is(login(basic('no colon')).kind, 'malformed');
  assert.is(login(basic('a:b'), basic('c:d')).kind, 'malformed');
  assert.is(login('Bearer x').kind, 'malformed');
});

/** Scans `chunks`; what was passed on, and how it ended. */
function scan(
  framing: Framing,
  chunks: Buffer[],
  bare = false,
): { passed: string; end: string; left: string } {
  const scanner = new BodyScanner(framing, { bare });
  const passed: Buffer[] = [];
  for (const [index, chunk] of chunks.entries()) {
    const progress = scanner.scan(chunk, piece => passed.push(Buffer.from(piece)));
    if (progress.kind === 'more') continue;
    const left =
      progress.kind === 'done'
        ? Buffer.concat([chunk.subarray(progress.used), ...chunks.slice(index + 1)])
        : '';
    return { passed: Buffer.concat(passed).toString('latin1'), end: progress.kind, left: left.toString() };
  }
  return { passed: Buffer.concat(passed).toString('latin1'), end: 'more', left: '' };
}

test('frames chunked bodies anew, however they are cut: no extensions, safe trailers only', () => {
  const body = Buffer.from(
    '4;ext="x"\r\nwiki\r\n0A\r\n0123456789\r\n0\r\nX-Sum: 1\r\nProxy-Authorization: Basic x\r\nContent-Length: 9\r\n\r\nGET ',
  );
  for (const split of everySplit(body)) {
    assert.equal(scan({ kind: 'chunked' }, split), {
      passed: '4\r\nwiki\r\na\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n',
      end: 'done',
      left: 'GET ',
    });
    assert.is(scan({ kind: 'chunked' }, split, true).passed, 'wiki0123456789');
  }
});

const badChunks: [string, string][] = [
  ['no size', '\r\nx'],
  ['a signed size', '+4\r\nwiki\r\n'],
  ['a size with 0x', '0x4\r\nwiki\r\n'],
  ['a size beyond 48 bits', '1234567890abc\r\n'],
  ['a blank before the size', ' 4\r\nwiki\r\n'],
  ['a bare LF behind the size', '4\nwiki\r\n'],
  ['data longer than its size', '4\r\nwikis\r\n0\r\n\r\n'],
  ['data without its CRLF', '4\r\nwiki\n0\r\n\r\n'],
  ['an endless extension', `4;${'x'.repeat(2000)}`],
  ['a folded trailer', '0\r\nX: 1\r\n 2\r\n\r\n'],
  ['endless trailers', `0\r\n${'X: 0123456789\r\n'.repeat(2000)}`],
];
for (const [what, text] of badChunks)
  test(`refuses chunking with ${what}`, () => {
    const bytes = Buffer.from(text);
    assert.is(scan({ kind: 'chunked' }, [bytes]).end, 'bad');
    assert.is(
      scan(
        { kind: 'chunked' },
        Array.from(bytes, byte => Buffer.from([byte])),
      ).end,
      'bad',
    );
  });

test('counts bodies of a given length and leaves the next message alone', () => {
  for (const split of everySplit(Buffer.from('12345GET ')))
    assert.equal(scan({ kind: 'length', bytes: 5 }, split), { passed: '12345', end: 'done', left: 'GET ' });
});

test('knows how long a response is', () => {
  const framing = (status: number, fields: string, method = 'GET') => {
    const head = parseResponseHead(Buffer.from(`HTTP/1.1 ${status} OK\r\n${fields}\r\n\r\n`));
    return head ? (responseFraming(head, method)?.kind ?? 'bad') : 'unreadable';
  };
  assert.is(framing(200, 'Content-Length: 5'), 'length');
  assert.is(framing(200, 'Content-Length: 5', 'HEAD'), 'none');
  assert.is(framing(304, 'Content-Length: 5'), 'none');
  assert.is(framing(204, 'X: 1'), 'none');
  assert.is(framing(200, 'X: 1'), 'until-close');
  assert.is(framing(200, 'Transfer-Encoding: chunked'), 'chunked');
  assert.is(framing(200, 'Transfer-Encoding: chunked\r\nContent-Length: 5'), 'bad');
  assert.is(framing(200, 'Content-Length: 5\r\nContent-Length: 6'), 'bad');
  assert.is(framing(200, 'Bad Field: 1'), 'unreadable');
  assert.is(framing(99, 'X: 1'), 'unreadable');
});

test('never throws, and any cut gives the same body', () => {
  holds(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(200), (bytes, cut) => {
      const whole = Buffer.from(bytes);
      read(whole.toString('latin1'));
      const at = Math.min(cut, whole.length);
      const one = scan({ kind: 'chunked' }, [whole]);
      const two = scan({ kind: 'chunked' }, [whole.subarray(0, at), whole.subarray(at)]);
      if (one.end !== 'bad') assert.equal(two, one);
    }),
    3000,
  );
});

test('a head that is accepted is forwarded as a head that reads the same', () => {
  const name = fc.stringMatching(/^[A-Za-z][A-Za-z0-9-]{0,12}$/);
  const value = fc.stringMatching(/^[!-~]{0,20}$/);
  holds(
    fc.property(fc.array(fc.tuple(name, value), { maxLength: 10 }), fields => {
      const text = `GET http://a.example/p HTTP/1.1\r\n${HOST}${fields.map(([k, v]) => `${k}: ${v}\r\n`).join('')}\r\n`;
      const forwarded = read(text);
      if (!forwarded.includes('\r\n')) return;
      const parsed = parseRequestHead(Buffer.from(forwarded, 'latin1'));
      assert.ok(parsed.ok);
      if (parsed.ok) {
        assert.is(parsed.head.target, '/p');
        assert.is(parsed.head.fields.filter(field => field.key === 'host').length, 1);
        assert.is(
          parsed.head.fields.some(field => field.key.startsWith('proxy-auth')),
          false,
        );
        assert.ok(requestFraming(parsed.head) !== null);
      }
    }),
    1000,
  );
});

test.run();
