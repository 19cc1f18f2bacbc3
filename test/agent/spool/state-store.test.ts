import { spawn } from 'node:child_process';
import { createPublicKey, verify } from 'node:crypto';
import { once } from 'node:events';
import { chmod, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { writeDurably } from '@mastline/agent/durable-file';
import { createLog, quietLog } from '@mastline/agent/observe/log';
import { lockDataDir } from '@mastline/agent/spool/data-dir-lock';
import { stateStore } from '@mastline/agent/spool/state-store';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { codeFrom } from './open-spool';

const test = suite('state store');
let folder: Awaited<ReturnType<typeof tempDir>>;
test.beforeEach(async () => {
  folder = await tempDir('state');
});
test.afterEach(() => folder.remove());

test('makes one device key for good, readable by its user only', async () => {
  const first = await stateStore(folder.path, quietLog).deviceKey();
  const again = await stateStore(folder.path, quietLog).deviceKey();
  assert.is(first.publicKey, again.publicKey);
  assert.is((await stat(join(folder.path, 'device.key'))).mode & 0o777, 0o600);
  const key = createPublicKey({
    key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(first.publicKey, 'base64').toString('base64url') },
    format: 'jwk',
  });
  assert.ok(verify(null, Buffer.from('proof'), key, again.sign(Buffer.from('proof'))));
});

test('closes a device key that others could read, and says so', async () => {
  await stateStore(folder.path, quietLog).deviceKey();
  await chmod(join(folder.path, 'device.key'), 0o644);
  const lines: string[] = [];
  await stateStore(
    folder.path,
    createLog({ level: 'info', write: line => void lines.push(line) }),
  ).deviceKey();
  assert.is((await stat(join(folder.path, 'device.key'))).mode & 0o777, 0o600);
  assert.match(lines.join(), /readable by others/);
});

test('refuses a broken device key instead of making a new node of it', async () => {
  await writeFile(join(folder.path, 'device.key'), 'not a key', { mode: 0o600 });
  assert.is(await codeFrom(stateStore(folder.path, quietLog).deviceKey()), 'identity/bad-key');
});

test('keeps the exact bytes that were signed', async () => {
  const payload = '{"a":"\\u00e9 é \\u2028","spaces":   1}';
  const signed = { revision: 3, hash: 'a'.repeat(64), keyId: 'k', signature: 'AAAA', payload, later: 1 };
  await stateStore(folder.path, quietLog).saveSignedState(signed);
  assert.equal(await stateStore(folder.path, quietLog).signedState(), signed);
});

test('names a file it cannot read, and shows nothing of what is in it', async () => {
  await writeFile(join(folder.path, 'identity.json'), '{"nodeId": "secret-thing"');
  try {
    await stateStore(folder.path, quietLog).identity();
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code: string }).code, 'identity/unreadable');
    assert.match(String(error), /identity\.json/);
    assert.not.match(String(error), /secret-thing/);
  }
});

test('a write that was cut leaves the old file, and its leftover is overwritten', async () => {
  const path = join(folder.path, 'thing');
  await writeDurably(path, 'old');
  await writeFile(`${path}.new`, 'half');
  await writeDurably(path, 'new');
  assert.equal(await readdir(folder.path), ['thing']);
});

test('a second agent on the same directory is refused with the pid of the first, until that is killed', async () => {
  const script = `
    const { lockDataDir } = await import('@mastline/agent/spool/data-dir-lock');
    lockDataDir(${JSON.stringify(folder.path)});
    console.log('locked');
    setInterval(() => {}, 1000);`;
  const child = spawn(process.execPath, ['--import', 'tsx', '--input-type=module', '-e', script], {
    stdio: ['ignore', 'pipe', 'inherit'],
    cwd: join(import.meta.dirname, '../..'),
  });
  await once(child.stdout, 'data');
  try {
    lockDataDir(folder.path);
    assert.unreachable();
  } catch (error) {
    assert.is((error as { code: string }).code, 'data-dir/in-use');
    assert.match(String(error), new RegExp(`process ${child.pid}`));
  }
  child.kill('SIGKILL');
  await once(child, 'exit');
  const lock = lockDataDir(folder.path);
  lock.release();
});

test.run();
