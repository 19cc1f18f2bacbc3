/** Keys: from passwords, from base64, per session. Against published values and other programs' results. */
import assert from 'node:assert/strict';
import { hkdfSync } from 'node:crypto';
import {
  identityKey,
  identityOf,
  keyFromBase64,
  keyFromPassword,
  keysFromPassword,
  sessionKey,
} from '@mastline/shared/protocols/shadowsocks/keys';
import {
  findMethod,
  readBytesFor,
  requireMethod,
  SHADOWSOCKS_METHODS,
} from '@mastline/shared/protocols/shadowsocks/methods';
import { blake3 } from '@noble/hashes/blake3.js';
import { suite } from '../../../support/suite';
import { methodOf, run, VECTORS } from './reference';

const test = suite('shadowsocks keys');

test('passwords become keys as `openssl enc -md md5 -nosalt -k … -P` makes them', () => {
  assert.equal(
    keyFromPassword('foobar', 32).toString('hex'),
    '3858f62230ac3c915f300c664312c63f568378529614d22ddb49237d2f60bfdf',
  );
  assert.equal(keyFromPassword('correct horse', 16).toString('hex'), '3cb4e732631f47e6eb961f34554b7cde');
});

test('AEAD session keys are HKDF-SHA1 of RFC 5869, as node:crypto computes it', () => {
  for (const name of ['aes-128-gcm', 'aes-256-gcm', 'chacha20-ietf-poly1305']) {
    const method = methodOf(name);
    const key = run(7, method.keyBytes);
    const salt = run(99, method.saltBytes);
    const expected = Buffer.from(hkdfSync('sha1', key, salt, 'ss-subkey', method.keyBytes));
    assert.deepEqual(sessionKey(method, key, salt).export(), expected);
  }
});

test('BLAKE3 agrees with the published test vectors', () => {
  // test_vectors.json of the BLAKE3 team: input of length 0.
  const context = Buffer.from('BLAKE3 2019-12-27 16:29:52 test vectors context');
  assert.equal(
    Buffer.from(blake3(Buffer.alloc(0))).toString('hex'),
    'af1349b9f5f9a1a6a0404dea36dcc9499bcb25c9adc112b7cc9a93cae41f3262',
  );
  assert.equal(
    Buffer.from(blake3(Buffer.alloc(0), { context })).toString('hex'),
    '2cc39783c223154fea8dfb7c1b1660f2ac2dcbd1c1de8277b0b0dd39b7e50d7d',
  );
});

test('2022 session keys agree with what another implementation published', () => {
  const key = Buffer.from('Lc3tTx0BY6ZJ/fCwOx3JvF0I/anhwJBO5p2+FA5Vce4=', 'base64');
  const salt = Buffer.from('3oFO0VyLyGI4nFN0M9P+62vPND/L6v8IingaPJWTbJA=', 'base64');
  const method = methodOf('2022-blake3-aes-256-gcm');
  assert.equal(
    sessionKey(method, key, salt).export().toString('base64'),
    'EdNE+4U8dVnHT0+poAFDK2bdlwfrHT61sUNr9WYPh+E=',
  );
});

for (const vector of VECTORS)
  test(`${vector.name}: session, identity and hash are what b3sum makes of them`, () => {
    const method = methodOf(vector.name);
    assert.deepEqual(sessionKey(method, vector.key, vector.requestSalt).export(), vector.requestKey);
    assert.deepEqual(sessionKey(method, vector.key, vector.clientSession).export(), vector.clientSessionKey);
    assert.deepEqual(identityKey(method, vector.serverKey, vector.requestSalt).export(), vector.identityKey);
    assert.deepEqual(identityOf(vector.key), vector.identity);
  });

test('2022 keys must be base64 of the right length, and the error does not show them', () => {
  const method = methodOf('2022-blake3-aes-256-gcm');
  assert.deepEqual(keyFromBase64(run(1, 32).toString('base64'), method), run(1, 32));
  assert.deepEqual(keyFromBase64(run(1, 32).toString('base64').replace('=', ''), method), run(1, 32));
  for (const bad of ['', 'secret-words', run(1, 16).toString('base64'), `${run(1, 32).toString('base64')}!`])
    assert.throws(
      () => keyFromBase64(bad, method),
      (error: Error & { code: string }) =>
        error.code === 'shadowsocks/bad-key' &&
        /32 bytes in base64/.test(error.message) &&
        !(bad && error.message.includes(bad)),
    );
});

test('a 2022 password may hold identity keys before the user key', () => {
  const method = methodOf('2022-blake3-aes-128-gcm');
  const text = [run(1, 16), run(2, 16)].map(key => key.toString('base64')).join(':');
  assert.deepEqual(keysFromPassword(text, method), [run(1, 16), run(2, 16)]);
  assert.throws(() => keysFromPassword('', methodOf('aes-128-gcm')), { code: 'shadowsocks/empty-password' });
});

test('methods are found in any letter case, and an unknown one names the known', () => {
  assert.equal(findMethod('AES-256-GCM'), SHADOWSOCKS_METHODS['aes-256-gcm']);
  assert.equal(findMethod('rc4-md5'), null);
  assert.equal(findMethod('constructor'), null);
  assert.throws(() => requireMethod('rc4-md5'), /rc4-md5.*aes-128-gcm.*2022-blake3-aes-256-gcm/);
});

test('reads fit whole chunks', () => {
  assert.equal(readBytesFor(methodOf('aes-256-gcm')) % 0x3fff, 0);
  assert.equal(readBytesFor(methodOf('2022-blake3-aes-256-gcm'), 1000), 0xffff);
});

test.run();
