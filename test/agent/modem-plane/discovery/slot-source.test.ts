/** Found modems as slots: which driver each gets, whose address its interface bears, and what keeps it from serving. */
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import * as assert from 'uvu/assert';
import type { DiscoveredModem } from '../../../../agent/src/modem-plane/discovery/discovery';
import { absenceOf, slotOf } from '../../../../agent/src/modem-plane/discovery/slot-source';
import { suite } from '../../../support/suite';

const test = suite('agent/modem-plane/discovery: modems as slots');
const frame = { profiles: loadCatalogue(), dev: '/dev' };

const modem = (more: Partial<DiscoveredModem>): DiscoveredModem => ({
  slot: 2,
  usbPath: '1-1.2',
  vendorId: '2c7c',
  productId: '0801',
  product: null,
  condition: { kind: 'ready' },
  profileId: 'quectel/rm520n',
  because: [],
  undecided: [],
  speaks: ['at'],
  ports: [],
  atPort: 'ttyUSB2',
  interface: 'wwan0',
  netDriver: 'cdc_ether',
  identified: true,
  ...more,
});
const common = { slot: 2, usbPath: '1-1.2', virtual: false, interface: 'wwan0' };

test('a HiLink stick is its own router', () => {
  const found = modem({ speaks: ['hilink'], profileId: 'generic/hilink', atPort: null });
  assert.equal(slotOf(found, frame), {
    ...common,
    api: { kind: 'hilink', url: 'http://192.168.8.1' },
    gateway: '192.168.8.1',
  });
});

test('a Quectel in ECM is a router at the address that its profile names', () => {
  assert.equal(slotOf(modem({}), frame), {
    ...common,
    api: { kind: 'at', port: '/dev/ttyUSB2', profile: 'quectel/rm520n' },
    gateway: '192.168.225.1',
  });
});

test("MBIM and Huawei's NDIS bear the carrier's address", () => {
  const ports = [{ role: 'control', interface: 0, kind: 'control', name: 'cdc-wdm0' } as const];
  assert.equal(slotOf(modem({ speaks: ['mbim', 'at'], netDriver: 'cdc_mbim', ports }), frame), {
    ...common,
    api: { kind: 'mbim', device: '/dev/cdc-wdm0' },
  });
  assert.equal(
    slotOf(modem({ profileId: 'huawei/e3372h-153', netDriver: 'huawei_cdc_ncm', atPort: 'ttyUSB0' }), frame),
    { ...common, api: { kind: 'at', port: '/dev/ttyUSB0', profile: 'huawei/e3372h-153' } },
  );
});

test('while several models fit it is asked what it is, and dialled afterwards', () => {
  const twins = { profileId: 'generic/at', undecided: ['quectel/ec25', 'quectel/eg25-g'], identified: false };
  assert.equal(slotOf(modem(twins), frame), {
    ...common,
    api: { kind: 'at', port: '/dev/ttyUSB2', profile: 'generic/at', identifying: true },
  });
  const asked = slotOf(modem({ ...twins, identified: true, netDriver: 'cdc_mbim' }), frame);
  assert.equal('api' in asked && asked.api, { kind: 'at', port: '/dev/ttyUSB2', profile: 'generic/at' });
});

for (const [name, more, reason] of [
  ['QMI', { netDriver: 'qmi_wwan' }, /driven by qmi_wwan.*usbnet/],
  ['no interface', { interface: null, netDriver: null }, /no network interface.*usbnet/],
  ['no AT port', { atPort: null }, /answers AT/],
  ['a router that nobody knows', { profileId: 'generic/at' }, /"gateway"/],
  ['MBIM without a port', { speaks: ['mbim'] }, /no MBIM port/],
  ['no driver', { speaks: [] }, /no driver/],
  [
    'a condition',
    { condition: { kind: 'unusable', reason: 'it has no power', remedy: 'Use a hub' } },
    /no power. Use a hub/,
  ],
] as [string, Partial<DiscoveredModem>, RegExp][])
  test(`${name} keeps it from being a slot, and is said with the remedy`, () => {
    const found = modem(more);
    const slot = slotOf(found, frame);
    assert.match('obstacle' in slot ? slot.obstacle : JSON.stringify(slot), reason);
    assert.match(absenceOf('1-1.2', [found], frame), reason);
  });

test('what is not plugged in is said to be so', () => {
  assert.match(absenceOf('1-9', [], frame), /nothing is plugged in at USB 1-9/);
});

test.run();
