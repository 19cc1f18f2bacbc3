/** From counters to payload: drivers, offloads, datagrams, and what packets themselves tell of their framing. */
import type { Counters } from '@mastline/agent/reconcile/interface-counters';
import { framingOf, type Lowest, lowestAfter, payloadOf } from '@mastline/agent/reconcile/payload-estimate';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';

const test = suite('payload of an interface');
const NONE = { up: 0, down: 0 };
const UNKNOWN: Lowest = { up: null, down: null };

/** What a driver counts of segments with timestamps: `frame` bytes beside each IP packet. */
function counted(payload: number, packets: number, frame: number): { bytes: number; packets: number } {
  return { bytes: payload + packets * (52 + frame), packets };
}

function both(up: { bytes: number; packets: number }, down: { bytes: number; packets: number }): Counters {
  return { upBytes: up.bytes, upPackets: up.packets, downBytes: down.bytes, downPackets: down.packets };
}

const drivers: [driver: string, up: number, down: number][] = [
  ['cdc_ether', 14, 0],
  ['cdc_ncm', 14, 0],
  ['huawei_cdc_ncm', 14, 0],
  ['rndis_host', 58, 0],
  ['qmi_wwan', 14, 0],
  ['qmi_wwan raw-ip', 0, 0],
  ['cdc_mbim', 0, 0],
];
for (const [driver, up, down] of drivers)
  test(`${driver}: ${up} bytes of framing up and ${down} down are taken off each packet`, () => {
    const moved = both(counted(1_000_000, 900, up), counted(50_000_000, 36_000, down));
    const framing = framingOf(driver, UNKNOWN);
    assert.equal(payloadOf(moved, { framing, datagrams: NONE, timestamps: true }), {
      up: 1_000_000,
      down: 50_000_000,
    });
  });

for (const [what, segment] of [
  ['segments of 64 KiB (TSO, GRO)', 65_483],
  ['segments of one packet each', 1448],
] as const)
  test(`offloads change nothing: ${what}`, () => {
    const payload = 60_000_000;
    const packets = Math.ceil(payload / segment);
    const moved = both(counted(0, packets, 14), counted(payload, packets, 14));
    const framing = framingOf('virtual', UNKNOWN);
    assert.equal(payloadOf(moved, { framing, datagrams: NONE, timestamps: true }), { up: 0, down: payload });
  });

test('a virtual interface whose acknowledgements have 52 bytes counts no Ethernet header', () => {
  const acks = both(counted(0, 400, 0), counted(60_000_000, 41_500, 0));
  const lowest = lowestAfter(UNKNOWN, acks, NONE);
  // Downward nothing but full segments was seen: the other direction is the best guess.
  assert.equal(framingOf('virtual', { ...lowest, down: null }), { up: 0, down: 0 });
  const later = lowestAfter(lowest, both(counted(60_000_000, 41_500, 0), counted(0, 400, 0)), NONE);
  assert.equal(framingOf('virtual', later), { up: 0, down: 0 });
});

test('each direction of a virtual interface has framing of its own', () => {
  const down = both(counted(0, 400, 14), counted(60_000_000, 41_500, 0));
  const up = both(counted(60_000_000, 41_500, 14), counted(0, 400, 0));
  const lowest = lowestAfter(lowestAfter(UNKNOWN, down, NONE), up, NONE);
  assert.equal(framingOf('virtual', lowest), { up: 14, down: 0 });
});

test('few packets, and datagrams, prove nothing', () => {
  assert.equal(
    lowestAfter(UNKNOWN, both({ bytes: 19 * 52, packets: 19 }, { bytes: 0, packets: 0 }), NONE),
    UNKNOWN,
  );
  const small = both({ bytes: 1000 * 45, packets: 1000 }, { bytes: 1000 * 45, packets: 1000 });
  assert.equal(lowestAfter(UNKNOWN, small, { up: 900, down: 900 }), UNKNOWN);
});

test('datagrams have smaller headers', () => {
  const datagrams = { up: 1000, down: 4000 };
  const moved = {
    ...{ upBytes: 1000 * (100 + 28 + 14), upPackets: 1000 },
    ...{ downBytes: 4000 * (1252 + 28), downPackets: 4000 },
  };
  const framing = framingOf('cdc_ether', UNKNOWN);
  assert.equal(payloadOf(moved, { framing, datagrams, timestamps: true }), { up: 100_000, down: 5_008_000 });
});

test('without timestamps segments have 12 bytes less, and nothing is ever below zero', () => {
  const moved = both({ bytes: 500 * 40, packets: 500 }, { bytes: 1000 * 1500, packets: 1000 });
  const framing = { up: 0, down: 0 };
  assert.equal(payloadOf(moved, { framing, datagrams: NONE, timestamps: false }), { up: 0, down: 1_460_000 });
  assert.equal(payloadOf(moved, { framing, datagrams: NONE, timestamps: true }), { up: 0, down: 1_448_000 });
});

test.run();
