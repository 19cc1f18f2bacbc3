/** The modem plane with slots that come and go: what it does to the machine's network, and what it says. */
import assert from 'node:assert/strict';
import { networkInterfaces } from 'node:os';
import { parseAgentConfig } from '../../../../agent/src/config';
import type { DiscoveredModem } from '../../../../agent/src/modem-plane/discovery/discovery';
import { discoveredSlots } from '../../../../agent/src/modem-plane/discovery/slot-source';
import { createModemPlane } from '../../../../agent/src/modem-plane/modem-plane';
import { canChangeNetwork } from '../../../../agent/src/modem-plane/slot-network';
import { quietLog } from '../../../../agent/src/observe/log';
import type { ModemPlane } from '../../../../agent/src/ports';
import { type FakeClock, fakeClock } from '../../../support/clock';
import { eventually } from '../../../support/eventually';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';

const test = suite('agent/modem-plane: discovered slots');

function stick(slot: number, usbPath: string, name: string): DiscoveredModem {
  return {
    slot,
    usbPath,
    vendorId: '12d1',
    productId: '14dc',
    product: null,
    condition: { kind: 'ready' },
    profileId: 'generic/hilink',
    because: [],
    undecided: [],
    speaks: ['hilink'],
    ports: [],
    atPort: null,
    interface: name,
    netDriver: 'cdc_ether',
    identified: false,
  };
}

let dir: Awaited<ReturnType<typeof tempDir>>;
let clock: FakeClock;
let plane: ModemPlane;
let modems: DiscoveredModem[];
let tell: () => void;
let commands: string[];
let closed: boolean;

test.beforeEach(async () => {
  dir = await tempDir('plane');
  clock = fakeClock();
  commands = [];
  modems = [];
  closed = false;
  tell = () => undefined;
  plane = createModemPlane({
    slots: [],
    echoUrls: [],
    dataDir: dir.path,
    clock,
    log: quietLog,
    sources: [
      discoveredSlots(
        {
          start: async () => undefined,
          modems: () => modems,
          learn: () => undefined,
          onChange: listener => {
            tell = listener;
          },
          close: async () => {
            closed = true;
          },
        },
        { profiles: [], dev: '/dev' },
      ),
    ],
    runIp: async (args, input) => {
      const lines = input === undefined ? [args.join(' ')] : input.trim().split('\n');
      const said = lines.map(words => {
        if (!/ show/.test(words)) commands.push(words);
        if (!/ show/.test(words) || !words.includes('link')) return / show/.test(words) ? '[]' : '';
        return JSON.stringify(modems.map(one => ({ ifname: one.interface, flags: ['UP'] })));
      });
      return said.join('\n');
    },
  });
  await plane.start();
});
test.afterEach(async () => {
  await plane.close();
  assert.ok(closed, 'discovery is left running');
  await dir.remove();
});

const slot = (number: number) => plane.slots().find(one => one.slot === number);
const sets = (name: string) =>
  commands.some(words => words.startsWith('address add') && words.includes(name));

if (!canChangeNetwork())
  test.skip('a stick is brought up, moved and lost', 'needs CAP_NET_ADMIN for the plane to set networks up');
else {
  test('a stick that is plugged in later gets a network of its own', async () => {
    assert.deepEqual(plane.slots(), []);
    modems = [stick(3, '1-1.2', 'eth1')];
    tell();
    await eventually(() => sets('dev eth1'));
    await eventually(() => slot(3)?.interface === 'eth1' && slot(3)?.sourceAddress !== null);
    assert.equal(slot(3)?.virtual, false);
    assert.equal(plane.egresses().find(one => one.slot === 3)?.guarded[0], '192.168.8.0/24');
  });

  test('an unplugged stick keeps its slot, absent with the reason, and nothing leaves through it', async () => {
    modems = [stick(3, '1-1.2', 'eth1')];
    tell();
    await eventually(() => slot(3)?.sourceAddress !== null && slot(3) !== undefined);
    modems = [];
    tell();
    await eventually(() => slot(3)?.state === 'absent');
    assert.match(slot(3)?.reason ?? '', /nothing is plugged in at USB 1-1\.2/);
    assert.equal(plane.egresses()[0]?.ready, false);
    assert.ok(!commands.some(words => /rule del/.test(words)), 'the rule that keeps it from leaking is gone');
  });

  test('two sticks that swap interfaces: each slot moves, and neither interface is set down', async () => {
    modems = [stick(1, '1-1.1', 'eth1'), stick(2, '1-1.2', 'eth2')];
    tell();
    await eventually(() => slot(1)?.sourceAddress != null && slot(2)?.sourceAddress != null);
    commands.length = 0;
    modems = [stick(1, '1-1.1', 'eth2'), stick(2, '1-1.2', 'eth1')];
    tell();
    await eventually(() => sets('dev eth1') && sets('dev eth2'));
    await eventually(() => slot(1)?.interface === 'eth2' && slot(2)?.interface === 'eth1');
    assert.ok(
      commands.some(words => /rule del/.test(words)),
      'the old rule stays',
    );
    assert.ok(!commands.some(words => / down$/.test(words)), 'a link is set down');
  });

  test('a stick that is found but not usable is absent with its reason and remedy', async () => {
    modems = [stick(3, '1-1.2', 'eth1')];
    tell();
    await eventually(() => slot(3)?.sourceAddress != null);
    modems = [
      {
        ...stick(3, '1-1.2', 'eth1'),
        condition: { kind: 'unusable', reason: 'it is in NCM', remedy: 'Unplug it' },
      },
    ];
    tell();
    await eventually(() => slot(3)?.reason === 'it is in NCM. Unplug it');
  });
}

test('the configuration takes "discover" alone and beside listed slots, and nothing else', () => {
  const slotsOf = (slots: unknown) => {
    const config = parseAgentConfig(
      JSON.stringify({ dataDir: '/d', cloud: { url: 'http://127.0.0.1:1' }, slots, echoUrls: [] }),
      'agent.json',
    );
    assert.ok(config.kind === 'node');
    return config.slots;
  };
  const listed = {
    slot: 0,
    usbPath: '1-1',
    interface: Object.keys(networkInterfaces())[0] ?? 'lo',
    api: { kind: 'hilink', url: 'http://192.168.8.1' },
    virtual: false,
  };
  assert.deepEqual(slotsOf('discover'), ['discover']);
  assert.equal(slotsOf(['discover', listed]).length, 2);
  assert.throws(() => slotsOf('everything'), { code: 'config/invalid' });
  assert.throws(() => slotsOf([{ ...listed, slot: -1 }]), { code: 'config/invalid' });
});

test.run();
