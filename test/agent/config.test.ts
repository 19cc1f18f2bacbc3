import { parseAgentConfig } from '@mastline/agent/config';
import { exampleConfig } from '@mastline/agent/example-config';
import { planOf } from '@mastline/agent/standalone';
import { CodedError } from '@mastline/shared/base/coded-error';
import * as assert from 'uvu/assert';
import { suite } from '../support/suite';
import { sha256 } from './data-plane/rig';

const test = suite('agent configuration');

const listener = { name: 'a', protocols: ['socks5'], port: 1080 };
const credential = { username: 'u', secret: 'hush-hush' };

function standalone(value: object) {
  const config = parseAgentConfig(JSON.stringify(value), 'agent.json');
  if (config.kind !== 'standalone') throw new Error('not standalone');
  return config;
}

function faultOf(text: string): CodedError {
  try {
    parseAgentConfig(text, 'agent.json');
  } catch (error) {
    if (error instanceof CodedError) return error;
    throw error;
  }
  throw new Error('was accepted');
}

test('the smallest standalone file listens on loopback and leaves directly', () => {
  const plan = planOf(standalone({ listeners: [listener], credentials: [credential] }));
  assert.equal(plan.endpoints[0]?.listen, { host: '127.0.0.1', port: 1080 });
  assert.is(plan.egresses[0]?.sourceAddress, null);
  assert.is(plan.credentials[0]?.verifier, sha256('hush-hush'));
  assert.equal(plan.allowTargets, []);
});

test('each way out becomes one slot, and listeners share it', () => {
  const plan = planOf(
    standalone({
      listeners: [
        listener,
        { ...listener, name: 'b', port: 1081, egress: { address: '127.1.0.1' } },
        { ...listener, name: 'c', port: 1082, egress: { interface: 'lo' } },
        { ...listener, name: 'd', port: 1083, egress: { address: '127.1.0.1' } },
      ],
      credentials: [{ ...credential, listeners: ['b'] }],
    }),
  );
  assert.equal(
    plan.endpoints.map(one => one.slots),
    [[1], [2], [3], [2]],
  );
  assert.equal(
    plan.egresses.map(one => one.sourceAddress),
    [null, '127.1.0.1', '127.0.0.1'],
  );
  assert.equal(plan.credentials[0]?.endpointIds, ['b']);
});

test('an address or interface that the machine lacks is named', () => {
  const egress = (value: object) => () =>
    planOf(standalone({ listeners: [{ ...listener, egress: value }], credentials: [credential] }));
  assert.throws(egress({ address: '203.0.113.5' }), /203\.0\.113\.5/);
  assert.throws(egress({ interface: 'nope0' }), /nope0/);
});

test('tells every problem at once, by field, and no secret', () => {
  const fault = faultOf(
    JSON.stringify({
      listeners: [
        { name: 'a', protocols: ['ftp'], port: 70_000 },
        { name: 'a', protocols: [], port: 70_000, host: 'localhost', egress: 'sideways' },
      ],
      credentials: [{ username: 'u' }, { username: 'v', secret: 'hush-hush', verifier: 'hush-hush' }],
      allowTargets: ['everything'],
      threads: 0,
      colour: 'red',
    }),
  );
  assert.is(fault.code, 'config/invalid');
  for (const field of [
    'listeners[0].protocols[0]',
    'listeners[0].port',
    'listeners[1].protocols',
    'listeners[1].host',
    'listeners[1].egress',
    'credentials[0]',
    'credentials[1].verifier',
    'allowTargets[0]',
    'threads',
    '"colour"',
  ])
    assert.ok(fault.userMessage.includes(field), `${field} is missing in:\n${fault.userMessage}`);
  assert.not.match(fault.userMessage, 'hush');
});

test('names that clash or lead nowhere are found', () => {
  const fault = faultOf(
    JSON.stringify({
      listeners: [listener, listener],
      credentials: [credential, { ...credential, listeners: ['z'] }],
    }),
  );
  for (const text of ['listeners[1].name', 'listeners[1].port', 'credentials[1].username', '"z"'])
    assert.match(fault.userMessage, text);
});

test('broken JSON is told by its place, without quoting the file', () => {
  const fault = faultOf('{ "credentials": [{ "secret": "hush-hush" ]');
  assert.match(fault.userMessage, 'agent.json is not JSON, at position');
  assert.not.match(fault.message, 'hush');
});

test('a file with a cloud makes a node', () => {
  const config = parseAgentConfig(
    JSON.stringify({ dataDir: '/d', cloud: { url: 'http://127.0.0.1:1' }, slots: [], echoUrls: [] }),
    'agent.json',
  );
  assert.is(config.kind, 'node');
  assert.match(faultOf('{"cloud":{"url":"ftp://x"}}').userMessage, 'cloud.url');
});

test('the example that `agent example` prints is valid, and its secret is new each time', () => {
  const [first, second] = [parseAgentConfig(exampleConfig(), 'a'), parseAgentConfig(exampleConfig(), 'b')];
  assert.ok(first.kind === 'standalone' && second.kind === 'standalone');
  assert.is.not(first.credentials[0]?.secret, second.credentials[0]?.secret);
});

test.run();
