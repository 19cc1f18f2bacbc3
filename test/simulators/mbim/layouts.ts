/**
 * Information buffers of a modem's replies and indications, written out of its state. The other direction from the
 * agent's readers, judged by libmbim (`mbimcli`, python3-gi) and by the recorded dialogues.
 */

import { InfoWriter } from '@mastline/agent/modem-plane/drivers/mbim/layout';
import { CONTEXT_TYPES } from '@mastline/agent/modem-plane/drivers/mbim/services';
import { packUssd } from '@mastline/agent/modem-plane/sms/gsm7';
import { ipv6Bytes } from '@mastline/shared/protocols/socks5-client';
import { ACTIVATION, type MbimModem, PACKET, type StoredSms, type UssdEntry } from './modem';

export const EMPTY = Buffer.alloc(0);
const GSM_CLASS = 1;
const ALL_CLASSES_AND_CUSTOM = 0x8000_00ff;
const UPLINK_BITS = 50_000_000;
const DOWNLINK_BITS = 150_000_000;

export function deviceCapsInfo({ identity }: MbimModem): Buffer {
  const writer = new InfoWriter().u32(2).u32(GSM_CLASS).u32(1).u32(2).u32(ALL_CLASSES_AND_CUSTOM);
  writer.u32(3).u32(1).u32(8);
  return writer
    .string('5G/TDS')
    .string(identity.imei)
    .string(identity.firmware)
    .string(identity.model)
    .finish();
}

const READY_STATES = {
  starting: 0,
  ready: 1,
  absent: 2,
  bad: 3,
  'not-activated': 5,
  pin: 6,
  puk: 6,
} as const;

export function subscriberInfo(modem: MbimModem): Buffer {
  const { identity, knobs, simReady } = modem;
  const writer = new InfoWriter().u32(READY_STATES[knobs.sim]);
  const readable = knobs.sim === 'ready' || knobs.sim === 'not-activated';
  // A locked SIM still gives its number away (it is in a file without PIN), but not its subscriber.
  writer.string(readable ? identity.imsi : '');
  writer.string(knobs.sim === 'absent' || knobs.sim === 'starting' ? '' : identity.iccid);
  writer.u32(0).u32(simReady ? 1 : 0);
  if (simReady) writer.string(identity.number);
  return writer.finish();
}

export function radioInfo({ knobs, radioOn }: MbimModem): Buffer {
  return new InfoWriter()
    .u32(knobs.hardwareRadioOff ? 0 : 1)
    .u32(radioOn ? 1 : 0)
    .finish();
}

const PIN1 = 2;
const PUK1 = 11;

export function pinInfo({ knobs }: MbimModem): Buffer {
  const locked = knobs.sim === 'pin' || knobs.sim === 'puk';
  const type = knobs.sim === 'pin' ? PIN1 : knobs.sim === 'puk' ? PUK1 : 0;
  const tries = knobs.sim === 'puk' ? 10 : knobs.pinTriesLeft;
  return new InfoWriter()
    .u32(type)
    .u32(locked ? 1 : 0)
    .u32(tries)
    .finish();
}

export function providerInfo({ carrier }: MbimModem): Buffer {
  // Home, visible and registered.
  return new InfoWriter()
    .string(carrier.plmn)
    .u32(0x19)
    .string(carrier.name)
    .u32(GSM_CLASS)
    .u32(20)
    .u32(99)
    .finish();
}

export function registerInfo(modem: MbimModem): Buffer {
  const { carrier, knobs, registered } = modem;
  const writer = new InfoWriter().u32(modem.registerCause).u32(modem.register).u32(1);
  writer.u32(registered ? knobs.availableDataClasses : 0).u32(GSM_CLASS);
  writer.string(registered ? carrier.plmn : '').string(registered ? carrier.name : '');
  return writer
    .string('')
    .u32(registered ? 2 : 0)
    .finish();
}

export function packetServiceInfo(modem: MbimModem): Buffer {
  const attached = modem.packet === PACKET.attached;
  return new InfoWriter()
    .u32(0)
    .u32(modem.packet)
    .u32(attached ? modem.dataClass : 0)
    .u64(attached ? UPLINK_BITS : 0)
    .u64(attached ? DOWNLINK_BITS : 0)
    .finish();
}

export function signalInfo(modem: MbimModem): Buffer {
  const rssi = modem.registered ? 18 + Math.floor(modem.random() * 6) : 99;
  return new InfoWriter().u32(rssi).u32(99).u32(0).u32(0).u32(0).finish();
}

export function connectInfo(modem: MbimModem): Buffer {
  return new InfoWriter()
    .u32(0)
    .u32(modem.activation)
    .u32(0)
    .u32(modem.activation === ACTIVATION.activated ? 1 : 0)
    .uuid(CONTEXT_TYPES.internet)
    .u32(modem.activationCause)
    .finish();
}

/** A connection that failed, in the layout of one that came up. */
export function connectFailureInfo(cause: number): Buffer {
  return new InfoWriter()
    .u32(0)
    .u32(ACTIVATION.deactivated)
    .u32(0)
    .u32(0)
    .uuid(CONTEXT_TYPES.internet)
    .u32(cause)
    .finish();
}

const HAS_ALL = 0x0f;
const HAS_ALL_BUT_GATEWAY = 0x0d;

export function ipConfigurationInfo(modem: MbimModem): Buffer {
  const { dnsServers, dnsServers6, mtu } = modem.carrier;
  const { address, address6 } = givenBy(modem);
  const writer = new InfoWriter()
    .u32(0)
    .u32(address === null ? 0 : HAS_ALL)
    .u32(address6 === null ? 0 : HAS_ALL_BUT_GATEWAY);
  writer
    .u32(address === null ? 0 : 1)
    .elements(address === null ? [] : [Buffer.concat([prefix(30), v4(address)])]);
  writer
    .u32(address6 === null ? 0 : 1)
    .elements(address6 === null ? [] : [Buffer.concat([prefix(64), v6(address6)])]);
  writer.elements(address === null ? [] : [v4(gatewayOf(address))]).elements([]);
  const servers = address === null ? [] : dnsServers.map(v4);
  writer.u32(servers.length).elements(servers);
  const servers6 = address6 === null ? [] : dnsServers6.map(v6);
  writer.u32(servers6.length).elements(servers6);
  return writer
    .u32(mtu)
    .u32(address6 === null ? 0 : mtu)
    .finish();
}

const ASKED = { ipv4: 1, ipv6: 2 } as const;

/** What the carrier has, of what the host asked for. */
function givenBy({ address, carrier, connects, knobs }: MbimModem) {
  const asked = connects.at(-1)?.ipType;
  return {
    address: knobs.ipType === 'ipv6' || asked === ASKED.ipv6 ? null : address,
    address6: knobs.ipType === 'ipv4' || asked === ASKED.ipv4 ? null : carrier.address6,
  };
}

/** The other host of the /30. */
export function gatewayOf(address: string): string {
  const parts = address.split('.').map(Number);
  const last = parts[3] ?? 0;
  const first = (last & ~3) + 1;
  return [...parts.slice(0, 3), last === first ? first + 1 : first].join('.');
}

export function statisticsInfo({ rxBytes, txBytes }: MbimModem): Buffer {
  const packets = (bytes: number) => Math.ceil(bytes / 1_400);
  return new InfoWriter()
    .u32(0)
    .u32(0)
    .u64(rxBytes)
    .u64(packets(rxBytes))
    .u64(txBytes)
    .u64(packets(txBytes))
    .u32(0)
    .u32(0)
    .finish();
}

export function provisionedContextsInfo(): Buffer {
  const context = new InfoWriter()
    .u32(1)
    .uuid(CONTEXT_TYPES.internet)
    .string('internet')
    .string('')
    .string('');
  return new InfoWriter().structures([context.u32(0).u32(0).finish()]).finish();
}

/** What this modem says that it can do; a row of `answers.ts` stands behind each. */
export function deviceServicesInfo(services: ReadonlyMap<string, readonly number[]>): Buffer {
  const elements = Array.from(services, ([service, cids]) => {
    const element = new InfoWriter().uuid(service).u32(0).u32(0).u32(cids.length);
    for (const cid of cids) element.u32(cid);
    return element.finish();
  });
  // The count stands before the number of DSS sessions, the pairs behind both.
  const writer = new InfoWriter().u32(elements.length).u32(0);
  for (const element of elements) writer.bytes(element);
  return writer.finish();
}

export function smsConfigurationInfo(): Buffer {
  return new InfoWriter().u32(1).u32(0).u32(40).u32(0).string('+27381000015').finish();
}

export function smsListInfo(list: readonly StoredSms[]): Buffer {
  const records = list.map(({ index, status, pdu }) =>
    new InfoWriter().u32(index).u32(status).bytes(pdu).finish(),
  );
  return new InfoWriter().u32(0).structures(records).finish();
}

const STORE_FULL = 1;
const STORE_NEW = 2;

export function storeStatusInfo(state: 'new' | 'full' | null, index: number): Buffer {
  const flags = state === 'new' ? STORE_NEW : state === 'full' ? STORE_FULL : 0;
  return new InfoWriter().u32(flags).u32(index).finish();
}

export function ussdInfo(entry: UssdEntry, isNew: boolean): Buffer {
  const payload =
    entry.coding === 0x48 ? Buffer.from(entry.text, 'utf16le').swap16() : (packUssd(entry.text) ?? EMPTY);
  return new InfoWriter()
    .u32(entry.response)
    .u32(isNew ? 0 : 1)
    .u32(entry.coding)
    .bytes(payload)
    .finish();
}

export function attachInfo({ packet }: MbimModem): Buffer {
  const attached = packet === PACKET.attached ? 1 : 0;
  const writer = new InfoWriter().u32(attached).u32(1).string('internet').string('').string('');
  return writer.u32(0).u32(0).finish();
}

const LTE = 0x20;

export function baseStationsInfo({ carrier, registered }: MbimModem): Buffer {
  const serving = new InfoWriter().string(carrier.plmn).u32(0x12345).u32(1650).u32(77).u32(0x1f2e);
  const cell = serving.i32(-95).i32(-11).u32(0xffff_ffff).finish();
  const writer = new InfoWriter().u32(registered ? LTE : 0);
  for (let kind = 0; kind < 3; kind += 1) writer.bytes(EMPTY);
  writer.bytes(registered ? cell : EMPTY);
  for (let kind = 0; kind < 5; kind += 1) writer.bytes(EMPTY);
  return writer.finish();
}

function prefix(bits: number): Buffer {
  return new InfoWriter().u32(bits).finish();
}

function v4(address: string): Buffer {
  return Buffer.from(address.split('.').map(Number));
}

/** Eight full groups. */
const v6 = ipv6Bytes;
