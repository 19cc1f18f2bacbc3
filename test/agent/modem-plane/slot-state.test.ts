/** The state of a slot from the facts: one row a situation, each with the cause that people and alerts are told. */
import type { DriverFault, SimState } from '@mastline/agent/modem-plane/driver';
import { statusOf } from '@mastline/agent/modem-plane/drivers/hilink/readings';
import { parseXml } from '@mastline/agent/modem-plane/drivers/hilink/xml';
import {
  API_PATIENCE,
  judgeSlot,
  NO_PATH,
  PATH_PATIENCE,
  type PathFacts,
  type Proof,
  type SlotFacts,
} from '@mastline/agent/modem-plane/slot-state';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';

const test = suite('slot state');

const up = { kind: 'up', sourceAddress: '192.168.8.101', note: '' } as const;
const timeout: DriverFault = { kind: 'unreachable', code: 'request/timeout', message: 'no answer' };
const status = (fields: Record<string, string | number>) =>
  statusOf(
    parseXml(
      `<response>${Object.entries(fields)
        .map(([k, v]) => `<${k}>${v}</${k}>`)
        .join('')}</response>`,
    ),
  );
const carries: PathFacts = {
  proof: { kind: 'carries' },
  address: '198.51.100.7',
  problem: '',
  provenSinceApiFailed: false,
};
const path = (proof: Proof): PathFacts => ({ ...NO_PATH, proof });
const silence = (failures: number, carriedBefore = true): PathFacts =>
  path({ kind: 'silent', failures, problem: 'no answer of the echo service', carriedBefore });

const facts = (over: Partial<SlotFacts>): SlotFacts => ({
  network: up,
  api: { kind: 'unasked' },
  path: NO_PATH,
  ...over,
});
const said = (fields: Record<string, string | number>, over: Partial<SlotFacts> = {}): SlotFacts =>
  facts({
    api: { kind: 'answered', status: status({ SimStatus: 1, ServiceStatus: 2, ...fields }) },
    ...over,
  });
const online = (over: Partial<SlotFacts> = {}): SlotFacts =>
  said({ ConnectionStatus: 901 }, { path: carries, ...over });
const withSim = (sim: SimState, over: Partial<SlotFacts> = {}): SlotFacts =>
  facts({
    api: { kind: 'answered', status: { ...status({ ConnectionStatus: 902, ServiceStatus: 2 }), sim } },
    ...over,
  });
const silent = (over: Partial<SlotFacts['api'] & { kind: 'failing' }>, of: PathFacts = carries): SlotFacts =>
  facts({
    api: { kind: 'failing', fault: timeout, failures: 1, last: status({ ConnectionStatus: 901 }), ...over },
    path: of,
  });

const rows: [string, SlotFacts, string, boolean, string | null, RegExp][] = [
  [
    'no interface',
    facts({ network: { kind: 'absent', reason: 'there is no interface x', cause: 'usb-gone' } }),
    ...(['absent', false, 'usb-gone', /no interface/] as const),
  ],
  [
    'not permitted',
    facts({ network: { kind: 'failed', reason: 'denied' } }),
    ...(['failed', false, 'set-up', /denied/] as const),
  ],
  ['not asked yet', facts({}), 'probing', false, null, /asked/],
  ['901 and proven', online(), 'connected', true, null, /^$/],
  ['901 and not yet proven', online({ path: NO_PATH }), 'probing', false, null, /by its own word/],
  ['901 and nobody to ask', online({ path: path({ kind: 'unaskable' }) }), 'connected', true, null, /^$/],
  ['901, one lost probe', online({ path: silence(PATH_PATIENCE - 1) }), 'connected', true, null, /^$/],
  ['901, never carried', online({ path: silence(1, false) }), 'probing', false, null, /no answer/],
  [
    '901, dead',
    online({ path: silence(PATH_PATIENCE) }),
    'failed',
    false,
    'data-dead',
    /carries nothing: no answer/,
  ],
  [
    '901, a shop answers',
    online({ path: path({ kind: 'captive', problem: 'leads to http://topup.test/', credit: true }) }),
    ...(['failed', false, 'sim-out-of-credit', /^SIM out of credit: leads to/] as const),
  ],
  [
    '901, some page answers',
    online({ path: path({ kind: 'captive', problem: 'a web page', credit: false }) }),
    ...(['failed', false, 'captive-portal', /a web page/] as const),
  ],
  [
    '901, its data used up',
    online({ dataCap: '5000 MB are used up' }),
    ...(['locked', false, 'data-cap', /^Data cap reached: 5000 MB/] as const),
  ],
  ['900', said({ ConnectionStatus: 900 }), 'registering', false, null, /connecting/],
  [
    '902 and searching',
    said({ ConnectionStatus: 902, ServiceStatus: 0 }),
    ...(['registering', false, 'no-registration', /looking for a network/] as const),
  ],
  [
    '902 and registered',
    said({ ConnectionStatus: 902 }),
    'registering',
    false,
    'no-data-connection',
    /no data/,
  ],
  ['905', said({ ConnectionStatus: 905 }), 'failed', false, 'connection-refused', /refused/],
  ['907', said({ ConnectionStatus: 907 }), 'failed', false, 'connection-refused', /no network/],
  ['an unknown number', said({ ConnectionStatus: 112 }), 'failed', false, 'connection-refused', /112/],
  ['no number', said({}), 'failed', false, 'connection-refused', /does not say/],
  ['no SIM', said({ ConnectionStatus: 902, SimStatus: 255 }), 'failed', false, 'no-sim', /SIM/],
  ['a SIM that fails', withSim({ state: 'failed', reason: 'x' }), 'failed', false, 'sim-failed', /x/],
  [
    'PIN',
    withSim({ state: 'pin-needed', triesLeft: 3 }),
    'locked',
    false,
    'pin-needed',
    /PIN needed.*3 tries/,
  ],
  [
    'a wrong PIN',
    withSim({ state: 'pin-needed', triesLeft: 2 }, { pinRefused: true }),
    ...(['locked', false, 'pin-refused', /not tried again/] as const),
  ],
  ['PUK', withSim({ state: 'puk-needed', triesLeft: null }), 'locked', false, 'puk-needed', /PUK/],
  ['one lost reply', silent({}), 'connected', true, null, /^$/],
  [
    'one lost reply, and nothing comes through',
    silent({}, silence(PATH_PATIENCE)),
    ...(['probing', false, null, /nothing comes through/] as const),
  ],
  [
    'API silent, nothing comes through',
    silent({ failures: API_PATIENCE }, silence(PATH_PATIENCE)),
    ...(['failed', false, 'stick-hung', /^Stick hung: its control interface/] as const),
  ],
  [
    'API silent, but it carries',
    silent({ failures: 9 }, { ...carries, provenSinceApiFailed: true }),
    ...(['connected', true, 'api-dead', /carries, but/] as const),
  ],
  ['never answered', silent({ failures: 1, last: null }), 'probing', false, null, /control interface/],
  [
    'never answered for long',
    silent({ failures: 9, last: null }),
    'failed',
    false,
    'api-dead',
    /control interface/,
  ],
  [
    'log-in needed',
    silent({ last: null, fault: { kind: 'locked', code: '100003', message: 'log in' } }),
    ...(['locked', false, 'log-in', /person/] as const),
  ],
  [
    'busy for long',
    silent({ last: null, failures: 9, fault: { kind: 'busy', code: '100004', message: 'busy' } }),
    ...(['probing', false, null, /busy/] as const),
  ],
  [
    'connected, and its address cannot be set up',
    online({ network: { kind: 'linked', problem: '10.0.0.1 is taken' } }),
    ...(['failed', false, 'set-up', /taken/] as const),
  ],
  [
    'linked and hung up',
    said({ ConnectionStatus: 902 }, { network: { kind: 'linked', problem: '' } }),
    ...(['registering', false, 'no-data-connection', /no data/] as const),
  ],
  [
    'another program holds the port',
    silent({ last: null, fault: { kind: 'locked', code: 'port/in-use', message: 'held by x' } }),
    ...(['locked', false, 'port-taken', /held by x/] as const),
  ],
  [
    'connected, and no address on the interface yet',
    online({ network: { kind: 'linked', problem: '' } }),
    ...(['registering', false, null, /being set up/] as const),
  ],
];
for (const [name, of, state, ready, cause, reason] of rows)
  test(`${name}: ${state}${ready ? ', ready' : ''}${cause === null ? '' : `, ${cause}`}`, () => {
    const verdict = judgeSlot(of);
    assert.is(verdict.state, state);
    assert.is(verdict.ready, ready);
    assert.is(verdict.cause, cause);
    assert.match(verdict.reason, reason);
  });

test('says what is lacking although it works', () => {
  assert.match(judgeSlot(online({ network: { ...up, note: 'no CAP_NET_ADMIN' } })).reason, /CAP_NET_ADMIN/);
  assert.match(
    judgeSlot(online({ path: { ...carries, address: null, problem: 'HTTP 502' } })).reason,
    /exit address unknown: HTTP 502/,
  );
});

test.run();
