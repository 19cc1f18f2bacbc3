/** ss:// links and their pictures. */
import assert from 'node:assert/strict';
import {
  formatShadowsocksLink,
  parseShadowsocksLink,
  type ShadowsocksLink,
} from '@mastline/shared/protocols/shadowsocks/link';
import { MAX_QR_BYTES, qrCodeSvg } from '@mastline/shared/protocols/shadowsocks/qr-code';
import fc from 'fast-check';
import { suite } from '../../../support/suite';
import { holds } from '../property';
import { methodOf, run } from './reference';

const test = suite('shadowsocks links');

const link = (parts: Partial<ShadowsocksLink>): ShadowsocksLink => ({
  method: 'aes-128-gcm',
  password: 'test',
  host: '192.168.100.1',
  port: 8888,
  name: 'Example1',
  ...parts,
});

test("reads and writes the specification's example", () => {
  const text = 'ss://YWVzLTEyOC1nY206dGVzdA@192.168.100.1:8888#Example1';
  assert.equal(formatShadowsocksLink(link({})), text);
  assert.deepEqual(parseShadowsocksLink(text), { kind: 'link', link: link({}) });
});

test('2022 credentials are percent-encoded, as in the example of the specification', () => {
  const password = 'YctPZ6U7xPPcU+gp3u+0tx/tRizJN9K8y+uKlW2qjlI=';
  const text =
    'ss://2022-blake3-aes-256-gcm:YctPZ6U7xPPcU%2Bgp3u%2B0tx%2FtRizJN9K8y%2BuKlW2qjlI%3D@192.168.100.1:8888#Example3';
  const wanted = link({ method: '2022-blake3-aes-256-gcm', password, name: 'Example3' });
  assert.equal(formatShadowsocksLink(wanted), text);
  assert.deepEqual(parseShadowsocksLink(text), { kind: 'link', link: wanted });
});

test('every link that can be written reads back as the same', () => {
  const key = (bytes: number) =>
    fc.uint8Array({ minLength: bytes, maxLength: bytes }).map(made => Buffer.from(made).toString('base64'));
  const method = fc.constantFrom(
    'aes-128-gcm',
    'aes-256-gcm',
    'chacha20-ietf-poly1305',
    '2022-blake3-aes-128-gcm',
    '2022-blake3-aes-256-gcm',
  );
  const made = method.chain(name => {
    const { edition, keyBytes } = methodOf(name);
    return fc.record({
      method: fc.constant(name as ShadowsocksLink['method']),
      password:
        edition === 'aead'
          ? fc.oneof(fc.string({ minLength: 1 }), fc.fullUnicodeString({ minLength: 1 }))
          : fc.array(key(keyBytes), { minLength: 1, maxLength: 3 }).map(keys => keys.join(':')),
      host: fc.oneof(
        fc.ipV4(),
        fc.ipV6().map(text => text.toLowerCase()),
        fc.constantFrom('proxy.example.org', 'a'),
      ),
      port: fc.integer({ min: 1, max: 65_535 }),
      name: fc.option(fc.fullUnicodeString(), { nil: null }),
    });
  });
  holds(
    fc.property(made, one => {
      assert.deepEqual(parseShadowsocksLink(formatShadowsocksLink(one)), { kind: 'link', link: one });
    }),
    500,
  );
});

test('reads what other programs write: padding, plain AEAD credentials, a slash, upper case, foreign parameters', () => {
  for (const text of [
    'ss://YWVzLTEyOC1nY206dGVzdA==@192.168.100.1:8888/#Example1',
    'ss://YWVzLTEyOC1nY206dGVzdA%3D%3D@192.168.100.1:8888#Example1',
    'ss://aes-128-gcm:test@192.168.100.1:8888#Example1',
    'SS://AES-128-GCM:%74est@192.168.100.1:8888/?outline=1#Example1',
    '  ss://YWVzLTEyOC1nY206dGVzdA@192.168.100.1:8888#Example1\n',
  ])
    assert.deepEqual(parseShadowsocksLink(text), { kind: 'link', link: link({}) }, text);
});

test('what is wrong is named, with the remedy, without the secret', () => {
  const secret = 'hunter2hunter2';
  const encoded = (text: string) => Buffer.from(text).toString('base64url');
  const cases: [string, string, RegExp][] = [
    ['http://example.org', 'scheme', /begins with ss:/],
    [`ss://${'a'.repeat(5000)}`, 'scheme', /at most 4096/],
    [`ss://${encoded(`aes-128-gcm:${secret}@1.2.3.4:80`)}`, 'credentials', /before SIP002/],
    [`ss://${encoded(secret)}@1.2.3.4:80`, 'credentials', /method:password/],
    [`ss://%zz:${secret}@1.2.3.4:80`, 'credentials', /method:password/],
    [`ss://rc4-md5:${secret}@1.2.3.4:80`, 'method', /aes-128-gcm.*2022-blake3/],
    [`ss://aes-128-gcm:@1.2.3.4:80`, 'password', /must not be empty/],
    [`ss://2022-blake3-aes-128-gcm:${secret}@1.2.3.4:80`, 'password', /16 bytes in base64/],
    [
      `ss://${encoded(`2022-blake3-aes-128-gcm:${run(1, 16).toString('base64')}`)}@1.2.3.4:80`,
      'credentials',
      /percent-encoded/,
    ],
    [`ss://aes-128-gcm:${secret}@1.2.3.4`, 'address', /host:port/],
    [`ss://aes-128-gcm:${secret}@1.2.3.4:0`, 'address', /host:port/],
    [`ss://aes-128-gcm:${secret}@::1:80`, 'address', /brackets/],
    [`ss://aes-128-gcm:${secret}@1.2.3.4:80/?plugin=obfs-local`, 'plugin', /not supported/],
    [`ss://aes-128-gcm:${secret}@1.2.3.4:80#%zz`, 'name', /percent-encoding/],
  ];
  for (const [text, field, problem] of cases) {
    const parsed = parseShadowsocksLink(text);
    assert.equal(parsed.kind, 'invalid', text);
    if (parsed.kind !== 'invalid') return;
    assert.equal(parsed.field, field, text);
    assert.match(parsed.problem, problem);
    assert.ok(!parsed.problem.includes(secret));
  }
});

test('a link that could not be read back is not written', () => {
  const refused = (parts: Partial<ShadowsocksLink>, code: string) =>
    assert.throws(() => formatShadowsocksLink(link(parts)), { code });
  refused({ method: 'rc4-md5' as 'aes-128-gcm' }, 'shadowsocks/unknown-method');
  refused({ password: '' }, 'shadowsocks/empty-password');
  refused({ method: '2022-blake3-aes-128-gcm' }, 'shadowsocks/bad-key');
  refused({ host: 'a b' }, 'shadowsocks/bad-target');
  refused({ port: 0 }, 'shadowsocks/bad-target');
});

test('a QR code is an SVG document whose modules follow the text', () => {
  const text = formatShadowsocksLink(link({}));
  const svg = qrCodeSvg(text);
  assert.match(svg, /^<svg xmlns="http:\/\/www\.w3\.org\/2000\/svg" viewBox="0 0 \d+ \d+">.*<\/svg>$/s);
  assert.ok(!svg.includes(text));
  assert.notEqual(svg, qrCodeSvg(`${text}x`));
  assert.equal(svg, qrCodeSvg(text));
  assert.ok(qrCodeSvg('x'.repeat(MAX_QR_BYTES)).length > 0);
  for (const bad of ['', 'x'.repeat(MAX_QR_BYTES + 1)])
    assert.throws(() => qrCodeSvg(bad), { code: 'qr/too-long' });
});

test.run();
