/** The codec against recorded bytes of mbimcli, every cut, and hostile input. No device. */
import { strict as strictAssert } from 'node:assert';
import * as basic from '@mastline/agent/modem-plane/drivers/mbim/basic-connect';
import type { Command } from '@mastline/agent/modem-plane/drivers/mbim/command';
import * as data from '@mastline/agent/modem-plane/drivers/mbim/data-connection';
import * as extensions from '@mastline/agent/modem-plane/drivers/mbim/extensions';
import { FragmentJoiner } from '@mastline/agent/modem-plane/drivers/mbim/fragments';
import {
  type MbimMessage,
  readFrame,
  readHeader,
  writeMessage,
} from '@mastline/agent/modem-plane/drivers/mbim/frame';
import { FrameSplitter } from '@mastline/agent/modem-plane/drivers/mbim/frame-splitter';
import { readIndication } from '@mastline/agent/modem-plane/drivers/mbim/indications';
import { InfoReader, InfoWriter } from '@mastline/agent/modem-plane/drivers/mbim/layout';
import { bearerOf } from '@mastline/agent/modem-plane/drivers/mbim/readings';
import { CIDS, SERVICES } from '@mastline/agent/modem-plane/drivers/mbim/services';
import * as text from '@mastline/agent/modem-plane/drivers/mbim/text-services';
import { carrierAddressOf } from '@mastline/agent/modem-plane/slot-network';
import { codeOf } from '@mastline/shared/base/coded-error';
import { ipv6Bytes } from '@mastline/shared/protocols/socks5-client';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { everySplit } from '../../../support/chunks';
import { suite } from '../../../support/suite';
import { dialogue, dialogues } from './dialogues';

const test = suite('MBIM codec');

/** Every message of `bytes`, however many are glued together. */
function messagesOf(chunks: Iterable<Buffer>): MbimMessage[] {
  const splitter = new FrameSplitter();
  const joiner = new FragmentJoiner();
  const messages: MbimMessage[] = [];
  for (const chunk of chunks)
    for (const frame of splitter.push(chunk)) {
      const joined = joiner.push(frame);
      strictAssert.notEqual(joined.state, 'broken', JSON.stringify(joined));
      if (joined.state === 'whole') messages.push(joined.message);
    }
  assert.is(splitter.heldBytes + splitter.droppedBytes, 0);
  assert.is(joiner.open, 0);
  return messages;
}

/** The information buffer of the first reply to `action`. */
function replyInfo(action: string): Buffer {
  for (const { from, bytes } of dialogue(action).frames) {
    if (from === 'host') continue;
    const [message] = messagesOf([bytes]);
    if (message?.kind === 'command-done') return message.info;
  }
  throw new Error(`no reply in "${action}"`);
}

test('recorded messages of both directions are read and written back byte by byte', () => {
  let count = 0;
  for (const { action, frames } of dialogues)
    for (const { bytes } of frames) {
      const messages = messagesOf([bytes]);
      const again = Buffer.concat(messages.flatMap(message => writeMessage(message)));
      assert.is(again.toString('hex'), bytes.toString('hex'), action);
      count += messages.length;
    }
  assert.ok(count > 100, `only ${count} messages`);
});

/** Our request for what mbimcli asked with this action. */
const requests: [action: string, command: Command<never, unknown>, input: unknown][] = [
  ['--query-device-caps', basic.deviceCaps, undefined],
  ['--query-subscriber-ready-status', basic.subscriberReady, undefined],
  ['--query-radio-state', basic.radioState, undefined],
  ['--set-radio-state=off', basic.setRadioState, false],
  ['--set-radio-state=on', basic.setRadioState, true],
  ['--query-device-services', basic.deviceServices, undefined],
  ['--query-pin-state', basic.pinState, undefined],
  ['--query-home-provider', basic.homeProvider, undefined],
  ['--query-registration-state', basic.registerState, undefined],
  ['--register-automatic', basic.registerAutomatic, { dataClass: 0 }],
  ['--query-signal-state', basic.signalState, undefined],
  ['--query-packet-service-state', data.packetService, undefined],
  ['--attach-packet-service', data.setPacketService, 'attach'],
  ['--detach-packet-service', data.setPacketService, 'detach'],
  [
    '--connect',
    data.setConnect,
    {
      activate: true,
      accessString: 'internet',
      username: 'u',
      password: 'p',
      authentication: 'pap',
      ipType: 'ipv4v6',
    },
  ],
  ['--query-connection-state', data.connectState, undefined],
  ['--query-ip-configuration', data.ipConfiguration, undefined],
  ['--query-packet-statistics', data.packetStatistics, undefined],
  ['--disconnect', data.setConnect, data.DEACTIVATE],
  ['--ms-query-lte-attach-info', extensions.lteAttachInfo, undefined],
  ['--ms-query-base-stations-info', extensions.baseStations, undefined],
] as unknown as [string, Command<never, unknown>, unknown][];

for (const [action, command, input] of requests)
  test(`asks for ${command.name} as mbimcli does with ${action}`, () => {
    const [recorded] = dialogue(action).frames;
    const [bytes] = writeMessage({
      kind: 'command',
      transaction: 3,
      service: command.service,
      cid: command.cid,
      action: command.action,
      info: command.write(input as never),
    });
    assert.is(bytes?.toString('hex'), recorded?.bytes.toString('hex'));
  });

test('reads what stands in the recorded replies', () => {
  assert.equal(basic.deviceCaps.read(replyInfo('--query-device-caps')), {
    dataClass: 0x800000ff,
    smsCaps: 3,
    maxSessions: 8,
    deviceId: '867394040000123',
    firmware: 'RM520NGLAAR03A03M4G',
    hardware: 'RM520N-GL',
  });
  assert.equal(basic.subscriberReady.read(replyInfo('--query-subscriber-ready-status')), {
    state: 'ready',
    imsi: '250010123456789',
    iccid: '8970101234567890123',
    numbers: ['+79161234567'],
  });
  assert.equal(basic.radioState.read(replyInfo('--query-radio-state')), {
    hardwareOn: true,
    softwareOn: true,
  });
  assert.equal(basic.pinState.read(replyInfo('--query-pin-state')), {
    type: 'other',
    locked: false,
    triesLeft: 3,
  });
  assert.equal(basic.homeProvider.read(replyInfo('--query-home-provider')), { id: '25001', name: 'MTS RUS' });
  assert.equal(basic.registerState.read(replyInfo('--query-registration-state')), {
    networkError: 0,
    state: 'home',
    mode: 'automatic',
    availableDataClasses: 0x60,
    providerId: '25001',
    providerName: 'MTS RUS',
    roamingText: '',
  });
  assert.equal(basic.signalState.read(replyInfo('--query-signal-state')), { rssi: 20, errorRate: 99 });
  assert.equal(data.packetService.read(replyInfo('--query-packet-service-state')), {
    networkError: 0,
    state: 'attached',
    highestDataClass: 0x20,
    uplinkBitsPerSecond: 50_000_000,
    downlinkBitsPerSecond: 150_000_000,
  });
  assert.equal(data.setConnect.read(replyInfo('--connect')), {
    session: 0,
    state: 'activated',
    networkError: 0,
  });
  assert.equal(data.ipConfiguration.read(replyInfo('--query-ip-configuration')), {
    session: 0,
    ipv4: {
      address: '10.64.1.3',
      prefixLength: 30,
      gateway: '10.64.1.1',
      dnsServers: ['8.8.8.8', '1.1.1.1'],
      mtu: 1500,
    },
    ipv6: { address: null, prefixLength: null, gateway: null, dnsServers: [], mtu: null },
  });
  assert.equal(data.packetStatistics.read(replyInfo('--query-packet-statistics')), {
    rxBytes: 123_456_789,
    txBytes: 9_876_543,
  });
  assert.equal(extensions.lteAttachInfo.read(replyInfo('--ms-query-lte-attach-info')), {
    attached: true,
    accessString: 'internet',
  });
  assert.equal(extensions.baseStations.read(replyInfo('--ms-query-base-stations-info')), {
    systemType: 0x20,
    lte: {
      providerId: '25001',
      cellId: 0x12345,
      earfcn: 1650,
      pci: 77,
      tac: 0x1f2e,
      rsrpDbm: -95,
      rsrqDb: -11,
    },
  });
  const services = basic.deviceServices.read(replyInfo('--query-device-services'));
  assert.equal(
    services.map(one => [one.service, one.cids.length]),
    [
      [SERVICES.basicConnect, 18],
      [SERVICES.sms, 5],
      [SERVICES.ussd, 1],
      [SERVICES.msBasicConnectExtensions, 10],
      [SERVICES.quectel, 1],
    ],
  );
});

test('a recorded dialogue comes out the same however the stream is cut', () => {
  for (const action of ['--connect', '--set-radio-state=off']) {
    const stream = Buffer.concat(
      dialogue(action)
        .frames.filter(f => f.from === 'device')
        .map(f => f.bytes),
    );
    const whole = messagesOf([stream]);
    assert.ok(whole.length >= 3);
    for (const chunks of everySplit(stream)) assert.equal(messagesOf(chunks), whole);
  }
});

test('a message of any size survives any control transfer, with fragments of the right size', async () => {
  await fc.assert(
    fc.property(
      fc.uint8Array({ maxLength: 3000 }),
      fc.integer({ min: 64, max: 512 }),
      fc.constantFrom('command', 'command-done', 'indication'),
      (bytes, size, kind) => {
        const info = Buffer.from(bytes);
        const common = { transaction: 9, service: SERVICES.sms, cid: 2, info };
        const message: MbimMessage =
          kind === 'command'
            ? { kind, ...common, action: 'set' }
            : kind === 'command-done'
              ? { kind, ...common, status: 5 }
              : { kind: 'indication', ...common };
        const frames = writeMessage(message, size);
        for (const frame of frames.slice(0, -1)) assert.is(frame.length, size);
        assert.ok((frames.at(-1)?.length ?? 0) <= size);
        assert.equal(messagesOf(frames), [message]);
      },
    ),
    { numRuns: 300 },
  );
});

test('an indication in fragments may stand between those of a reply', () => {
  const info = Buffer.alloc(150, 7);
  const reply: MbimMessage = {
    kind: 'command-done',
    transaction: 4,
    service: SERVICES.sms,
    cid: 2,
    status: 0,
    info,
  };
  const unasked: MbimMessage = { kind: 'indication', transaction: 0, service: SERVICES.sms, cid: 2, info };
  const a = writeMessage(reply, 64);
  const b = writeMessage(unasked, 64);
  const mixed = a.flatMap((frame, index) => [frame, b[index]].filter(one => one !== undefined));
  // The reply has one fragment more.
  assert.equal(messagesOf(mixed), [unasked, reply]);
});

test('fragments out of order, twice, missing or of changing number break their message with error 2', () => {
  const frames = writeMessage(
    {
      kind: 'command-done',
      transaction: 4,
      service: SERVICES.sms,
      cid: 2,
      status: 0,
      info: Buffer.alloc(200),
    },
    64,
  );
  const [first, second, third] = frames as [Buffer, Buffer, Buffer];
  const lying = Buffer.from(second);
  lying.writeUInt32LE(99, 12);
  for (const sequence of [
    [second],
    [first, first],
    [first, third],
    [first, second, second],
    [first, lying],
  ]) {
    const joiner = new FragmentJoiner();
    const results = sequence.map(frame => joiner.push(readFrame(frame)));
    const last = results.at(-1);
    assert.is(last?.state === 'broken' && last.protocolError, 2);
    assert.is(last?.state === 'broken' && last.transaction, 4);
    assert.is(joiner.open, 0);
    // And the next whole message is read as if nothing had been.
    const states = frames.map(frame => joiner.push(readFrame(frame)).state);
    assert.is(states.at(-1), 'whole');
  }
});

test('a device that begins messages without end holds a bounded number of them', () => {
  const joiner = new FragmentJoiner();
  for (let transaction = 1; transaction < 200; transaction += 1) {
    const [first] = writeMessage(
      {
        kind: 'command-done',
        transaction,
        service: SERVICES.sms,
        cid: 2,
        status: 0,
        info: Buffer.alloc(200),
      },
      64,
    );
    joiner.push(readFrame(first as Buffer));
  }
  assert.is(joiner.open, 4);
  assert.is(joiner.discard().length, 4);
});

test('a message that grows past the limit is given up, not kept', () => {
  const joiner = new FragmentJoiner();
  const huge = Buffer.alloc(60_000);
  huge.writeUInt32LE(0x8000_0003, 0);
  huge.writeUInt32LE(huge.length, 4);
  huge.writeUInt32LE(1, 8);
  huge.writeUInt32LE(10, 12);
  const states: string[] = [];
  for (let current = 0; current < 6; current += 1) {
    huge.writeUInt32LE(current, 16);
    states.push(joiner.push(readFrame(Buffer.from(huge))).state);
  }
  assert.equal(states, ['more', 'more', 'more', 'more', 'broken', 'broken']);
  assert.is(joiner.open, 0);
});

test('garbage before, between and after frames is dropped and counted, and the frames come through', async () => {
  const good = dialogue('--query-radio-state').frames[1]?.bytes as Buffer;
  await fc.assert(
    fc.property(fc.uint8Array({ maxLength: 60 }), fc.integer({ min: 1, max: 70 }), (noise, size) => {
      // Noise that itself begins like a frame is another test.
      fc.pre(!noise.some((_, at) => readHeader(Buffer.concat([noise, good]).subarray(at)) !== undefined));
      const stream = Buffer.concat([noise, good, noise, good]);
      const splitter = new FrameSplitter();
      const frames = [];
      for (let at = 0; at < stream.length; at += size)
        frames.push(...splitter.push(stream.subarray(at, at + size)));
      assert.is(frames.length, 2);
      assert.is(splitter.droppedBytes, noise.length * 2);
    }),
    { numRuns: 500 },
  );
});

test('a frame that never becomes whole can be discarded, and what is held stays below one frame', () => {
  const splitter = new FrameSplitter();
  const lie = Buffer.alloc(12);
  lie.writeUInt32LE(0x8000_0003, 0);
  lie.writeUInt32LE(65_535, 4);
  splitter.push(lie);
  const good = dialogue('--query-radio-state').frames[1]?.bytes as Buffer;
  assert.is(splitter.push(good).length, 0);
  splitter.discard();
  assert.is(splitter.heldBytes, 0);
  assert.is(splitter.push(good).length, 1);
});

/** Everything that reads an information buffer. */
const readers: [name: string, read: (info: Buffer) => unknown][] = [
  ...[basic, data, text, extensions].flatMap(table =>
    Object.values(table as Record<string, unknown>).flatMap((row): [string, (info: Buffer) => unknown][] =>
      typeof row === 'object' && row !== null && 'cid' in row
        ? [[(row as Command<never, unknown>).name, (row as Command<never, unknown>).read]]
        : [],
    ),
  ),
  ...[SERVICES.basicConnect, SERVICES.sms, SERVICES.ussd].flatMap(service =>
    [1, 2, 3, 5, 9, 10, 12].map((cid): [string, (info: Buffer) => unknown] => [
      `indication ${cid}`,
      info => readIndication(service, cid, info),
    ]),
  ),
];

test('the fuzz goes over every reader', () => assert.ok(readers.length > 40, `only ${readers.length}`));

function readsOrRefuses(name: string, read: (info: Buffer) => unknown, info: Buffer): void {
  try {
    read(info);
  } catch (error) {
    if (codeOf(error) !== 'mbim/malformed')
      throw new Error(`${name} on ${info.toString('hex')}`, { cause: error });
  }
}

test('every reader takes or refuses any bytes with a code, and nothing else', async () => {
  for (const [name, read] of readers)
    await fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), bytes => readsOrRefuses(name, read, Buffer.from(bytes))),
      { numRuns: 300 },
    );
});

test(
  'every reader takes or refuses recorded replies with any word changed or any tail missing',
  () => {
    const hostile = [0, 1, 0x7f, 0xffff, 0x7fffffff, 0x80000000, 0xfffffff0, 0xffffffff];
    for (const { frames } of dialogues)
      for (const { from, bytes } of frames) {
        if (from === 'host') continue;
        for (const message of messagesOf([bytes])) {
          if (message.kind !== 'command-done' && message.kind !== 'indication') continue;
          for (let length = 0; length < message.info.length; length += 1)
            for (const [name, read] of readers) readsOrRefuses(name, read, message.info.subarray(0, length));
          for (let at = 0; at + 4 <= message.info.length; at += 4)
            for (const word of hostile) {
              const changed = Buffer.from(message.info);
              changed.writeUInt32LE(word, at);
              for (const [name, read] of readers) readsOrRefuses(name, read, changed);
            }
        }
      }
  },
  { deadlineMs: 60_000 },
);

test('any bytes at all go through splitter and joiner without a fault', async () => {
  await fc.assert(
    fc.property(
      fc.array(fc.constantFrom(1, 2, 3, 4, 7, 0x80000001, 0x80000003, 0x80000007, 12, 16, 20, 48), {
        maxLength: 60,
      }),
      words => {
        const bytes = Buffer.alloc(words.length * 4);
        for (const [index, word] of words.entries()) bytes.writeUInt32LE(word, index * 4);
        const joiner = new FragmentJoiner();
        for (const frame of new FrameSplitter().push(bytes)) joiner.push(frame);
        assert.ok(joiner.open <= 4);
      },
    ),
    { numRuns: 3000 },
  );
});

test('elements that all point at the same bytes are refused before memory is spent', () => {
  const writer = Buffer.alloc(8 + 8 * 1000 + 4000);
  writer.writeUInt32LE(0, 0);
  writer.writeUInt32LE(1000, 4);
  for (let index = 0; index < 1000; index += 1) {
    writer.writeUInt32LE(8008, 8 + index * 8);
    writer.writeUInt32LE(4000, 12 + index * 8);
  }
  strictAssert.throws(() => text.smsRead.read(writer), /lie over each other/);
});

test('a PDU stands relative to its own record', () => {
  const pdu = Buffer.from('07917283010010F5', 'hex');
  const record = (index: number) => new InfoWriter().u32(index).u32(0).bytes(pdu).finish();
  const info = new InfoWriter()
    .u32(0)
    .structures([record(3), record(9)])
    .finish();
  assert.equal(
    text.smsRead.read(info).map(one => [one.index, one.state, one.pdu.toString('hex')]),
    [
      [3, 'new', pdu.toString('hex')],
      [9, 'new', pdu.toString('hex')],
    ],
  );
});

test('numbers beyond 2^53 are refused, not rounded', () => {
  const info = new InfoWriter().u32(0).u32(0).finish();
  const beyond = Buffer.concat([info, Buffer.alloc(8, 0xff), Buffer.alloc(32)]);
  strictAssert.throws(() => data.packetStatistics.read(beyond), /beyond 2\^53/);
});

test('a terminator that was counted in is taken off, a string of odd size is refused', () => {
  const reader = new InfoReader(new InfoWriter().string('ab\0').finish(), 'test');
  assert.is(reader.string('name'), 'ab');
  const odd = new InfoReader(new InfoWriter().bytes(Buffer.from('abc')).finish(), 'test');
  strictAssert.throws(() => odd.string('name'), /test, name: a string of 3 bytes/);
});

test('the proxy is told its device as libmbim tells it', () => {
  const info = extensions.proxyConfiguration.write({ devicePath: '/dev/null', timeoutSeconds: 30 });
  assert.is(
    info.toString('hex'),
    `0c000000120000001e000000${Buffer.from('/dev/null', 'utf16le').toString('hex')}0000`,
  );
  assert.is(CIDS.proxyConfiguration, 1);
});

test('an IP configuration of whatever addresses is read as it is, and only usable IPv6 comes of it', async () => {
  const bytes = (length: number) =>
    fc.uint8Array({ minLength: length, maxLength: length }).map(b => Buffer.from(b));
  const element = fc.tuple(fc.nat(300), bytes(16));
  await fc.assert(
    fc.property(
      fc.nat(15),
      fc.array(element, { maxLength: 4 }),
      fc.array(bytes(16), { maxLength: 4 }),
      fc.nat(3000),
      (flags, addresses, dns, mtu) => {
        const prefixed = addresses.map(([length, address]) => {
          const head = Buffer.alloc(4);
          head.writeUInt32LE(length);
          return Buffer.concat([head, address]);
        });
        const writer = new InfoWriter().u32(0).u32(0).u32(flags).u32(0).elements([]);
        writer.u32(prefixed.length).elements(prefixed).elements([]).elements([]);
        writer.u32(0).elements([]).u32(dns.length).elements(dns).u32(0).u32(mtu);
        const { ipv6 } = data.ipConfiguration.read(writer.finish());
        const bearer = bearerOf({ session: 0, ipv4: NOTHING, ipv6 });
        const first = (flags & 1) === 0 ? undefined : prefixed[0];
        assert.is(ipv6.address === null, first === undefined);
        if (ipv6.address !== null)
          assert.is(Buffer.from(ipv6Bytes(ipv6.address)).toString('hex'), first?.subarray(4).toString('hex'));
        assert.is(ipv6.dnsServers.length, (flags & 4) === 0 ? 0 : dns.length);
        const used = carrierAddressOf(bearer, { api: { kind: 'mbim', device: '/dev/cdc-wdm0' } })?.address6;
        if (used === undefined) return;
        const [group] = used.split(':');
        assert.match(group ?? '', /^(?:[23][0-9a-f]{3}|f[cd][0-9a-f]{2})$/);
        assert.is(Buffer.from(ipv6Bytes(used)).toString('hex'), first?.subarray(4).toString('hex'));
      },
    ),
    { numRuns: 500 },
  );
});

const NOTHING = { address: null, prefixLength: null, gateway: null, dnsServers: [], mtu: null };

test.run();
