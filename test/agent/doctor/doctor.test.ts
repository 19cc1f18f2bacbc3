/** The doctor against boxes made of files: what it finds, how bad it calls it, and what it says to do. */
import { existsSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { type NodeConfig, parseAgentConfig } from '@mastline/agent/config';
import { checkAgent } from '@mastline/agent/doctor/check-agent';
import { checkClock } from '@mastline/agent/doctor/check-clock';
import { checkConflicts } from '@mastline/agent/doctor/check-conflicts';
import { checkDisk } from '@mastline/agent/doctor/check-disk';
import { checkDuplicates } from '@mastline/agent/doctor/check-duplicates';
import { checkKernel } from '@mastline/agent/doctor/check-kernel';
import { checkModems } from '@mastline/agent/doctor/check-modems';
import { checkPaths } from '@mastline/agent/doctor/check-paths';
import { checkUsb } from '@mastline/agent/doctor/check-usb';
import { CHECKS, examine } from '@mastline/agent/doctor/doctor';
import { exitCodeOf, type Finding, type Severity, worstOf } from '@mastline/agent/doctor/finding';
import { type AgentStatus, meetPatient, type Patient } from '@mastline/agent/doctor/patient';
import { reportOf } from '@mastline/agent/doctor/report';
import { canChangeNetwork } from '@mastline/agent/modem-plane/slot-network';
import { CodedError } from '@mastline/shared/base/coded-error';
import * as assert from 'uvu/assert';
import { startNameServer } from '../../simulators/name-server';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { type FakeUsb, fakeUsb } from '../modem-plane/discovery/fake-usb';
import {
  ec25,
  em060k,
  hilinkStick,
  hub,
  networkAdapter,
  rm520n,
  zeroCd,
} from '../modem-plane/discovery/models';

const test = suite('agent/doctor');

let usb: FakeUsb;
test.beforeEach(async () => {
  usb = await fakeUsb();
});
test.afterEach(() => usb.remove());

/** Tools that answer as told; any other is not installed. */
const tools = (answers: Record<string, string>): Patient['runTool'] => {
  return async (program, args) => {
    const command = [program, ...args].join(' ');
    const found = Object.entries(answers).find(([start]) => command.startsWith(start));
    if (found) return found[1];
    throw new CodedError('tool/missing', `${command}: ${program} is not installed`);
  };
};

const lan = (cidr: string): ReturnType<typeof networkInterfaces> => ({
  eth0: [
    {
      address: cidr.split('/')[0] ?? '',
      netmask: '255.255.255.0',
      family: 'IPv4',
      mac: '00:00:00:00:00:01',
      internal: false,
      cidr,
    },
  ],
});

async function patient(more: Partial<Patient> = {}): Promise<Patient> {
  const met = await meetPatient({
    config: null,
    roots: usb.roots,
    modulesDir: join(usb.roots.etc, 'modules'),
    runTool: tools({ ip: '[]', usb_modeswitch: 'usage' }),
    interfaces: () => lan('192.0.2.7/24'),
  });
  return { ...met, ...more };
}

function config(more: Record<string, unknown> = {}): NodeConfig {
  const file = parseAgentConfig(
    JSON.stringify({
      dataDir: usb.roots.run,
      cloud: { url: 'http://127.0.0.1:9' },
      slots: 'discover',
      echoUrls: [],
      ...more,
    }),
    'agent.json',
  );
  if (file.kind !== 'node') throw new Error('not a node');
  return file;
}

const slot = (more: Partial<AgentStatus['slots'][number]> = {}): AgentStatus['slots'][number] => ({
  slot: 1,
  usbPath: '1-1.2',
  interface: 'eth1',
  sourceAddress: '127.0.0.1',
  state: 'connected',
  reason: '',
  exitAddress: '198.51.100.7',
  virtual: false,
  ...more,
});
const status = (more: Partial<AgentStatus> = {}): AgentStatus => ({
  version: '0.1.0',
  clockOffsetMs: 40,
  cloud: { url: 'http://c', phase: 'up', problem: null },
  slots: [slot()],
  ways: [],
  ...more,
});

function has(findings: readonly Finding[], severity: Severity, message: RegExp, remedy = /^/): void {
  const found = findings.some(
    one => one.severity === severity && message.test(one.message) && remedy.test(one.remedy),
  );
  assert.ok(found, `no ${severity} ${message} ${remedy} in ${JSON.stringify(findings, null, 1)}`);
}

test('the exit code is that of the worst finding', () => {
  const of = (...severities: Severity[]) =>
    severities.map(severity => ({ check: 'x', severity, message: '', remedy: '' }));
  assert.is(exitCodeOf([]), 0);
  assert.is(exitCodeOf(of('ok', 'note')), 0);
  assert.is(exitCodeOf(of('note', 'warning', 'ok')), 1);
  assert.is(exitCodeOf(of('failure', 'warning')), 2);
  assert.is(worstOf(of('ok')), 'ok');
});

test('a check that breaks or hangs is a failure of its own, and the others are made', async () => {
  const clock = fakeClock();
  const examined = examine(await patient({ clock }), [
    { name: 'agent', title: 'Agent', run: async () => Promise.reject(new Error('it broke')) },
    { name: 'disk', title: 'Disk', run: () => new Promise(() => undefined) },
    { name: 'usb', title: 'USB', run: checkUsb },
  ]);
  await clock.advance(60_000);
  const findings = await examined;
  has(findings, 'failure', /could not be examined: it broke/);
  has(findings, 'failure', /could not be examined: .*Disk/i);
  has(findings, 'ok', /No modem is on USB/);
});

test('every check has findings on any box, and the report tells them all', async () => {
  usb.plug('1-1.1', ec25(10));
  const findings = await examine(await patient({ config: config(), status: status() }));
  for (const { name } of CHECKS)
    assert.ok(
      findings.some(one => one.check === name),
      `${name} found nothing`,
    );
  const text = reportOf(findings);
  for (const { message, remedy } of findings) {
    assert.ok(text.includes(message));
    assert.ok(text.includes(remedy));
  }
});

test('modems: what each is, and what keeps one from serving', async () => {
  usb.plug('1-1.1', hilinkStick('eth1'));
  usb.plug('1-1.2', rm520n(20));
  usb.plug('1-1.3', em060k);
  usb.plug('1-1.4', zeroCd);
  usb.plug('1-1.5', hilinkStick('eth5', 3));
  usb.plug('1-1.6', networkAdapter);
  const findings = await checkModems(await patient());
  has(findings, 'ok', /1-1\.1 .*driven by hilink behind eth1/);
  has(findings, 'ok', /1-1\.2 .*profile quectel\/rm520n.*driven by mbim behind wwan20/);
  has(findings, 'failure', /1-1\.3 .*cannot serve/, /usbnet/);
  has(findings, 'note', /1-1\.4 .*CD of Windows drivers/);
  has(findings, 'note', /1-1\.5 .*NCM.*switches it over/);
  assert.is(findings.length, 5, 'the network adapter is no modem');
  has(
    await checkModems(await patient({ runTool: tools({}) })),
    'failure',
    /1-1\.4/,
    /apt-get install -y usb-modeswitch/,
  );
});

test('modems: none at all is a warning only where they are to be discovered', async () => {
  has(await checkModems(await patient()), 'note', /No modem/);
  has(await checkModems(await patient({ config: config() })), 'warning', /No modem/, /lsusb/);
  const beside = await checkModems(
    await patient({ config: config(), status: status({ slots: [slot({ virtual: true })] }) }),
  );
  has(beside, 'note', /No modem/);
  has(beside, 'note', /virtual modem/);
});

test('conflicts: ModemManager and whoever holds a port, but not the agent', async () => {
  usb.plug('1-1.2', rm520n(20));
  has(await checkConflicts(await patient()), 'ok', /No other program/);
  usb.process(77, 'ModemManager');
  usb.process(88, 'minicom', ['ttyUSB22']);
  usb.process(99, 'node', ['ttyUSB22']);
  usb.file('run', 'agent.pid', '99');
  const findings = await checkConflicts(await patient({ config: config() }));
  has(findings, 'warning', /ModemManager runs/, /systemctl mask --now ModemManager/);
  has(findings, 'warning', /minicom \(process 88\) holds/, /kill 88/);
  assert.not(findings.some(one => /process 99/.test(one.message)));
});

test('duplicates: sticks with one MAC, and a host network that is the sticks’ own', async () => {
  usb.plug('1-1.1', hilinkStick('eth1'));
  usb.plug('1-1.2', hilinkStick('eth2'));
  for (const name of ['eth1', 'eth2']) usb.file('sysfs', `class/net/${name}/address`, '0c:5b:8f:27:9a:64');
  const findings = await checkDuplicates(await patient({ interfaces: () => lan('192.168.8.20/24') }));
  has(findings, canChangeNetwork() ? 'note' : 'failure', /eth1 and eth2 have the same MAC/);
  has(findings, 'warning', /eth0 is in the network of 192\.168\.8\.1/, /another range/);
  usb.unplug('1-1.2');
  has(await checkDuplicates(await patient()), 'ok', /there twice/);
  const own = { ...status(), slots: [slot({ interface: 'eth0' })] };
  has(
    await checkDuplicates(await patient({ interfaces: () => lan('192.168.8.101/24'), status: own })),
    'ok',
    /there twice/,
  );
});

test('USB: a bus-powered hub and a board that are asked for more than they have', async () => {
  usb.file('sysfs', 'firmware/devicetree/base/model', 'Raspberry Pi 5 Model B Rev 1.0');
  usb.plug('1-1', hub('05e3:0610', 4));
  usb.file('sysfs', 'bus/usb/devices/1-1/bmAttributes', 'a0');
  usb.plug('1-1.1', hilinkStick('eth1'));
  usb.plug('1-1.2', hilinkStick('eth2'));
  const findings = await checkUsb(await patient());
  has(findings, 'warning', /Raspberry Pi 5.* 1500 mA; it has 600 mA/, /supply/);
  has(findings, 'warning', /hub at USB 1-1 has no power supply.*1000 mA; it has 500 mA/, /supply/);
  usb.file('sysfs', 'bus/usb/devices/1-1/bmAttributes', 'e0');
  const powered = await checkUsb(await patient());
  has(powered, 'ok', /up to 500 mA; it has 600 mA/);
  assert.is(worstOf(powered), 'note');
});

test('USB: autosuspend, a bad cable, no configuration, and the endpoints of each bus', async () => {
  usb.plug('2-1', { ...ec25(10), speed: '12' });
  usb.file('sysfs', 'bus/usb/devices/2-1/power/control', 'auto');
  usb.file('sysfs', 'bus/usb/devices/2-1/2-1:1.0/ep_81/type', 'Bulk');
  usb.file('sysfs', 'bus/usb/devices/2-1/ep_00/type', 'Control');
  const findings = await checkUsb(await patient());
  has(findings, 'warning', /autosuspend/, /echo on > .*power\/control/);
  has(findings, 'warning', /12 Mbit\/s/, /cable/);
  has(findings, 'note', /bus 2 serves 1 devices with 2 endpoints/);
  usb.file('sysfs', 'bus/usb/devices/2-1/bConfigurationValue', '');
  has(await checkUsb(await patient()), 'failure', /no configuration/, /dmesg/);
});

test('kernel: modules loaded, built in, or missing; few open files; strict filters', async () => {
  usb.plug('1-1.1', hilinkStick('eth1'));
  usb.file(
    'proc',
    'self/limits',
    'Max open files            1024                 524288               files     ',
  );
  usb.file('proc', 'sys/net/ipv4/conf/all/rp_filter', '1');
  const without = await checkKernel(await patient());
  has(without, 'warning', /lacks modules: .*cdc_mbim/, /linux-modules-extra/);
  has(without, 'warning', /Only 1024 files.*512 flows/, /LimitNOFILE/);
  has(without, 'note', /rp_filter 1.*eth1/);
  usb.file('sysfs', 'module/cdc_ether/refcnt', '1');
  usb.file('etc', 'modules/modules.builtin', 'kernel/drivers/net/usb/rndis_host.ko');
  usb.file(
    'etc',
    'modules/modules.dep',
    [
      'kernel/drivers/usb/serial/option.ko.xz: kernel/drivers/usb/serial/usb_wwan.ko.xz',
      'kernel/drivers/net/usb/cdc_mbim.ko.xz:',
      'kernel/drivers/net/usb/huawei_cdc_ncm.ko.xz:',
    ].join('\n'),
  );
  usb.file(
    'proc',
    'self/limits',
    'Max open files            65536                524288               files     ',
  );
  const well = await checkKernel(await patient());
  has(well, 'ok', /has the modules/);
  has(well, 'ok', /65536 files/);
  has(await checkKernel(await patient({ runTool: tools({}) })), 'failure', /Routing rules/, /iproute2/);
});

test('clock: by the agent’s comparison, else by the Date of an answer', async () => {
  const by = async (clockOffsetMs: number) =>
    checkClock(await patient({ status: status({ clockOffsetMs }) }));
  has(await by(-1200), 'ok', /1\.2 s ahead/);
  has(await by(30_000), 'warning', /30\.0 s behind/, /timedatectl/);
  has(await by(600_000), 'failure', /600\.0 s behind/, /timedatectl/);
  has(await checkClock(await patient()), 'note', /compared with nothing/);
  const clock = fakeClock(Date.UTC(2026, 5, 1, 12));
  const server = createServer((_request, response) => {
    response.setHeader('date', new Date(Date.UTC(2026, 5, 1, 13)).toUTCString());
    response.end('hello');
  });
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done));
  const url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  has(
    await checkClock(await patient({ clock, config: config({ cloud: { url } }) })),
    'failure',
    /36\d\d\.\d s behind/,
  );
  await new Promise(done => server.close(done));
  has(
    await checkClock(await patient({ clock, config: config({ cloud: { url } }) })),
    'warning',
    /could not be asked/,
  );
});

test('disk: space, and the age of an eMMC', async () => {
  has(await checkDisk(await patient({ config: config() })), 'ok', /free for/);
  assert.ok(existsSync(usb.roots.run));
  has(
    await checkDisk(await patient({ config: config({ dataDir: join(usb.roots.run, 'not/yet/there') }) })),
    'ok',
    /free for/,
  );
  const card = (name: string, facts: Record<string, string>) => {
    for (const [file, text] of Object.entries(facts)) usb.file('sysfs', `block/${name}/device/${file}`, text);
  };
  card('mmcblk0', { type: 'MMC', life_time: '0x02 0x03', pre_eol_info: '0x01' });
  card('mmcblk1', { type: 'SD' });
  card('mmcblk2', { type: 'MMC', life_time: '0x09 0x01', pre_eol_info: '0x01' });
  card('mmcblk3', { type: 'MMC', life_time: '0x0b 0x0b', pre_eol_info: '0x01' });
  card('mmcblk4', { type: 'MMC', life_time: '0x04 0x04', pre_eol_info: '0x03' });
  const findings = await checkDisk(await patient());
  has(findings, 'ok', /mmcblk0 has used up to 30 %/);
  has(findings, 'note', /mmcblk1 does not tell/);
  has(findings, 'warning', /mmcblk2 has used up to 90 %/);
  has(findings, 'failure', /mmcblk3 has used up to more than 100 %/, /Replace/);
  has(findings, 'failure', /mmcblk4 .*reserve/, /Replace/);
});

test('agent: away, without its cloud, with slots in every state', async () => {
  has(await checkAgent(await patient({ config: config() })), 'warning', /No agent runs/, /agent -- run/);
  const cut = status({ cloud: { url: 'http://c', phase: 'waiting', problem: 'refused' }, slots: [] });
  const findings = await checkAgent(await patient({ config: config(), status: cut }));
  has(findings, 'warning', /no link to http:\/\/c \(refused\)/);
  has(findings, 'warning', /no slots/);
  const slots = [
    slot(),
    slot({ slot: 2, state: 'registering', reason: 'looking for a network', exitAddress: null }),
    slot({ slot: 3, state: 'failed', reason: 'no SIM in the modem', exitAddress: null }),
    slot({ slot: 4, state: 'locked', reason: 'the SIM asks for its PIN', exitAddress: null }),
    slot({ slot: 5, reason: 'exit address unknown: x', exitAddress: null }),
  ];
  const told = await checkAgent(await patient({ config: config(), status: status({ slots }) }));
  has(told, 'ok', /Slot 1 is connected, exit address 198\.51\.100\.7/);
  has(told, 'warning', /Slot 2 is registering: looking/);
  has(told, 'failure', /Slot 3 is failed: no SIM/);
  has(told, 'failure', /Slot 4 is locked/);
  has(told, 'warning', /Slot 5 .*exit address unknown/);
});

test('paths: a way that is well, one that swallows large packets, one that carries nothing', async () => {
  const swallowed: (() => void)[] = [];
  const server = createServer((request, response) => {
    if (request.url === '/swallows' && request.headers['x-padding'] !== undefined)
      return void swallowed.push(() => response.destroy());
    response.end('127.0.0.1');
  });
  await new Promise<void>(done => server.listen(0, '127.0.0.1', done));
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  const clock = fakeClock();
  const route = tools({
    'ip -4 -d route get': '127.0.0.1 from 127.0.0.1 dev lo',
    'ip -o link': '1: lo: <LOOPBACK,UP> mtu 1200',
  });
  const through = async (echoUrl: string) =>
    patient({ clock, runTool: route, config: config({ echoUrls: [echoUrl] }), status: status() });
  const well = await checkPaths(await through(`${base}/ip`));
  has(well, 'warning', /names no name server/, /dnsServers/);
  has(well, 'ok', /small and large packets pass/);
  has(well, 'warning', /at most 1200 bytes/, /APN/);
  const examined = checkPaths(await through(`${base}/swallows`));
  while (swallowed.length === 0) await new Promise(done => setImmediate(done));
  await clock.advance(10_000);
  has(await examined, 'failure', /small packets pass and large ones vanish/, /mtu 1400/);
  for (const end of swallowed) end();
  server.closeAllConnections();
  await new Promise(done => server.close(done));
  has(await checkPaths(await through(`${base}/ip`)), 'failure', /cannot be reached/, /credit/);
});

test('paths: "no such name" is an answer, and told when the configuration needs the name', async () => {
  const names = await startNameServer({
    host: '127.0.0.1',
    port: 0,
    names: { 'here.mastline.test': ['127.0.0.1'] },
    forward: async () => Promise.reject(new Error('nothing is forwarded')),
  });
  try {
    const ways = [{ slot: 1, sourceAddress: '127.0.0.1', dnsServers: [`127.0.0.1:${names.port}`] }];
    const asked = async (host: string) =>
      checkPaths(
        await patient({ config: config({ echoUrls: [`http://${host}:1/ip`] }), status: status({ ways }) }),
      );
    has(await asked('here.mastline.test'), 'ok', /names are answered by 127\.0\.0\.1/);
    has(await asked('nobody.mastline.test'), 'warning', /"nobody\.mastline\.test" is not among them/);
  } finally {
    await names.close();
  }
});

test('paths: a name server that does not answer is named', async () => {
  const ways = [{ slot: 1, sourceAddress: '127.0.0.1', dnsServers: ['127.0.0.1:1'] }];
  const asked = await patient({ config: config(), status: status({ ways }) });
  has(await checkPaths(asked), 'failure', /127\.0\.0\.1:1 did not answer for "\."/, /1\.1\.1\.1/);
  has(
    await checkPaths(await patient({ config: config(), status: status({ slots: [] }) })),
    'note',
    /No modem is connected/,
  );
});

test.run();
