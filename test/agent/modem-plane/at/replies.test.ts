/** Reply lines as manuals and recordings have them, and what they mean; and that no line can break a reader. */
import assert from 'node:assert/strict';
import * as data from '@mastline/agent/modem-plane/drivers/at/data-replies';
import { fieldsOf, hexOf, wholeOf } from '@mastline/agent/modem-plane/drivers/at/fields';
import * as replies from '@mastline/agent/modem-plane/drivers/at/replies';
import * as signals from '@mastline/agent/modem-plane/drivers/at/signal-replies';
import { isReply, readUrc } from '@mastline/agent/modem-plane/drivers/at/urcs';
import type { Conversion } from '@mastline/shared/profile/schema';
import fc from 'fast-check';
import { suite } from '../../../support/suite';

const test = suite('AT replies');
const PLAIN: Conversion = { scale: 1, offset: 0, min: -20, max: 30 };
const DOUBLE: Conversion = { scale: 2, offset: -20, min: 0, max: 25 };
const FIFTH: Conversion = { scale: 0.2, offset: -20, min: 0, max: 250 };

const same = (what: string, actual: () => unknown, expected: unknown) =>
  test(what, () => assert.deepEqual(actual(), expected));

same('fields are split at commas outside quotes', () => fieldsOf('1,"a, b",,-5, x '), [
  '1',
  'a, b',
  '',
  '-5',
  'x',
]);
test('numbers are whole or nothing', () => {
  assert.deepEqual(['7', '-32768', '', '-', '1.5', '0x10'].map(wholeOf), [7, -32768, null, null, null, null]);
  assert.deepEqual(['DE10', '0x1a', '', 'xyz', 'FFFFFFFFFFFFFFFF'].map(hexOf), [
    0xde10,
    0x1a,
    null,
    null,
    null,
  ]);
});

// Identity
same(
  'an IMEI may stand bare or behind its name',
  () => [
    replies.readValue(['867962040012345'], /^\d{15}$/),
    replies.readValue(['+CGSN: "867962040012345"'], /^\d{15}$/),
    replies.readValue(['Quectel', '12'], /^\d{15}$/),
  ],
  ['867962040012345', '867962040012345', null],
);
same(
  'an ICCID loses its filling',
  () => replies.readIccid(['+QCCID: 8986002512830601247F']),
  '8986002512830601247',
);

// SIM
same(
  'the words of CPIN',
  () =>
    ['READY', 'SIM PIN', 'SIM PUK', 'NOT INSERTED', 'PH-NET PIN'].map(said =>
      replies.readCpin([`+CPIN: ${said}`]),
    ),
  [
    { state: 'ready' },
    { state: 'pin-needed', triesLeft: null },
    { state: 'puk-needed', triesLeft: null },
    { state: 'absent' },
    { state: 'failed', reason: 'the SIM asks for PH-NET PIN' },
  ],
);
same('tries left on Quectel', () => replies.readQpinc(['+QPINC: "SC",3,10', '+QPINC: "P2",1,2']), {
  pin: 3,
  puk: 10,
});
same(
  'tries left on Huawei, in either order, or honestly unknown',
  () => [
    replies.readHuaweiCpin(['^CPIN: READY,,3,10,3,10']),
    replies.readHuaweiCpin(['^CPIN: SIM PIN,,10,2,10,3']),
    replies.readHuaweiCpin(['^CPIN: SIM PUK,,3,0,10,3']),
  ],
  [
    { pin: 3, puk: 10 },
    { pin: 2, puk: 10 },
    { pin: null, puk: null },
  ],
);

// Registration
same(
  'a read of registration names its mode first',
  () => replies.readRegistration(['+CEREG: 2,1,"DE10","5A29C0B",7'], '+CEREG'),
  {
    state: 'registered',
    technology: '4g',
    cellId: String(0x5a29c0b),
  },
);
same(
  'standalone 5G with its slice',
  () => replies.readRegistration(['+C5GREG: 2,1,"690E0F","9013B004",11,4,"01.000000"'], '+C5GREG'),
  {
    state: 'registered',
    technology: '5g-sa',
    cellId: String(0x9013b004),
  },
);
test('an unasked registration line is told from a reply', () => {
  for (const reply of [
    '+CEREG: 0,1',
    '+CREG: 2,5,"1","2",7',
    '+C5GREG: 2,1,"690E0F","9013B004",11,4,"01.000000"',
  ])
    assert.equal(isReply(reply, ['+CEREG', '+CREG', '+C5GREG']), true, reply);
  for (const unasked of [
    '+CEREG: 1',
    '+CEREG: 1,"DE10","5A29C0B",7',
    '+CREG: 2,DE10,5A29',
    '+CGREG: 1,1234,5678',
  ])
    assert.equal(isReply(unasked, ['+CEREG', '+CREG', '+CGREG']), false, unasked);
  assert.equal(readUrc('+CEREG: 1')?.name, '+CEREG');
});
same(
  'one domain that is registered is enough',
  () =>
    replies.bestRegistration([
      { state: 'not-searching', technology: null, cellId: null },
      { state: 'roaming', technology: '4g', cellId: null },
      { state: 'denied', technology: null, cellId: null },
    ])?.state,
  'roaming',
);
same(
  'carrier and number out of two formats',
  () => replies.readOperator(['+COPS: 0,0,"MegaFon",7', '+COPS: 0,2,"25002",7']),
  {
    carrier: 'MegaFon',
    plmn: '25002',
    technology: '4g',
  },
);
same('a carrier written in UCS2', () => replies.readOperator(['+COPS: 0,0,"041C0422"']), {
  carrier: '041C0422',
  plmn: null,
  technology: null,
});
same(
  'a name in UCS2 of Latin letters',
  () => replies.readOperator(['+COPS: 0,0,"00540045",2'])?.carrier,
  'TE',
);
same('no carrier while not registered', () => replies.readOperator(['+COPS: 2']), {
  carrier: null,
  plmn: null,
  technology: null,
});
same(
  'the NR leg shows in the network details',
  () =>
    replies.readNetworkTechnologies([
      '+QNWINFO: "FDD LTE","46001","LTE BAND 3",1650',
      '+QNWINFO: "NR5G-NSA","46001","NR5G BAND 78",627264',
    ]),
  ['FDD LTE', 'NR5G-NSA'],
);
same(
  'system information of a Huawei stick',
  () => replies.readSysInfo(['^SYSINFOEX:2,3,0,1,,6,"LTE",101,"LTE"']),
  { state: 'registered', technology: '4g', cellId: null },
);

// Signal
same(
  'CSQ, and its "unknown"',
  () => [
    signals.readCsq(['+CSQ: 22,99'])?.rssiDbm,
    signals.readCsq(['+CSQ: 99,99'])?.rssiDbm,
    signals.readCsq(['+CSQ: 0,0'])?.rssiDbm,
  ],
  [-69, null, -113],
);
same('CESQ', () => signals.readCesq(['+CESQ: 99,99,255,255,20,46']), {
  rssiDbm: null,
  rsrpDbm: -95,
  rsrqDb: -10,
  sinrDb: null,
});
same('QCSQ of LTE, SINR in fifths', () => signals.readQcsq(['+QCSQ: "LTE",-52,-81,195,-10'], FIFTH), {
  rssiDbm: -52,
  rsrpDbm: -81,
  rsrqDb: -10,
  sinrDb: 19,
});
same('QCSQ of NR, SINR before RSRQ', () => signals.readQcsq(['+QCSQ: "NR5G",-75,5,-11'], FIFTH), {
  rssiDbm: null,
  rsrpDbm: -75,
  rsrqDb: -11,
  sinrDb: 5,
});
same('HCSQ', () => signals.readHcsq(['^HCSQ:"LTE",53,41,141,22']), {
  rssiDbm: -68,
  rsrpDbm: -100,
  rsrqDb: -9,
  sinrDb: 8,
});
same('HCSQ without values', () => signals.readHcsq(['^HCSQ:"LTE",255,255,255,255']), signals.NO_SIGNAL);
same('HCSQ without service', () => signals.readHcsq(['^HCSQ: "NOSERVICE"']), signals.NO_SIGNAL);

const ec25 = '+QENG: "servingcell","NOCONN","LTE","FDD",460,01,19A358C,366,100,1,5,5,774E,-108,-5,-83,9,13';
same('the serving cell of EC25, SINR in dB', () => signals.readServingCell([ec25], PLAIN), {
  nr: false,
  signal: { rsrpDbm: -108, rsrqDb: -5, rssiDbm: -83, sinrDb: 9 },
  cell: { cellId: '26883468', pci: 366, channel: 100, band: 'B1' },
});
const rmLte =
  '+QENG: "servingcell","NOCONN","LTE","FDD",460,01,5F1EA15,12,1650,3,5,5,DE10,-100,-12,-68,11,0,-32768,27';
same(
  'the serving cell of RM5xx in LTE, SINR doubled',
  () => signals.readServingCell([rmLte], DOUBLE)?.signal,
  { rsrpDbm: -100, rsrqDb: -12, rssiDbm: -68, sinrDb: 2 },
);
same(
  'EN-DC: the NR leg carries, the anchor says where',
  () =>
    signals.readServingCell(
      [
        '+QENG: "servingcell","NOCONN"',
        '+QENG: "LTE","FDD",222,01,328261F,280,275,1,4,4,BE3,-99,-14,-66,7,4,30,-',
        '+QENG: "NR5G-NSA",222,01,920,-96,18,-10,648768,78,10,1',
      ],
      DOUBLE,
    ),
  {
    nr: true,
    signal: { rssiDbm: null, rsrpDbm: -96, sinrDb: 18, rsrqDb: -10 },
    cell: { cellId: String(0x328261f), pci: 920, channel: 648768, band: 'n78' },
  },
);
const sa =
  '+QENG: "servingcell","NOCONN","NR5G-SA","TDD",310,260,18666712F,335,794E00,516270,41,12,-75,-11,5,1,-';
same('standalone NR: RSRQ before SINR', () => signals.readServingCell([sa], DOUBLE), {
  nr: true,
  signal: { rssiDbm: null, rsrpDbm: -75, rsrqDb: -11, sinrDb: 5 },
  cell: { cellId: String(0x18666712f), pci: 335, channel: 516270, band: 'n41' },
});
same(
  'dashes and -32768 are not values',
  () =>
    signals.readServingCell(
      ['+QENG: "servingcell","NOCONN","LTE","FDD",460,01,-,-,-,-,5,5,-,-32768,-,-,-,-'],
      PLAIN,
    ),
  {
    nr: false,
    signal: signals.NO_SIGNAL,
    cell: signals.NO_CELL,
  },
);
same('a search is no cell', () => signals.readServingCell(['+QENG: "servingcell","SEARCH"'], PLAIN), {
  nr: false,
  signal: signals.NO_SIGNAL,
  cell: signals.NO_CELL,
});

// Data
same('contexts', () => data.readContexts(['+CGDCONT: 1,"IPV4V6","internet","0.0.0.0",0,0']), [
  { context: 1, ipType: 'IPV4V6', apn: 'internet' },
]);
same(
  'an address, an address with its mask, and IPv6 in numbers',
  () => [
    data.readAddress('10.76.51.180').address,
    data.readAddress('10.76.51.180.255.255.255.0'),
    data.readAddress('38.1.4.112.16.24.0.0.0.0.0.0.0.0.0.1').address6,
    data.readAddress('0.0.0.0').address,
    data.readAddress('300.1.1.1').address,
    data.readAddress('').address,
  ],
  [
    '10.76.51.180',
    { ...data.NO_ADDRESSES, address: '10.76.51.180', prefixLength: 24 },
    '2601:470:1018:0:0:0:0:1',
    null,
    null,
    null,
  ],
);
same(
  'a context of both families',
  () => data.readContextAddress(['+CGPADDR: 1,"10.1.2.3","2001:db8::5"'], 1),
  { ...data.NO_ADDRESSES, address: '10.1.2.3', address6: '2001:db8::5' },
);
same(
  'details over two lines, name servers once each',
  () =>
    data.readContextDetails(
      [
        '+CGCONTRDP: 1,5,"internet.mnc001.mcc250.gprs","10.76.51.180.255.255.255.0","10.76.51.1","10.0.0.53","10.0.0.53"',
        '+CGCONTRDP: 1,5,"internet.mnc001.mcc250.gprs","38.1.4.112.16.24.0.0.0.0.0.0.0.0.0.1.255.255.255.255.255.255.255.255.0.0.0.0.0.0.0.0","","2001:db8::53"',
      ],
      1,
    ),
  {
    address: '10.76.51.180',
    address6: '2601:470:1018:0:0:0:0:1',
    prefixLength: 24,
    gateway: '10.76.51.1',
    dnsServers: ['10.0.0.53', '2001:db8::53'],
  },
);
same(
  'router mode of RM5xx',
  () =>
    data.readQmapWwan(['+QMAP: "WWAN",1,1,"IPV4","10.1.2.3"', '+QMAP: "WWAN",0,1,"IPV6","0:0:0:0:0:0:0:0"']),
  {
    ...data.NO_ADDRESSES,
    connected: true,
    address: '10.1.2.3',
  },
);
same(
  'NDIS states',
  () =>
    ['1,,,"IPV4"', '0', '3,,,"IPV4"', '0,33,,"IPV4",1,,,"IPV6"', 'x'].map(rest =>
      data.readNdisState([`^NDISSTATQRY: ${rest}`]),
    ),
  ['up', 'down', 'connecting', 'up', null],
);
same(
  'a Huawei lease is least byte first, without leading zeros',
  () => data.readHuaweiDhcp(['^DHCP: CCDB080A,F8FFFFFF,C9DB080A,C9DB080A,350A0A0,0,150000000,50000000']),
  {
    address: '10.8.219.204',
    address6: null,
    prefixLength: 29,
    gateway: '10.8.219.201',
    dnsServers: ['160.160.80.3'],
  },
);

// The rest
same(
  'temperatures: the hottest that is there',
  () => [
    replies.readTemperature(['+QTEMP: 34,31,255']),
    replies.readTemperature(['+QTEMP:"modem-ambient-usr","41"', '+QTEMP:"x","-273"', '+QTEMP:"y","0"']),
    replies.readTemperature(['+QTEMP: 255,255,255']),
  ],
  [34, 41, null],
);
same(
  'byte counters',
  () => [
    replies.readByteCounter(['+QGDCNT: 3832,4618'], '+QGDCNT'),
    replies.readHuaweiFlow(['^DSFLOWQRY:00000E10,00000000000000FF,0000000100000000,0,0,0']),
  ],
  [
    { txBytes: 3832, rxBytes: 4618 },
    { txBytes: 255, rxBytes: 4_294_967_296 },
  ],
);
same(
  'USSD in plain text, with quotes and commas of its own',
  () => replies.readUssd('0,"Say "hi", then pay",15', false),
  { status: 0, text: 'Say "hi", then pay' },
);
same('USSD in UCS2', () => replies.readUssd('1,"041104300406003F",72', false), { status: 1, text: 'БаІ?' });
same(
  'USSD packed, on Huawei only',
  () => [replies.readUssd('0,"AA180C3602",15', true)?.text, replies.readUssd('0,"FACE",15', false)?.text],
  ['*100#', 'FACE'],
);
same('USSD without text', () => [replies.readUssd('4', false), replies.readUssd('x', false)], [
  { status: 4, text: '' },
  null,
]);

test('no line can break a reader', async () => {
  const readers: ((lines: string[]) => unknown)[] = [
    replies.readIccid,
    replies.readCpin,
    replies.readQpinc,
    replies.readHuaweiCpin,
    replies.readOperator,
    replies.readNetworkTechnologies,
    replies.readSysInfo,
    replies.readTemperature,
    replies.readHuaweiFlow,
    lines => replies.readByteCounter(lines, '+QGDCNT'),
    lines => replies.readRegistration(lines, '+CEREG'),
    lines => replies.readUssd(lines[0] ?? '', true),
    signals.readCsq,
    signals.readCesq,
    signals.readHcsq,
    lines => signals.readQcsq(lines, FIFTH),
    lines => signals.readServingCell(lines, DOUBLE),
    data.readContexts,
    lines => data.readActive(lines, 1),
    lines => data.readContextAddress(lines, 1),
    lines => data.readContextDetails(lines, 1),
    data.readQmapWwan,
    data.readNdisState,
    data.readHuaweiDhcp,
  ];
  const names = [
    '+CPIN',
    '+QPINC',
    '^CPIN',
    '+COPS',
    '+QNWINFO',
    '^SYSINFOEX',
    '+QTEMP',
    '^DSFLOWQRY',
    '+CEREG',
    '+CSQ',
    '+CESQ',
    '^HCSQ',
    '+QCSQ',
    '+QENG',
    '+CGDCONT',
    '+CGACT',
    '+CGPADDR',
    '+CGCONTRDP',
    '+QMAP',
    '^NDISSTATQRY',
    '^DHCP',
    '+QGDCNT',
  ];
  const field = fc.oneof(
    fc.constantFrom(
      '"LTE"',
      '"servingcell"',
      '"NR5G-NSA"',
      '"NR5G-SA"',
      '1',
      '0',
      '-',
      '',
      '"',
      '(',
      ')',
      '"WWAN"',
      '-32768',
    ),
    fc.integer().map(String),
    fc.string({ maxLength: 12 }),
    fc.hexaString({ maxLength: 20 }),
  );
  const anyLine = fc
    .tuple(fc.constantFrom(...names), fc.array(field, { maxLength: 24 }))
    .map(([name, fields]) => `${name}: ${fields.join(',')}`);
  await fc.assert(
    fc.property(fc.array(fc.oneof(anyLine, fc.string()), { maxLength: 4 }), lines => {
      for (const reader of readers) {
        const value = JSON.stringify(reader(lines));
        // What reaches the machine is a value that can be shown: no NaN, which JSON would hide as null inside.
        assert.ok(value === undefined || !/NaN|Infinity/.test(value));
      }
    }),
    { numRuns: 3000 },
  );
});

test.run();
