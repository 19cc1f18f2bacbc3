/** The state of a slot from the facts: one row a situation. */
import type { DriverFault } from '@mastline/agent/modem-plane/driver';
import { statusOf } from '@mastline/agent/modem-plane/drivers/hilink/readings';
import { parseXml } from '@mastline/agent/modem-plane/drivers/hilink/xml';
import { API_PATIENCE, judgeSlot, type SlotFacts } from '@mastline/agent/modem-plane/slot-state';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';

const test = suite('slot state');

const up = { kind: 'up', sourceAddress: '192.168.8.101', note: '' } as const;
const noExit = { address: null, problem: '', confirmedSinceApiFailed: false };
const timeout: DriverFault = { kind: 'unreachable', code: 'request/timeout', message: 'no answer' };
const status = (fields: Record<string, string | number>) =>
  statusOf(
    parseXml(
      `<response>${Object.entries(fields)
        .map(([k, v]) => `<${k}>${v}</${k}>`)
        .join('')}</response>`,
    ),
  );
const connected = status({ ConnectionStatus: 901, SimStatus: 1, ServiceStatus: 2 });
const said = (fields: Record<string, string | number>): SlotFacts => ({
  network: up,
  api: { kind: 'answered', status: status({ SimStatus: 1, ServiceStatus: 2, ...fields }) },
  exit: noExit,
});
const silent = (over: Partial<SlotFacts['api'] & { kind: 'failing' }>, exit = noExit): SlotFacts => ({
  network: up,
  api: { kind: 'failing', fault: timeout, failures: 1, last: connected, ...over },
  exit,
});

const linked = (problem = '') => ({ kind: 'linked', problem }) as const;
const rows: [string, SlotFacts, string, boolean, RegExp][] = [
  [
    'no interface',
    {
      network: { kind: 'absent', reason: 'there is no interface x' },
      api: { kind: 'unasked' },
      exit: noExit,
    },
    'absent',
    false,
    /no interface/,
  ],
  [
    'not permitted',
    { network: { kind: 'failed', reason: 'denied' }, api: { kind: 'unasked' }, exit: noExit },
    'failed',
    false,
    /denied/,
  ],
  ['not asked yet', { network: up, api: { kind: 'unasked' }, exit: noExit }, 'probing', false, /asked/],
  ['901', said({ ConnectionStatus: 901 }), 'connected', true, /^$/],
  ['900', said({ ConnectionStatus: 900 }), 'registering', false, /connecting/],
  [
    '902 and searching',
    said({ ConnectionStatus: 902, ServiceStatus: 0 }),
    'registering',
    false,
    /looking for a network/,
  ],
  ['902 and registered', said({ ConnectionStatus: 902 }), 'registering', false, /no data connection/],
  ['905', said({ ConnectionStatus: 905 }), 'failed', false, /refused/],
  ['907', said({ ConnectionStatus: 907 }), 'failed', false, /no network/],
  ['an unknown number', said({ ConnectionStatus: 112 }), 'failed', false, /112/],
  ['no number', said({}), 'failed', false, /does not say/],
  [
    'connected, without an address yet',
    { ...said({ ConnectionStatus: 901 }), network: linked() },
    'registering',
    false,
    /is being set up/,
  ],
  [
    'connected, and its address cannot be set up',
    { ...said({ ConnectionStatus: 901 }), network: linked('10.0.0.1 is taken') },
    'failed',
    false,
    /taken/,
  ],
  [
    'linked and hung up',
    { ...said({ ConnectionStatus: 902 }), network: linked() },
    'registering',
    false,
    /no data/,
  ],
  ['no SIM', said({ ConnectionStatus: 902, SimStatus: 255 }), 'failed', false, /SIM/],
  ['one lost reply', silent({}), 'connected', true, /^$/],
  ['silence without proof', silent({ failures: API_PATIENCE }), 'failed', false, /control interface/],
  [
    'silence, but it carries',
    silent({ failures: 9 }, { ...noExit, confirmedSinceApiFailed: true }),
    'connected',
    true,
    /carries, but/,
  ],
  ['never answered', silent({ failures: 1, last: null }), 'probing', false, /control interface/],
  [
    'log-in needed',
    silent({ last: null, fault: { kind: 'locked', code: '100003', message: 'log in' } }),
    'locked',
    false,
    /person/,
  ],
  [
    'busy for long',
    silent({ last: null, failures: 9, fault: { kind: 'busy', code: '100004', message: 'busy' } }),
    'probing',
    false,
    /busy/,
  ],
];
for (const [name, facts, state, ready, reason] of rows)
  test(`${name}: ${state}${ready ? ', ready' : ''}`, () => {
    const verdict = judgeSlot(facts);
    assert.is(verdict.state, state);
    assert.is(verdict.ready, ready);
    assert.match(verdict.reason, reason);
  });

test('says what is lacking although it works', () => {
  const facts = said({ ConnectionStatus: 901 });
  assert.match(judgeSlot({ ...facts, network: { ...up, note: 'no CAP_NET_ADMIN' } }).reason, /CAP_NET_ADMIN/);
  assert.match(
    judgeSlot({ ...facts, exit: { ...noExit, problem: 'HTTP 502' } }).reason,
    /exit address unknown: HTTP 502/,
  );
});

test.run();
