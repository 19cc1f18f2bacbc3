/**
 * What a device's refusal means: MBIM status numbers (USB-IF MBIM 1.0, part 9.4.5), protocol errors (part 9.3.4) and the network's
 * causes (3GPP TS 24.008 annex G and part 10.5.6.6), as faults of the driver contract. Pure tables; nothing is retried here.
 */
import type { DriverFault } from '../../driver';

export const STATUS = {
  success: 0,
  busy: 1,
  failure: 2,
  simNotInserted: 3,
  pinRequired: 5,
  notRegistered: 7,
  noDeviceSupport: 9,
  packetServiceDetached: 12,
  maxActivatedContexts: 13,
  notInitialized: 14,
  contextNotActivated: 16,
  radioPowerOff: 20,
  invalidParameters: 21,
  invalidMemoryIndex: 30,
} as const;

/** FUNCTION_ERROR: the device wants an OPEN first. */
export const ERROR_NOT_OPENED = 5;

type Meaning = readonly [DriverFault['kind'], string];

const STATUS_MEANINGS: ReadonlyMap<number, Meaning> = new Map<number, Meaning>([
  [1, ['busy', 'the modem is busy']],
  [2, ['failed', 'the modem could not do it']],
  [3, ['failed', 'no SIM is inserted']],
  [4, ['failed', 'the SIM cannot be used']],
  [5, ['locked', 'the SIM asks for its PIN']],
  [6, ['failed', 'the SIM has no PIN switched on']],
  [7, ['failed', 'not registered with a network']],
  [8, ['failed', 'no networks were found']],
  [9, ['unsupported', 'this modem does not know the command']],
  [10, ['failed', 'the network is not in reach']],
  [11, ['failed', 'the radio technology is not available here']],
  [12, ['failed', 'the packet service is detached']],
  [13, ['failed', 'as many data connections are open as the modem can']],
  [14, ['busy', 'the modem is still starting']],
  [15, ['busy', 'a voice call is in progress']],
  [16, ['failed', 'there is no data connection']],
  [17, ['locked', 'the SIM is not activated with its carrier']],
  [18, ['failed', 'the network does not know this APN']],
  [19, ['failed', 'the network refuses the user name or password of the APN']],
  [20, ['failed', 'the radio is switched off']],
  [21, ['failed', 'the modem finds the parameters invalid']],
  [22, ['failed', 'the modem could not read']],
  [23, ['failed', 'the modem could not write']],
  [26, ['failed', 'a parameter is too long for the modem']],
  [28, ['failed', 'the modem does not allow it now']],
  [29, ['failed', 'the memory of the modem or SIM failed']],
  [30, ['failed', 'there is nothing at this index']],
  [31, ['failed', 'the memory is full']],
  [32, ['unsupported', 'the modem has no such filter']],
  [34, ['unsupported', 'the modem does not offer this for the service']],
  [35, ['failed', 'the authentication had a wrong sequence number']],
  [36, ['failed', 'the authentication was ambiguous']],
  [37, ['failed', 'the SIM refused the authentication']],
  [38, ['unsupported', 'the modem does not know this kind of connection']],
  [100, ['failed', 'the address of the message centre is unknown']],
  [101, ['failed', 'the network did not answer in time']],
  [102, ['failed', 'the language of the message is not supported']],
  [103, ['failed', 'the encoding of the message is not supported']],
  [104, ['failed', 'the format of the message is not supported']],
]);

const CAUSE_MEANINGS: ReadonlyMap<number, Meaning> = new Map<number, Meaning>([
  [2, ['locked', 'the network does not know this SIM']],
  [3, ['locked', 'the network bars this SIM']],
  [5, ['locked', 'the network does not accept this device']],
  [6, ['locked', 'the network bars this device']],
  [7, ['locked', 'the SIM has no packet data']],
  [8, ['locked', 'the SIM has no service at all']],
  [11, ['failed', 'this network is not allowed to the SIM']],
  [12, ['failed', 'this area is not allowed to the SIM']],
  [13, ['failed', 'roaming is not allowed in this area']],
  [14, ['failed', 'packet data is not allowed in this network']],
  [15, ['failed', 'no cell of this area is allowed']],
  [17, ['busy', 'the network failed for the moment']],
  [22, ['busy', 'the network is congested']],
  [26, ['busy', 'the network is short of resources']],
  [27, ['failed', 'the network does not know this APN']],
  [28, ['failed', 'the network does not offer this IP type for the APN']],
  [29, ['failed', 'the network refuses the user name or password of the APN']],
  [30, ['failed', 'the gateway of the network refused the connection']],
  [31, ['failed', 'the network refused the connection and gives no reason']],
  [32, ['failed', 'the network does not support this service']],
  [33, ['locked', 'the SIM has no subscription for this connection (out of credit?)']],
  [34, ['busy', 'the service is out of order for the moment']],
  [38, ['busy', 'the network failed']],
  [50, ['failed', 'the network allows only IPv4 here']],
  [51, ['failed', 'the network allows only IPv6 here']],
]);

/** A status that is not success. The code keeps the modem's number: `mbim/status-7`. */
export function statusFault(doing: string, status: number): DriverFault {
  const [kind, meaning] = STATUS_MEANINGS.get(status) ?? ['failed', 'a status that MBIM does not define'];
  return { kind, code: `mbim/status-${status}`, message: `${doing}: ${meaning} (MBIM status ${status})` };
}

/** What the network gave as its reason, which says more than the status beside it: `mbim/cause-33`. */
export function causeFault(doing: string, cause: number): DriverFault {
  const [kind, meaning] = CAUSE_MEANINGS.get(cause) ?? ['failed', 'the network refused'];
  return { kind, code: `mbim/cause-${cause}`, message: `${doing}: ${meaning} (3GPP cause ${cause})` };
}

const PROTOCOL_ERRORS: ReadonlyMap<number, string> = new Map([
  [1, 'fragments came too slowly'],
  [2, 'fragments came out of order'],
  [3, 'the length is wrong'],
  [4, 'the transaction number is in use'],
  [5, 'the session is not open'],
  [6, 'an unknown error'],
  [7, 'cancelled'],
  [8, 'the message is larger than the modem takes'],
]);

/** The words of a FUNCTION_ERROR or HOST_ERROR. */
export function protocolErrorText(error: number): string {
  return `${PROTOCOL_ERRORS.get(error) ?? 'an error that MBIM does not define'} (MBIM protocol error ${error})`;
}

/** Every number that has a meaning here; for tests over the whole tables. */
export function knownStatuses(): { number: number; kind: DriverFault['kind'] }[] {
  return [...STATUS_MEANINGS].map(([number, [kind]]) => ({ number, kind }));
}

export function knownCauses(): { number: number; kind: DriverFault['kind'] }[] {
  return [...CAUSE_MEANINGS].map(([number, [kind]]) => ({ number, kind }));
}

export function knownProtocolErrors(): number[] {
  return [...PROTOCOL_ERRORS.keys()];
}
