/**
 * Debian's mbimcli drives the simulator over a pty: it reads what the modem is, and its requests are all known. What the
 * agent's driver then reads of the same modem must be the same.
 */
import { join } from 'node:path';
import { connectMbim } from '@mastline/agent/modem-plane/drivers/mbim/connect';
import { quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
import * as assert from 'uvu/assert';
import { ANSWERS } from '../../../simulators/mbim/answers';
import type { MbimKnobs } from '../../../simulators/mbim/knobs';
import { type MbimCarrier, MbimModem } from '../../../simulators/mbim/modem';
import { type SimulatedPort, servePty } from '../../../simulators/mbim/ports';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';
import { noMbimcli, runTool } from './tools';

const test = suite('MBIM by mbimcli');
const exercised = new Set<string>();

async function withModem(
  options: { knobs?: Partial<MbimKnobs>; carrier?: Partial<MbimCarrier> },
  body: (modem: MbimModem, port: SimulatedPort) => Promise<void>,
): Promise<void> {
  const dir = await tempDir('mbim');
  const modem = new MbimModem({ clock: systemClock, seed: 3, ...options });
  const port = await servePty(modem, join(dir.path, 'cdc-wdm0'));
  try {
    await body(modem, port);
    modem.assertNoFaults();
    for (const fact of modem.exercised) exercised.add(fact);
  } finally {
    await port.close();
    await dir.remove();
  }
}

async function mbimcli(port: SimulatedPort, action: string, expected: readonly RegExp[], code = 0) {
  const result = await runTool('mbimcli', ['-d', port.path, action]);
  assert.is(result.code, code, `${action}: ${result.text}`);
  for (const pattern of expected) assert.match(result.text, pattern);
  // What libmbim finds odd in a message it says as a warning; deprecated spellings of options are ours.
  const warnings = result.text
    .split('\n')
    .filter(line => /warning|critical/i.test(line) && !line.includes('deprecated'));
  assert.equal(warnings, [], action);
}

/** In this order: later ones depend on what earlier ones did. */
const ACTIONS: readonly (readonly [action: string, ...expected: RegExp[]])[] = [
  ['--query-device-caps', /Device ID: '867394040000123'/, /Hardware info: 'RM520N-GL'/],
  ['--query-subscriber-ready-status', /'initialized'/, /'250010123456789'/, /'\+79161234567'/],
  ['--query-radio-state', /Hardware radio state: 'on'/, /Software radio state: 'on'/],
  ['--query-device-services', /basic-connect/, /'ussd'/, /message-store-status \(5\)/],
  ['--query-pin-state', /PIN state: 'unlocked'/],
  ['--query-home-provider', /'25001'/, /'MTS RUS'/],
  ['--query-visible-providers', /Visible providers \(2\)/],
  ['--query-registration-state', /Register state: 'home'/, /'umts, hsdpa, hsupa, lte'/],
  ['--register-automatic', /Successfully launched automatic registration/],
  ['--query-signal-state', /RSSI \[0-31,99\]: '(18|19|20|21|22|23)'/],
  ['--query-packet-service-state', /'attached'/, /Available data classes: 'lte'/],
  ['--detach-packet-service', /Successfully detached/],
  ['--attach-packet-service', /Successfully attached/],
  ['--query-connection-state', /'deactivated'/],
  [
    "--connect=access-string='internet',ip-type='ipv4v6',auth='pap',username='u',password='p',session-id='0'",
    /Successfully connected/,
    /'10\.64\.1\.2\/30'/,
    /Gateway: '10\.64\.1\.1'/,
    /DNS \[1\]: '1\.1\.1\.1'/,
    /MTU: '1500'/,
  ],
  ['--query-connection-state', /'activated'/, /'ipv4'/],
  ['--query-ip-configuration', /'10\.64\.1\.2\/30'/],
  ['--query-packet-statistics', /Octets \(in\): '0'/],
  ['--query-provisioned-contexts', /Access string: 'internet'/],
  ['--ms-query-lte-attach-info', /Attach state: +attached/],
  ['--ms-query-base-stations-info', /Physical cell id: 77/, /RSRP: -95 dBm/],
  ['--quectel-query-radio-state', /'on'/],
  ['--disconnect', /Successfully disconnected/],
  ['--set-radio-state=off', /Software radio state: 'off'/],
  ['--query-registration-state', /Register state: 'deregistered'/],
  ['--set-radio-state=on', /Software radio state: 'on'/],
  ['--noop'],
];

if (noMbimcli === undefined) {
  for (const [name, knobs] of [
    ['whole frames', {}],
    ['fragments of 64 bytes', { fragmentBytes: 64 }],
    ['fragments of 71 bytes, cut anywhere', { fragmentBytes: 71, writes: 'cut' }],
  ] as const)
    test(
      `mbimcli does ${ACTIONS.length} actions with ${name}`,
      () =>
        withModem({ knobs }, async (_modem, port) => {
          for (const [action, ...expected] of ACTIONS) await mbimcli(port, action, expected);
        }),
      { deadlineMs: 90_000 },
    );

  test('mbimcli meets PIN, PUK, an empty slot and a refused connection', async () => {
    await withModem({ knobs: { sim: 'pin' } }, async (modem, port) => {
      await mbimcli(port, '--query-subscriber-ready-status', [/'device-locked'/]);
      await mbimcli(port, '--query-pin-state', [/'locked'/, /'pin1'/, /'3'/]);
      await mbimcli(port, '--enter-pin=9999', [/PinRequired/], 1);
      assert.is(modem.knobs.pinTriesLeft, 2);
      await mbimcli(port, '--enter-pin=1234', [/PIN operation successful/]);
      await mbimcli(port, '--query-subscriber-ready-status', [/'initialized'/]);
    });
    await withModem({ knobs: { sim: 'puk' } }, (_modem, port) =>
      mbimcli(port, '--query-pin-state', [/'puk1'/, /'10'/]),
    );
    await withModem({ knobs: { sim: 'absent' } }, async (_modem, port) => {
      await mbimcli(port, '--query-subscriber-ready-status', [/'sim-not-inserted'/]);
      await mbimcli(port, '--query-home-provider', [/SimNotInserted/], 1);
    });
    await withModem({ knobs: { connectCause: 33 } }, (_modem, port) =>
      mbimcli(port, "--connect=access-string='internet'", [/Failure/], 1),
    );
    await withModem({ knobs: { registration: 'denied', denialCause: 11 } }, (_modem, port) =>
      mbimcli(port, '--query-registration-state', [/'denied'/, /'plmn-not-allowed'/i]),
    );
  });

  test('mbimcli reads an IPv6 configuration', () =>
    withModem({ carrier: { address6: '2a02:0:0:0:0:0:0:5' } }, (_modem, port) =>
      mbimcli(port, "--connect=access-string='internet',ip-type='ipv4v6'", [
        /IPv6 configuration available: 'address, dns, mtu'/,
        /'2a02::5\/64'/,
        /'2001:4860:4860::8888'/,
      ]),
    ));

  test('the driver connects, and mbimcli sees the same connection', () =>
    withModem({}, async (modem, port) => {
      const open = () =>
        connectMbim({ way: { kind: 'device', path: port.path }, clock: systemClock, log: quietLog });
      const driver = await open();
      const connected = await driver.connect(null);
      assert.ok(connected.ok, JSON.stringify(connected));
      modem.carry({ rx: 123_456_789, tx: 9_876_543 });
      await driver.close();
      await mbimcli(port, '--query-ip-configuration', [new RegExp(`'${connected.value.address}/30'`)]);
      await mbimcli(port, '--query-packet-statistics', [/'123456789'/, /'9876543'/]);
      await mbimcli(port, '--set-radio-state=off', [/'off'/]);
      const again = await open();
      const registration = await again.registration();
      assert.is(registration.ok && registration.value.state, 'not-searching');
      await again.close();
    }));

  test('every answer that claims mbimcli as its witness was given to it here', () => {
    const claimed = new Set(ANSWERS.map(one => one.fact).filter(fact => fact.startsWith('mbimcli')));
    assert.ok(claimed.size > 18, `only ${claimed.size}`);
    for (const fact of claimed) assert.ok(exercised.has(fact), fact);
  });
} else test.skip('mbimcli judges the simulator', noMbimcli);

test.run();
