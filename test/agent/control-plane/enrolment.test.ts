import { enrol } from '@mastline/agent/control-plane/enrolment';
import { createLog, quietLog } from '@mastline/agent/observe/log';
import { stateStore } from '@mastline/agent/spool/state-store';
import type { CodedError } from '@mastline/shared/base/coded-error';
import { REFUSAL } from '@mastline/shared/wire/enrolment';
import * as assert from 'uvu/assert';
import { FakeCloud } from '../../simulators/fake-cloud';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';

const test = suite('enrolment');
let cloud: FakeCloud;
let folder: Awaited<ReturnType<typeof tempDir>>;
test.beforeEach(async () => {
  cloud = new FakeCloud();
  await cloud.listen();
  folder = await tempDir('enrol');
});
test.afterEach(async () => {
  await cloud.stop();
  await folder.remove();
});

const tryToEnrol = (claimCode: string, cloudUrl = cloud.url, path = folder.path) =>
  enrol({
    cloudUrl,
    claimCode,
    agentVersion: '0.1.0',
    hostname: 'box',
    acceptedBy: 'Ada',
    store: stateStore(path, quietLog),
    log: quietLog,
  });

async function refusalOf(work: Promise<unknown>): Promise<CodedError> {
  try {
    await work;
  } catch (error) {
    return error as CodedError;
  }
  throw new Error('was enrolled');
}

test('stores who it is and whose signatures it trusts', async () => {
  cloud.claims.set('CLAIM-AAAA', 'open');
  const { is, identity } = await tryToEnrol(' CLAIM-AAAA\n');
  assert.is(is, 'enrolled');
  assert.equal(await stateStore(folder.path, quietLog).identity(), identity);
  assert.is(identity.stateKeys[0]?.keyId, cloud.stateKeyId);
});

test('is done once: a second time asks nobody and uses no code', async () => {
  cloud.claims.set('CLAIM-AAAA', 'open').set('CLAIM-BBBB', 'open');
  const first = await tryToEnrol('CLAIM-AAAA');
  const again = await tryToEnrol('CLAIM-BBBB');
  assert.is(again.is, 'already-enrolled');
  assert.equal(again.identity, first.identity);
  assert.is(cloud.claims.get('CLAIM-BBBB'), 'open');
});

test('gets the same identity when it crashed before it could store the answer', async () => {
  cloud.claims.set('CLAIM-AAAA', 'open');
  const store = stateStore(folder.path, quietLog);
  const lost = new Error('power cut');
  const options = {
    cloudUrl: cloud.url,
    claimCode: 'CLAIM-AAAA',
    agentVersion: '0.1.0',
    hostname: 'box',
    acceptedBy: 'Ada',
    log: quietLog,
  };
  assert.is(
    await refusalOf(enrol({ ...options, store: { ...store, saveIdentity: () => Promise.reject(lost) } })),
    lost,
  );
  assert.is((await enrol({ ...options, store })).is, 'enrolled');
});

test('says what is wrong with a claim code and what to do', async () => {
  cloud.claims.set('CLAIM-USED', 'used').set('CLAIM-OLD1', 'expired');
  for (const [code, expected, sentence] of [
    ['CLAIM-NONE', REFUSAL.claimUnknown, /typing errors/],
    ['CLAIM-USED', REFUSAL.claimUsed, /used already/],
    ['CLAIM-OLD1', REFUSAL.claimExpired, /has expired/],
    ['SHORT', 'enrol/invalid', /claimCode/],
  ] as const) {
    const error = await refusalOf(tryToEnrol(code));
    assert.is(error.code, expected);
    assert.match(error.userMessage, sentence);
    assert.not.match(error.message, new RegExp(code));
  }
  assert.is(await stateStore(folder.path, quietLog).identity(), undefined);
});

test('says so when the cloud cannot be reached, or is none', async () => {
  cloud.claims.set('CLAIM-AAAA', 'open');
  cloud.misbehave.captivePortal = true;
  assert.is((await refusalOf(tryToEnrol('CLAIM-AAAA'))).code, 'cloud/bad-answer');
  const { url } = cloud;
  await cloud.stop();
  const error = await refusalOf(tryToEnrol('CLAIM-AAAA', url));
  assert.is(error.code, 'cloud/unreachable');
  assert.ok(error.retryable);
  assert.match(error.userMessage, /Check the address/);
  await cloud.listen();
});

test('does not move to another cloud by itself', async () => {
  cloud.claims.set('CLAIM-AAAA', 'open');
  await tryToEnrol('CLAIM-AAAA');
  const error = await refusalOf(tryToEnrol('CLAIM-AAAA', 'http://127.0.0.1:1'));
  assert.is(error.code, 'enrol/other-cloud');
  assert.is((await tryToEnrol('CLAIM-AAAA', `${cloud.url}/`)).is, 'already-enrolled');
});

test('warns when the way to the cloud is not encrypted, and logs no claim code', async () => {
  const lines: string[] = [];
  const log = createLog({ level: 'debug', write: line => void lines.push(line) });
  const store = stateStore(folder.path, log);
  await refusalOf(
    enrol({
      // RFC 2606: never resolved.
      cloudUrl: 'http://cloud.invalid',
      claimCode: 'CLAIM-AAAA',
      agentVersion: '0.1.0',
      hostname: 'box',
      acceptedBy: 'Ada',
      store,
      log,
    }),
  );
  assert.match(lines.join(), /without TLS/);
  assert.not.match(lines.join(), /CLAIM-AAAA/);
});

test.run();
