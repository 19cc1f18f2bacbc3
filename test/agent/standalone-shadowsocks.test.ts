import { randomBytes } from 'node:crypto';
import { parseAgentConfig } from '@mastline/agent/config';
import { createDataPlane } from '@mastline/agent/data-plane/data-plane';
import { quietLog } from '@mastline/agent/observe/log';
import { planOf } from '@mastline/agent/standalone-plan';
import { systemClock } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import { openAeadClient } from '@mastline/shared/protocols/shadowsocks/aead-stream';
import { openClient2022 } from '@mastline/shared/protocols/shadowsocks/client-2022';
import { keyFromPassword, keysFromPassword } from '@mastline/shared/protocols/shadowsocks/keys';
import { requireMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import { createSaltStore } from '@mastline/shared/protocols/shadowsocks/salt-store';
import type { ShadowsocksStream } from '@mastline/shared/protocols/shadowsocks/stream';
import * as assert from 'uvu/assert';
import { freePort } from '../support/free-port';
import { suite } from '../support/suite';
import { tcp } from './data-plane/clients';
import { memorySink, readAll, startOrigin } from './data-plane/rig';
import { randomly } from './data-plane/shadowsocks-client';

const test = suite('Shadowsocks in the standalone file');

function planFor(file: object) {
  const config = parseAgentConfig(JSON.stringify(file), 'agent.json');
  if (config.kind !== 'standalone') throw new Error('not standalone');
  return planOf(config);
}

function faultOf(file: object): string {
  try {
    planFor(file);
  } catch (error) {
    if (error instanceof CodedError) return error.userMessage;
    throw error;
  }
  throw new Error('was accepted');
}

const listener = { name: 'ss', protocols: ['shadowsocks'], port: 8388, method: 'aes-256-gcm' };
const alice = { username: 'alice', secret: 'a secret' };
const bob = { username: 'bob', secret: 'b secret', password: 'other' };
const key = (password: string, bytes = 32) => keyFromPassword(password, bytes).toString('base64');
const key2022 = (bytes: number) => randomBytes(bytes).toString('base64');

test('credentials have their own passwords, or their secret is one', () => {
  const [endpoint] = planFor({ listeners: [listener], credentials: [alice, bob] }).endpoints;
  assert.equal(endpoint?.shadowsocks, {
    method: 'aes-256-gcm',
    keys: [
      { credentialId: 'alice', key: key('a secret') },
      { credentialId: 'bob', key: key('other') },
    ],
  });
});

test('a listener may have the password of its only credential', () => {
  const [endpoint] = planFor({
    listeners: [{ ...listener, password: 'shared', method: 'aes-128-gcm' }],
    credentials: [alice],
  }).endpoints;
  assert.equal(endpoint?.shadowsocks?.keys, [{ credentialId: 'alice', key: key('shared', 16) }]);
});

test('a 2022 listener takes one key, or its own and one for each credential', () => {
  const [port, first, second] = [key2022(16), key2022(16), key2022(16)];
  const method = '2022-blake3-aes-128-gcm';
  const one = planFor({ listeners: [{ ...listener, method, password: first }], credentials: [alice] });
  assert.equal(one.endpoints[0]?.shadowsocks, { method, keys: [{ credentialId: 'alice', key: first }] });
  const many = planFor({
    listeners: [{ ...listener, method, password: port }],
    credentials: [
      { ...alice, password: first },
      { ...bob, password: second },
    ],
  });
  assert.equal(many.endpoints[0]?.shadowsocks, {
    method,
    serverKey: port,
    keys: [
      { credentialId: 'alice', key: first },
      { credentialId: 'bob', key: second },
    ],
  });
});

test('only those who may use the listener have a key there', () => {
  const [endpoint] = planFor({
    listeners: [listener, { name: 'web', protocols: ['http'], port: 8080 }],
    credentials: [alice, { ...bob, listeners: ['web'] }],
  }).endpoints;
  assert.equal(
    endpoint?.shadowsocks?.keys.map(one => one.credentialId),
    ['alice'],
  );
});

const wrong: [string, object, object[], RegExp][] = [
  ['no method', { method: undefined }, [alice], /listeners\[0\]\.method.*is needed/],
  ['an unknown method', { method: 'rc4-md5' }, [alice], /listeners\[0\]\.method/],
  ['two protocols', { protocols: ['shadowsocks', 'http'] }, [alice], /listeners\[0\]\.protocols.*alone/],
  ['a method elsewhere', { protocols: ['http'] }, [alice], /listeners\[0\]\.method.*whose protocol/],
  ['TLS', { tls: { certFile: 'a', keyFile: 'b' } }, [alice], /listeners\[0\]\.tls/],
  ['a password for several', { password: 'x' }, [alice, bob], /listeners\[0\]\.password.*each credential/],
  ['equal passwords', {}, [alice, { ...bob, password: 'a secret' }], /credentials\[1\]\.password.*another/],
  ['nobody', {}, [{ username: 'c', verifier: '0'.repeat(64) }], /nobody could use/],
  [
    'a 2022 key that is none',
    { method: '2022-blake3-aes-256-gcm', password: 'hush-hush' },
    [alice],
    /listeners\[0\]\.password.*32 bytes in base64.*openssl rand/,
  ],
  [
    'several 2022 users without a key of the port',
    { method: '2022-blake3-aes-128-gcm' },
    [
      { ...alice, password: key2022(16) },
      { ...bob, password: key2022(16) },
    ],
    /listeners\[0\]\.password.*is needed/,
  ],
];
for (const [name, change, credentials, message] of wrong)
  test(`is told about ${name}, by field and without the password`, () => {
    const told = faultOf({ listeners: [{ ...listener, ...change }], credentials });
    assert.match(told, message);
    assert.not.match(told, /hush-hush|a secret/);
  });

async function echoThrough(port: number, stream: ShadowsocksStream): Promise<string> {
  const socket = await tcp(port);
  const out = Buffer.alloc(stream.sealer.bound(4));
  socket.write(out.subarray(0, stream.sealer.seal(Buffer.from('ping'), out)));
  const sealed = await readAll(socket);
  const plain = Buffer.alloc(stream.opener.bound(sealed.length));
  return plain.toString('latin1', 0, stream.opener.open(sealed, plain));
}

test('what the file says is what clients get', async () => {
  const origin = await startOrigin(socket => socket.on('data', chunk => socket.end(chunk)));
  const [first, second] = [await freePort(), await freePort()];
  const [portKey, aliceKey] = [key2022(32), key2022(32)];
  const sink = memorySink();
  const plane = createDataPlane({ sink, log: quietLog });
  const method = '2022-blake3-aes-256-gcm' as const;
  const outcomes = await plane.apply(
    planFor({
      listeners: [
        { ...listener, port: first },
        { name: 'new', protocols: ['shadowsocks'], method, port: second, password: portKey },
      ],
      credentials: [{ ...alice, password: aliceKey }],
      allowTargets: ['127.0.0.0/8'],
    }),
  );
  assert.equal(
    outcomes.map(one => one.problem),
    [null, null],
  );
  const target = { host: '127.0.0.1', port: origin.port };
  const old = requireMethod('aes-256-gcm');
  const [rawKey = Buffer.alloc(0)] = keysFromPassword(aliceKey, old);
  assert.is(await echoThrough(first, openAeadClient(old, { key: rawKey, target }, randomly)), 'ping');
  const keys = keysFromPassword(`${portKey}:${aliceKey}`, requireMethod(method));
  const salts = createSaltStore({ capacity: 8, keepMs: null, clock: systemClock });
  const stream = openClient2022(
    requireMethod(method),
    { keys, target },
    { clock: systemClock, random: randomly, salts },
  );
  assert.is(await echoThrough(second, stream), 'ping');
  await plane.close(0);
  assert.equal(sink.total(), { up: 8, down: 8, flows: 2 });
  await origin.close();
});

test.run();
