/** Sealed values: open with the right key for the right purpose, and in no other way. The key file keeps to its owner. */
import assert from 'node:assert/strict';
import { chmodSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { loadSecretKey } from '@mastline/cloud/server/secrets/key-file';
import { secretStore } from '@mastline/cloud/server/secrets/secret-store';
import { codeOf } from '@mastline/shared/base/coded-error';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';

const test = suite('cloud/secrets');
const store = secretStore(Buffer.alloc(32, 1));
const failsWith = (code: string) => (error: unknown) => codeOf(error) === code;

test('what was sealed opens, and twice the same text looks different', () => {
  const sealed = store.seal('s3cret ü', 'credential:1');
  assert.equal(store.open(sealed, 'credential:1'), 's3cret ü');
  assert.notEqual(store.seal('s3cret ü', 'credential:1'), sealed);
  assert.ok(!sealed.includes('s3cret'));
});

test('a value put in another’s place, bent, cut or made up does not open', () => {
  const sealed = store.seal('secret', 'credential:1');
  assert.throws(() => store.open(sealed, 'credential:2'), failsWith('secrets/tampered'));
  const [version, keyId, iv, body = ''] = sealed.split('.');
  const bytes = Buffer.from(body, 'base64url');
  for (let i = 0; i < bytes.length; i += 1) {
    const bent = Buffer.from(bytes);
    bent.writeUInt8(bent.readUInt8(i) ^ 1, i);
    const text = [version, keyId, iv, bent.toString('base64url')].join('.');
    assert.throws(() => store.open(text, 'credential:1'), failsWith('secrets/tampered'), `byte ${i}`);
  }
  for (const text of ['', 'v1', 'plain', `${version}.${keyId}.${iv}.`, `${version}.${keyId}.AA.${body}`])
    assert.throws(() => store.open(text, 'credential:1'), failsWith('secrets/tampered'), text);
});

test('another key says so, instead of calling the value broken', () => {
  const sealed = store.seal('secret', 'x');
  assert.throws(() => secretStore(Buffer.alloc(32, 2)).open(sealed, 'x'), failsWith('secrets/unknown-key'));
});

test('the key file is made once, for its owner only, and refused when others can read it', async () => {
  const dir = await tempDir('secrets');
  try {
    const data = join(dir.path, 'new');
    const path = join(data, 'secret.key');
    const key = loadSecretKey(data, null);
    assert.equal(key.length, 32);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    assert.deepEqual(loadSecretKey(data, null), key);
    assert.ok(readFileSync(path, 'utf8').trim() === key.toString('base64'));
    chmodSync(path, 0o640);
    assert.throws(() => loadSecretKey(data, null), failsWith('secrets/key-file'));
    chmodSync(path, 0o600);
    writeFileSync(path, 'short');
    assert.throws(() => loadSecretKey(data, null), failsWith('secrets/key-file'));
    assert.deepEqual(loadSecretKey(data, Buffer.alloc(32, 9)), Buffer.alloc(32, 9));
  } finally {
    await dir.remove();
  }
});

test.run();
