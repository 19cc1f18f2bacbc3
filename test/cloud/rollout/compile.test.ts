/** What a node should be, from what people set: canonical, and each credential only for its own organization's endpoints. */
import assert from 'node:assert/strict';
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
