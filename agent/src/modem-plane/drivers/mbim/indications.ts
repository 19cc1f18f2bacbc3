/**
 * What a device says unasked, as one tagged union: rows of service, command and reader. Pure. Which of them a driver
 * asks for is the list below; the layouts are those of the replies with the same number.
 */
import {
  type RadioState,
  type RegisterState,
  readRadioState,
  readRegisterState,
  readSubscriberReady,
  type ServiceSupport,
  type SubscriberReady,
} from './basic-connect';
import {
  type ConnectState,
  type PacketService,
  readConnectState,
  readPacketService,
} from './data-connection';
import { InfoReader } from './layout';
import { CIDS, SERVICES } from './services';
import { readMessages, readUssd, type StoredMessage, type UssdReply } from './text-services';

export type Indication =
  | { kind: 'subscriber'; subscriber: SubscriberReady }
  | { kind: 'radio'; radio: RadioState }
  | { kind: 'register'; register: RegisterState }
  | { kind: 'packet-service'; packetService: PacketService }
  | { kind: 'connect'; connect: ConnectState }
  | { kind: 'messages'; messages: StoredMessage[] }
  | { kind: 'message-store'; full: boolean }
  | { kind: 'ussd'; reply: UssdReply };

type Row = readonly [service: string, cid: number, read: (reader: InfoReader) => Indication];

const STORE_FULL = 1;

const ROWS: readonly Row[] = [
  [
    SERVICES.basicConnect,
    CIDS.subscriberReady,
    reader => ({ kind: 'subscriber', subscriber: readSubscriberReady(reader) }),
  ],
  [SERVICES.basicConnect, CIDS.radioState, reader => ({ kind: 'radio', radio: readRadioState(reader) })],
  [
    SERVICES.basicConnect,
    CIDS.registerState,
    reader => ({ kind: 'register', register: readRegisterState(reader) }),
  ],
  [
    SERVICES.basicConnect,
    CIDS.packetService,
    reader => ({ kind: 'packet-service', packetService: readPacketService(reader) }),
  ],
  [SERVICES.basicConnect, CIDS.connect, reader => ({ kind: 'connect', connect: readConnectState(reader) })],
  [SERVICES.sms, CIDS.smsRead, reader => ({ kind: 'messages', messages: readMessages(reader) })],
  [
    SERVICES.sms,
    CIDS.smsStoreStatus,
    reader => ({ kind: 'message-store', full: (reader.u32('flags') & STORE_FULL) !== 0 }),
  ],
  [SERVICES.ussd, CIDS.ussd, reader => ({ kind: 'ussd', reply: readUssd(reader) })],
];

/** Undefined for one that nobody here listens to; throws `mbim/malformed`. */
export function readIndication(service: string, cid: number, info: Buffer): Indication | undefined {
  const row = ROWS.find(([rowService, rowCid]) => rowService === service && rowCid === cid);
  return row?.[2](new InfoReader(info, `indication ${service} ${cid}`));
}

/** The list to subscribe to, of what the device has. Signal is left out: it is asked for when somebody looks. */
export function wantedIndications(supported: readonly ServiceSupport[]): ServiceSupport[] {
  return supported
    .map(({ service, cids }) => ({
      service,
      cids: ROWS.filter(([rowService, cid]) => rowService === service && cids.includes(cid)).map(
        row => row[1],
      ),
    }))
    .filter(({ cids }) => cids.length > 0);
}
