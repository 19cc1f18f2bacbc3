/**
 * A stick's data connection: up and down by the ways that its profile names, and the APN of its dial-up profile. The
 * stick dials by itself; here it is told that it may, and watched until it has.
 */
import type { Clock } from '@mastline/shared/base/clock';
import type { ConnectMethod } from '@mastline/shared/profile/schema';
import type { Apn, Bearer, Outcome } from '../../driver';
import type { HilinkClient } from './client';
import { failed } from './errors';
import { addressIn, type HilinkStatus, statusOf, whyDown } from './readings';
import { textOf, type XmlElement } from './xml';

const CONNECT_DEADLINE_MS = 60_000;
const DISCONNECT_DEADLINE_MS = 15_000;
const POLL_MS = 500;
/** The first looks come sooner: a stick that is quick is worth a few requests more. */
const FIRST_POLL_MS = 120;
/** A stick in manual mode does not dial when its switch goes on: then it is told to. */
const DIAL_AFTER_MS = 5000;
const DIAL = 'hilink-dial';
const SWITCH = 'hilink-dataswitch';
export const HILINK_CONNECT_METHODS: readonly ConnectMethod[] = [SWITCH, DIAL];

const AUTHENTICATION = { none: 0, pap: 1, chap: 2 } as const;
const IP_TYPE = { ipv4: 0, ipv6: 1, ipv4v6: 2 } as const;

export interface DataConnectionOptions {
  client: HilinkClient;
  clock: Clock;
  /** In the order to try; what the firmware does not know is passed over. */
  methods: readonly ConnectMethod[];
  onStatus: (status: HilinkStatus) => void;
}

export class DataConnection {
  readonly #options: DataConnectionOptions;

  constructor(options: DataConnectionOptions) {
    this.#options = options;
  }

  async status(): Promise<Outcome<HilinkStatus>> {
    const reply = await this.#options.client.get('monitoring/status');
    if (!reply.ok) return reply;
    const status = statusOf(reply.value);
    this.#options.onStatus(status);
    return { ok: true, value: status };
  }

  async bearer(): Promise<Outcome<Bearer>> {
    const status = await this.status();
    if (!status.ok) return status;
    const { bearer } = status.value;
    if (!bearer.connected) return { ok: true, value: { ...bearer, address: null, dnsServers: [] } };
    if (bearer.address !== null) return { ok: true, value: bearer };
    // Some firmware leaves the address out of its status.
    const information = await this.#options.client.get('device/information');
    const address = information.ok ? addressIn(information.value, 'WanIPAddress') : null;
    return { ok: true, value: { ...bearer, address } };
  }

  async connect(apn: Apn | null): Promise<Outcome<Bearer>> {
    const { clock, client } = this.#options;
    const prepared = apn === null ? null : await this.#useApn(apn);
    if (prepared && !prepared.ok) return prepared;
    const told = await this.#tell(true);
    if (!told.ok) return told;
    const begun = clock.monotonicMs();
    let dialled = told.value === DIAL;
    for (let pauseMs = FIRST_POLL_MS; ; pauseMs = Math.min(POLL_MS, pauseMs * 1.5)) {
      const status = await this.status();
      if (!status.ok && status.fault.kind !== 'busy') return status;
      if (status.ok && status.value.bearer.connected) return this.bearer();
      const waited = clock.monotonicMs() - begun;
      const connection = status.ok ? status.value.connection : 900;
      if (waited >= CONNECT_DEADLINE_MS)
        return failed(
          connection === 900 || connection === 903 ? 'busy' : 'failed',
          `hilink/connection-${connection ?? 'unknown'}`,
          `not connected after ${CONNECT_DEADLINE_MS / 1000} s: ${whyDown(connection)}`,
        );
      if (!dialled && waited >= DIAL_AFTER_MS && connection === 902 && this.#options.methods.includes(DIAL)) {
        dialled = true;
        const dial = await client.post('dialup/dial', [['Action', 1]]);
        if (!dial.ok && dial.fault.kind === 'unreachable') return dial;
      }
      if (!(await client.pause(pauseMs))) return closed();
    }
  }

  async disconnect(): Promise<Outcome<void>> {
    const { clock, client } = this.#options;
    const told = await this.#tell(false);
    if (!told.ok) return told;
    const begun = clock.monotonicMs();
    for (let pauseMs = FIRST_POLL_MS; ; pauseMs = Math.min(POLL_MS, pauseMs * 1.5)) {
      const status = await this.status();
      if (!status.ok && status.fault.kind !== 'busy') return status;
      const connection = status.ok ? status.value.connection : 903;
      if (connection !== 900 && connection !== 901 && connection !== 903)
        return { ok: true, value: undefined };
      if (clock.monotonicMs() - begun >= DISCONNECT_DEADLINE_MS)
        return failed(
          'failed',
          'hilink/still-connected',
          'the stick keeps its data connection although told not to',
        );
      if (!(await client.pause(pauseMs))) return closed();
    }
  }

  /** The way that worked. */
  async #tell(up: boolean): Promise<Outcome<ConnectMethod>> {
    let last: Outcome<ConnectMethod> = failed(
      'unsupported',
      'hilink/no-connect-method',
      'the profile names no way for a HiLink stick to connect',
    );
    for (const method of this.#options.methods) {
      if (method !== SWITCH && method !== DIAL) continue;
      const answer =
        method === SWITCH
          ? await this.#options.client.post('dialup/mobile-dataswitch', [['dataswitch', up ? 1 : 0]])
          : await this.#options.client.post('dialup/dial', [['Action', up ? 1 : 0]]);
      if (answer.ok) return { ok: true, value: method };
      last = answer;
      if (answer.fault.kind !== 'unsupported') break;
    }
    return last;
  }

  /** Changes the dial-up profile only when it says something else: a change makes the stick dial anew. */
  async #useApn(apn: Apn): Promise<Outcome<null>> {
    const { client } = this.#options;
    const profiles = await client.get('dialup/profiles');
    if (!profiles.ok) return profiles;
    const current = textOf(profiles.value, 'CurrentProfile');
    const all = profiles.value.children.find(child => child.name === 'Profiles')?.children ?? [];
    const used = all.find(one => textOf(one, 'Index') === current);
    if (used && holds(used, apn)) return { ok: true, value: null };
    const editable = used !== undefined && textOf(used, 'ReadOnly') !== '1';
    const set = await client.post('dialup/profiles', [
      ['Delete', 0],
      ['SetDefault', editable ? (current ?? 1) : 0],
      ['Modify', editable ? 2 : 1],
      [
        'Profile',
        [
          ['Index', editable ? (current ?? 1) : ''],
          ['IsValid', 1],
          ['Name', 'Mastline'],
          ['ApnIsStatic', 1],
          ['ApnName', apn.name],
          ['DialupNum', '*99#'],
          ['Username', apn.username],
          ['Password', apn.password],
          ['AuthMode', AUTHENTICATION[apn.authentication]],
          ['IpIsStatic', ''],
          ['IpAddress', ''],
          ['DnsIsStatic', ''],
          ['PrimaryDns', ''],
          ['SecondaryDns', ''],
          ['ReadOnly', 0],
          ['iptype', IP_TYPE[apn.ipType]],
        ],
      ],
    ]);
    return set.ok ? { ok: true, value: null } : set;
  }
}

/** A password cannot be read back from every firmware: an empty one there says nothing. */
function holds(profile: XmlElement, apn: Apn): boolean {
  const password = textOf(profile, 'Password') ?? '';
  return (
    textOf(profile, 'ApnName') === apn.name &&
    (textOf(profile, 'Username') ?? '') === apn.username &&
    (password === '' || password === apn.password) &&
    (textOf(profile, 'AuthMode') ?? '0') === String(AUTHENTICATION[apn.authentication]) &&
    (textOf(profile, 'iptype') ?? String(IP_TYPE[apn.ipType])) === String(IP_TYPE[apn.ipType])
  );
}

export function closed(): { ok: false; fault: { kind: 'unreachable'; code: string; message: string } } {
  return {
    ok: false,
    fault: { kind: 'unreachable', code: 'hilink/closed', message: 'the driver was closed meanwhile' },
  };
}
