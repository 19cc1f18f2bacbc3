/** What a node should be, from what people set: canonical, and each credential only for its own organization's endpoints. */
import assert from 'node:assert/strict';
import { shadowsocksPassword } from '@mastline/cloud/server/fleet/shadowsocks-keys';
import {
  canonicalJson,
  compileContent,
  contentHash,
  type NodeSettings,
  payloadOf,
} from '@mastline/cloud/server/rollout/compile';
import { DesiredState } from '@mastline/shared/domain/desired-state';
import fc from 'fast-check';
import { suite } from '../../support/suite';

const test = suite('cloud/rollout: compile');

const endpoint = (id: string, organizationId: string) => ({
  id,
  organizationId,
  name: id,
  protocols: ['http' as const],
  reach: 'direct' as const,
  listen: { host: '127.0.0.1', port: 8080 },
  slots: [0],
});
const credential = (id: string, organizationId: string) => ({
  id,
  organizationId,
  username: id,
  verifier: 'a'.repeat(64),
  suspended: false,
});
const settings: NodeSettings = {
  nodeId: 'n',
  endpoints: [endpoint('e2', 'one'), endpoint('e1', 'one'), endpoint('e3', 'two')],
  credentials: [credential('c2', 'two'), credential('c1', 'one'), credential('c3', 'elsewhere')],
};

test('binds each credential to the endpoints of its organization and leaves strangers out', () => {
  const { credentials } = compileContent(settings);
  assert.deepEqual(
    credentials.map(each => [each.id, each.endpointIds]),
    [
      ['c1', ['e1', 'e2']],
      ['c2', ['e3']],
    ],
  );
});

test('says nothing of organizations to the node', () => {
  assert.ok(!payloadOf(compileContent(settings), 1, 0).includes('organizationId'));
});

test('gives the same bytes whatever order things came in', () => {
  const shuffled = {
    ...settings,
    endpoints: [...settings.endpoints].reverse(),
    credentials: [...settings.credentials].reverse(),
  };
  assert.equal(contentHash(compileContent(shuffled)), contentHash(compileContent(settings)));
  assert.equal(payloadOf(compileContent(shuffled), 3, 7), payloadOf(compileContent(settings), 3, 7));
});

test('is a desired state', () => {
  const state = DesiredState.parse(JSON.parse(payloadOf(compileContent(settings), 3, 7)));
  assert.deepEqual([state.revision, state.issuedAt], [3, 7]);
});

test('changes its hash when a credential is suspended', () => {
  const suspended = {
    ...settings,
    credentials: settings.credentials.map(each => ({ ...each, suspended: true })),
  };
  assert.notEqual(contentHash(compileContent(suspended)), contentHash(compileContent(settings)));
});

const SECRET = 'k7Qm2xVb9TfZr4LwNs8HdJ5cYp3GuEa6';

test('carries what people set: limits, open addresses, chain, TLS, limits of slots', () => {
  const openTo = { sourceAddresses: ['192.0.2.0/24'], credentialId: 'c1' };
  const chain = [
    { protocol: 'socks5' as const, host: 'hop.example', port: 1080, username: 'u', secret: 's' },
  ];
  const limits = { downBytesPerSecond: 1_000_000, whenFull: 'close-oldest' as const, concurrentFlows: 4 };
  const state = DesiredState.parse(
    JSON.parse(
      payloadOf(
        compileContent({
          nodeId: 'n',
          endpoints: [{ ...endpoint('e1', 'one'), openTo, chain, tls: 'required' }, endpoint('e2', 'one')],
          credentials: [
            { ...credential('c1', 'one'), limits },
            { ...credential('c2', 'one'), limits: {} },
          ],
          slotLimits: [
            { slot: 3, limits: { flowsPerMinute: 60 } },
            { slot: 1, limits },
          ],
          certificate: { certFile: '/etc/a.pem', keyFile: '/etc/a.key' },
        }),
        1,
        0,
      ),
    ),
  );
  const [first, second] = state.endpoints;
  assert.deepEqual(
    [first?.openTo, first?.chain, first?.tls],
    [openTo, chain, { certFile: '/etc/a.pem', keyFile: '/etc/a.key', required: true }],
  );
  assert.deepEqual([second?.openTo, second?.chain, second?.tls], [undefined, undefined, undefined]);
  assert.deepEqual(
    state.credentials.map(each => each.limits),
    [limits, undefined],
  );
  assert.deepEqual(state.slotLimits, [
    { slot: 1, limits },
    { slot: 3, limits: { flowsPerMinute: 60 } },
  ]);
});

test('an endpoint is open as no credential of another organization, and never in the clear for want of a certificate', () => {
  const openTo = { sourceAddresses: ['192.0.2.0/24'], credentialId: 'c2' };
  const { endpoints } = compileContent({
    nodeId: 'n',
    endpoints: [{ ...endpoint('e1', 'one'), openTo, tls: 'required' }, endpoint('e3', 'two')],
    credentials: [credential('c1', 'one'), credential('c2', 'two')],
  });
  assert.equal(endpoints[0]?.openTo, undefined);
  assert.equal(endpoints[0]?.tls?.required, true);
});

test('a Shadowsocks endpoint gets a key for each credential of its organization, and the node no secret', () => {
  const shadowsocks = { method: '2022-blake3-aes-128-gcm' as const, serverKey: 'AAECAwQFBgcICQoLDA0ODw==' };
  const withSecret = (id: string, organizationId: string) => ({
    ...credential(id, organizationId),
    secret: `${SECRET}${id}`,
  });
  const content = compileContent({
    nodeId: 'n',
    endpoints: [
      { ...endpoint('e1', 'one'), protocols: ['shadowsocks'], shadowsocks },
      {
        ...endpoint('e2', 'one'),
        protocols: ['shadowsocks'],
        shadowsocks: { method: 'aes-256-gcm', serverKey: null },
      },
      endpoint('e3', 'two'),
    ],
    credentials: [withSecret('c1', 'one'), withSecret('c3', 'one'), withSecret('c2', 'two')],
  });
  const [first, second] = content.endpoints;
  assert.equal(first?.shadowsocks?.serverKey, shadowsocks.serverKey);
  assert.deepEqual(
    first?.shadowsocks?.keys.map(each => [each.credentialId, Buffer.from(each.key, 'base64').length]),
    [
      ['c1', 16],
      ['c3', 16],
    ],
  );
  assert.equal(second?.shadowsocks?.serverKey, undefined);
  assert.equal(new Set([first, second].flatMap(each => each?.shadowsocks?.keys.map(one => one.key))).size, 4);
  assert.ok(!payloadOf(content, 1, 0).includes(SECRET));
  const derived = shadowsocksPassword({
    secret: `${SECRET}c1`,
    endpointId: 'e1',
    credentialId: 'c1',
    method: shadowsocks.method,
  });
  assert.equal(first?.shadowsocks?.keys[0]?.key, derived);
});

test('canonical JSON is JSON, and does not depend on the order of keys', () => {
  void fc.assert(
    fc.property(fc.jsonValue(), value => {
      const text = canonicalJson(value);
      assert.deepEqual(JSON.parse(text), JSON.parse(JSON.stringify(value)));
      assert.equal(canonicalJson(reversed(value)), text);
    }),
  );
});

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed);
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([key, each]) => [key, reversed(each)]),
  );
}

test.run();
