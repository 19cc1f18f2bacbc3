import { parseAgentConfig } from '@mastline/agent/config';
import { exampleConfig } from '@mastline/agent/example-config';
import { planOf } from '@mastline/agent/standalone-plan';
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

test('a way out may have an IPv6 address beside its IPv4 address', () => {
  const two = { address: '127.1.0.1', address6: '0:0::1' };
  const plan = planOf(
    standalone({
      listeners: [
        { ...listener, egress: two },
        { ...listener, name: 'b', port: 1081, egress: { address: '127.1.0.1' } },
      ],
      credentials: [credential],
    }),
  );
  assert.equal(
    plan.egresses.map(one => [one.slot, one.sourceAddress, one.sourceAddress6]),
    [
      [1, '127.1.0.1', '::1'],
      [2, '127.1.0.1', undefined],
    ],
  );
});

test('an address or interface that the machine lacks is named', () => {
  const egress = (value: object) => () =>
    planOf(standalone({ listeners: [{ ...listener, egress: value }], credentials: [credential] }));
  assert.throws(egress({ address: '203.0.113.5' }), /203\.0\.113\.5/);
  assert.throws(egress({ address: '127.0.0.1', address6: '2001:db8::5' }), /2001:db8::5/);
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

test('limits, open addresses and chains are taken as they are meant', () => {
  const limits = {
    flowsPerMinute: 60,
    concurrentFlows: 8,
    whenFull: 'close-oldest',
    upBytesPerSecond: 100_000,
    downBytesPerSecond: 1_000_000,
    quota: { lease: '2026-11', bytes: 5_000_000_000 },
    sourceAddresses: ['203.0.113.7', 'fd00::/8'],
    ports: ['443', '8000-8999'],
  };
  const chain = [{ protocol: 'socks5', host: 'hop.example', port: 1080, username: 'u', secret: 'hush-hush' }];
  const plan = planOf(
    standalone({
      listeners: [
        {
          ...listener,
          chain,
          egress: { limits: { downBytesPerSecond: 2_000_000 } },
          openTo: { sourceAddresses: ['192.0.2.0/24'], credential: 'u' },
        },
        { ...listener, name: 'b', port: 1081 },
      ],
      credentials: [{ ...credential, limits: { ...limits, expiresAt: '2027-01-31T13:00:00+01:00' } }],
    }),
  );
  assert.equal(plan.credentials[0]?.limits, { ...limits, expiresAt: Date.UTC(2027, 0, 31, 12) });
  assert.equal(plan.endpoints[0]?.openTo, { sourceAddresses: ['192.0.2.0/24'], credentialId: 'u' });
  assert.equal(plan.endpoints[0]?.chain, chain);
  // Both leave directly, so the limit holds for both together.
  assert.equal(
    plan.egresses.map(one => [one.slot, one.limits]),
    [[1, { downBytesPerSecond: 2_000_000 }]],
  );
});

test('each field that cannot be served is named, with what would be right', () => {
  const limits = (value: object) => ({ credentials: [{ ...credential, limits: value }] });
  const first = (value: object) => ({ listeners: [{ ...listener, ...value }] });
  const hop = { protocol: 'socks5', host: 'hop.example', port: 1080 };
  const cases: [object, RegExp][] = [
    [limits({ flowsPerMinute: 0 }), /credentials\[0\]\.limits\.flowsPerMinute: /],
    [limits({ concurrentFlows: 70_000 }), /credentials\[0\]\.limits\.concurrentFlows: /],
    [limits({ whenFull: 'refuse' }), /limits\.whenFull: says what happens beyond "concurrentFlows"/],
    [limits({ concurrentFlows: 1, whenFull: 'wait' }), /limits\.whenFull: /],
    [limits({ upBytesPerSecond: 10 }), /limits\.upBytesPerSecond: .*1000/],
    [limits({ downBytesPerSecond: '1M' }), /limits\.downBytesPerSecond: /],
    [limits({ sourceAddresses: ['10.0.0.0/8:80'] }), /limits\.sourceAddresses\[0\]: .*without a port/],
    [limits({ ports: ['443', '9-8'] }), /limits\.ports\[1\]: must be a port or a range/],
    [limits({ expiresAt: 1_700_000_000 }), /limits\.expiresAt: must be a time such as "2027-/],
    [limits({ expiresAt: '2027-01-31' }), /limits\.expiresAt: must be a time such as "2027-/],
    [limits({ quota: { bytes: 5 } }), /limits\.quota\.lease: /],
    [limits({ bandwidth: 5 }), /credentials\[0\]\.limits: .*"bandwidth"/],
    [first({ egress: { limits: { expires: 1 } } }), /listeners\[0\]\.egress\.limits: .*"expires"/],
    [first({ egress: { address: '127.0.0.1', interface: 'lo' } }), /egress\.interface: cannot stand beside/],
    [first({ egress: { address: '127.0.0.1', address6: '127.0.0.1' } }), /egress\.address6: must be an IPv6/],
    [first({ egress: { address6: '::1' } }), /egress\.address6: stands beside an IPv4 "address"/],
    [
      first({ egress: { address: '::1', address6: '::1' } }),
      /egress\.address6: stands beside an IPv4 "address"/,
    ],
    [first({ egress: { dnsServers: ['9.9.9.9'] } }), /egress\.dnsServers: needs "address" or "interface"/],
    [
      {
        listeners: ['a', 'b'].map((name, at) => ({
          ...listener,
          name,
          port: 1080 + at,
          egress: { limits: { concurrentFlows: 1 + at } },
        })),
      },
      /listeners\[1\]\.egress\.limits: differ from those of listeners\[0\]/,
    ],
    [first({ openTo: { sourceAddresses: [], credential: 'u' } }), /openTo\.sourceAddresses: must name/],
    [
      first({ openTo: { sourceAddresses: ['0.0.0.0/0'], credential: 'u' } }),
      /openTo\.sourceAddresses\[0\]: would let in everybody/,
    ],
    [
      first({ openTo: { sourceAddresses: ['10.0.0.1'], credential: 'v' } }),
      /openTo\.credential: names "v", which is no credential/,
    ],
    [
      {
        listeners: [{ ...listener, openTo: { sourceAddresses: ['10.0.0.1'], credential: 'u' } }],
        credentials: [{ ...credential, listeners: [] }],
      },
      /openTo\.credential: names "u", which may not use this listener/,
    ],
    [
      first({
        protocols: ['shadowsocks'],
        method: 'aes-256-gcm',
        openTo: { sourceAddresses: ['10.0.0.1'], credential: 'u' },
      }),
      /listeners\[0\]\.openTo: is not for Shadowsocks/,
    ],
    [first({ tls: { certFile: 'a.pem' } }), /listeners\[0\]\.tls\.keyFile: /],
    [first({ chain: [hop, hop] }), /chain\[1\]\.host: .*runs in a circle/],
    [first({ chain: [{ ...hop, username: 'u' }] }), /chain\[0\]\.secret: user name and password/],
    [first({ chain: [{ ...hop, protocol: 'shadowsocks' }] }), /chain\[0\]\.method: Shadowsocks needs/],
    [first({ chain: [{ ...hop, host: '1.2.3' }] }), /chain\[0\]\.host: .*neither an address nor a name/],
    [first({ chain: [{ ...hop, port: 0 }] }), /chain\[0\]\.port: /],
    [
      first({
        chain: [{ ...hop, protocol: 'shadowsocks', method: '2022-blake3-aes-128-gcm', secret: 'hush-hush' }],
      }),
      /chain\[0\]\.secret: .*16 bytes in base64/,
    ],
  ];
  for (const [change, expected] of cases) {
    const fault = faultOf(JSON.stringify({ listeners: [listener], credentials: [credential], ...change }));
    assert.match(fault.userMessage, expected);
    assert.not.match(fault.userMessage, 'hush');
  }
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

test('a node may know its SIMs, servers for speed tests, and what recovery may do; nothing harmful by itself', () => {
  const node = (more: object) =>
    JSON.stringify({
      ...{ dataDir: '/d', cloud: { url: 'http://127.0.0.1:1' }, slots: [], echoUrls: [] },
      ...more,
    });
  const plain = parseAgentConfig(node({}), 'agent.json');
  assert.ok(plain.kind === 'node');
  assert.equal(plain.recovery, { cutNeighbours: false, hostReboot: false });
  const full = parseAgentConfig(
    node({
      sims: [{ slot: 1, pin: '1234', dataCap: { megabytes: 5000 } }, { iccid: '89490000000000000017' }],
      recovery: { hostReboot: true },
      speedTest: { downUrl: 'http://speed.example/bytes/{bytes}' },
    }),
    'agent.json',
  );
  assert.ok(full.kind === 'node');
  assert.is(full.sims[0]?.dataCap?.billingDay, 1);
  assert.is(full.speedTest?.downUrl, 'http://speed.example/bytes/{bytes}');
  const wrong: [object, RegExp][] = [
    [{ sims: [{ pin: '1234' }] }, /sims\[0\].*needs "iccid" or "slot"/],
    [{ sims: [{ slot: 1, iccid: '89490000000000000017' }] }, /sims\[0\].*not both/],
    [{ sims: [{ slot: 1, pin: 'hush' }] }, /sims\[0\]\.pin: must have 4 to 8 digits/],
    [{ sims: [{ slot: 1, dataCap: { megabytes: 5, billingDay: 32 } }] }, /billingDay/],
    [{ speedTest: { downUrl: 'http://speed.example/file' } }, /speedTest\.downUrl: .*\{bytes\}/],
    [{ recovery: { cutNeighbors: true } }, /recovery/],
  ];
  for (const [change, expected] of wrong) {
    const fault = faultOf(node(change));
    assert.match(fault.userMessage, expected);
    assert.not.match(fault.userMessage, 'hush');
  }
});

test('the example that `agent example` prints is valid, and its secret is new each time', () => {
  const [first, second] = [parseAgentConfig(exampleConfig(), 'a'), parseAgentConfig(exampleConfig(), 'b')];
  assert.ok(first.kind === 'standalone' && second.kind === 'standalone');
  assert.is.not(first.credentials[0]?.secret, second.credentials[0]?.secret);
});

test.run();
