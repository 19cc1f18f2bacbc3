/**
 * The basic connect service as rows (USB-IF MBIM 1.0, part 10.5): device, SIM, radio, registration, signal. The data
 * connection's rows are `data-connection.ts`. Field order is the standard's; each reader reads fixed fields in that order and
 * ignores what later versions append.
 */
import { type Command, command, plainQuery } from './command';
import { type InfoReader, InfoWriter } from './layout';
import { CIDS, SERVICES } from './services';

const at = (name: string, cid: number, deadlineMs?: number) => ({
  name,
  service: SERVICES.basicConnect,
  cid,
  ...(deadlineMs === undefined ? {} : { deadlineMs }),
});

export interface DeviceCaps {
  dataClass: number;
  smsCaps: number;
  maxSessions: number;
  deviceId: string;
  firmware: string;
  hardware: string;
}

export const deviceCaps: Command<void, DeviceCaps> = plainQuery(
  at('device capabilities', CIDS.deviceCaps),
  reader => {
    for (const field of ['device type', 'cellular class', 'voice class', 'SIM class']) reader.u32(field);
    const dataClass = reader.u32('data class');
    const smsCaps = reader.u32('SMS capabilities');
    reader.u32('control capabilities');
    const maxSessions = reader.u32('sessions');
    reader.string('custom data class');
    return {
      dataClass,
      smsCaps,
      maxSessions,
      deviceId: reader.string('device id'),
      firmware: reader.string('firmware'),
      hardware: reader.string('hardware'),
    };
  },
);

const READY_STATES = [
  'not-initialized',
  'ready',
  'not-inserted',
  'bad',
  'failure',
  'not-activated',
  'locked',
] as const;
export type ReadyState = (typeof READY_STATES)[number] | 'unknown';

export interface SubscriberReady {
  state: ReadyState;
  imsi: string;
  iccid: string;
  numbers: string[];
}

export function readSubscriberReady(reader: InfoReader): SubscriberReady {
  const state = READY_STATES[reader.u32('ready state')] ?? 'unknown';
  const imsi = reader.string('subscriber id');
  const iccid = reader.string('SIM id');
  reader.u32('ready info');
  // Telephone numbers are pairs of their own, not structures.
  const count = reader.u32('number count');
  const numbers: string[] = [];
  for (let index = 0; index < count; index += 1) numbers.push(reader.string(`number ${index}`));
  return { state, imsi, iccid, numbers };
}

export const subscriberReady: Command<void, SubscriberReady> = plainQuery(
  at('subscriber ready state', CIDS.subscriberReady),
  readSubscriberReady,
);

export interface RadioState {
  hardwareOn: boolean;
  softwareOn: boolean;
}

export function readRadioState(reader: InfoReader): RadioState {
  return { hardwareOn: reader.u32('hardware radio') === 1, softwareOn: reader.u32('software radio') === 1 };
}

export const radioState: Command<void, RadioState> = plainQuery(
  at('radio state', CIDS.radioState),
  readRadioState,
);

/** Some firmware answers only after it has left the network. */
const RADIO_DEADLINE_MS = 20_000;

export const setRadioState: Command<boolean, RadioState> = command(
  at('radio switch', CIDS.radioState, RADIO_DEADLINE_MS),
  'set',
  { write: on => new InfoWriter().u32(on ? 1 : 0).finish(), read: readRadioState },
);

const PIN_TYPES: ReadonlyMap<number, PinType> = new Map([
  [2, 'pin1'],
  [3, 'pin2'],
  [11, 'puk1'],
  [12, 'puk2'],
]);
export type PinType = 'pin1' | 'pin2' | 'puk1' | 'puk2' | 'other';
const PIN1 = 2;
const ENTER = 0;
const TRIES_UNKNOWN = 0xffff_ffff;

export interface PinState {
  type: PinType;
  locked: boolean;
  triesLeft: number | null;
}

function readPinState(reader: InfoReader): PinState {
  const type = PIN_TYPES.get(reader.u32('PIN type')) ?? 'other';
  const locked = reader.u32('PIN state') === 1;
  const tries = reader.u32('remaining attempts');
  return { type, locked, triesLeft: tries === TRIES_UNKNOWN ? null : tries };
}

export const pinState: Command<void, PinState> = plainQuery(at('PIN state', CIDS.pin), readPinState);

export const enterPin: Command<string, PinState> = command(at('PIN entry', CIDS.pin), 'set', {
  write: pin => new InfoWriter().u32(PIN1).u32(ENTER).string(pin).string('').finish(),
  read: readPinState,
});

export interface Provider {
  id: string;
  name: string;
}

/** Reads the rest of the structure too, so that one which is cut off is refused. */
function readProvider(reader: InfoReader): Provider {
  const id = reader.string('provider id');
  reader.u32('provider state');
  const name = reader.string('provider name');
  for (const field of ['cellular class', 'rssi', 'error rate']) reader.u32(field);
  return { id, name };
}

export const homeProvider: Command<void, Provider> = plainQuery(
  at('home provider', CIDS.homeProvider),
  readProvider,
);

const REGISTER_STATES = [
  'unknown',
  'deregistered',
  'searching',
  'home',
  'roaming',
  'partner',
  'denied',
] as const;

export interface RegisterState {
  networkError: number;
  state: (typeof REGISTER_STATES)[number];
  mode: 'automatic' | 'manual' | 'unknown';
  availableDataClasses: number;
  providerId: string;
  providerName: string;
  roamingText: string;
}

export function readRegisterState(reader: InfoReader): RegisterState {
  const networkError = reader.u32('network error');
  const state = REGISTER_STATES[reader.u32('register state')] ?? 'unknown';
  const mode = reader.u32('register mode');
  const availableDataClasses = reader.u32('available data classes');
  reader.u32('cellular class');
  return {
    networkError,
    state,
    mode: mode === 1 ? 'automatic' : mode === 2 ? 'manual' : 'unknown',
    availableDataClasses,
    providerId: reader.string('provider id'),
    providerName: reader.string('provider name'),
    roamingText: reader.string('roaming text'),
  };
}

export const registerState: Command<void, RegisterState> = plainQuery(
  at('registration', CIDS.registerState),
  readRegisterState,
);

/** A search over all bands takes minutes; the reply may wait for its end. */
const REGISTER_DEADLINE_MS = 120_000;
const AUTOMATIC = 0;

/** Automatic choice of network among `dataClass` bits; 0 leaves the choice of technology to the modem. */
export const registerAutomatic: Command<{ dataClass: number }, RegisterState> = command(
  at('automatic registration', CIDS.registerState, REGISTER_DEADLINE_MS),
  'set',
  {
    write: ({ dataClass }) => new InfoWriter().string('').u32(AUTOMATIC).u32(dataClass).finish(),
    read: readRegisterState,
  },
);

export interface SignalState {
  /** 0 to 31 in steps of 2 dB from -113 dBm; 99 is unknown. */
  rssi: number;
  errorRate: number;
}

export const signalState: Command<void, SignalState> = plainQuery(
  at('signal state', CIDS.signalState),
  reader => {
    const rssi = reader.u32('rssi');
    const errorRate = reader.u32('error rate');
    for (const field of ['interval', 'rssi threshold', 'error threshold']) reader.u32(field);
    return { rssi, errorRate };
  },
);

export interface ServiceSupport {
  service: string;
  cids: number[];
}

export const deviceServices: Command<void, ServiceSupport[]> = plainQuery(
  at('device services', CIDS.deviceServices),
  reader => {
    const count = reader.u32('service count');
    reader.u32('DSS sessions');
    return reader.structures('service', count).map(element => {
      const service = element.uuid('service id');
      element.u32('DSS payload');
      element.u32('DSS instances');
      const cids = element.u32('command count');
      return {
        service,
        cids: Array.from({ length: Math.min(cids, element.left / 4) }, () => element.u32('cid')),
      };
    });
  },
);

/** Which indications the device sends from now on; replaces the list it had. */
export const subscribeList: Command<readonly ServiceSupport[], void> = command(
  at('subscription list', CIDS.subscribeList),
  'set',
  {
    write: services =>
      new InfoWriter()
        .structures(
          services.map(({ service, cids }) => {
            const element = new InfoWriter().uuid(service).u32(cids.length);
            for (const cid of cids) element.u32(cid);
            return element.finish();
          }),
        )
        .finish(),
    // The device repeats the list; what it repeats is of no use.
    read: () => undefined,
  },
);
