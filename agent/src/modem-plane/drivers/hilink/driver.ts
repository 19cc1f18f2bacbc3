/**
 * The ModemDriver contract over a HiLink stick's web API. Reads may be asked for side by side (client.ts sends one
 * request at a time); what changes something waits for the change before it. Beside the contract it tells its whole
 * status in one request, and can move the stick's LAN. There is no way to switch the radio off over this API.
 */
import type { ConnectMethod } from '@mastline/shared/profile/schema';
import type {
  Apn,
  Bearer,
  Cell,
  DataCounters,
  DriverEvent,
  ModemDriver,
  ModemIdentity,
  Outcome,
  Registration,
  ShortMessage,
  Signal,
  SimState,
} from '../../driver';
import { HilinkClient, type HilinkClientOptions } from './client';
import { DataConnection, HILINK_CONNECT_METHODS } from './data-connection';
import { failed, NEEDS_LOGIN, NO_SUCH_ENDPOINT } from './errors';
import { lanRequest } from './lan';
import { askUssd, deleteMessage, readMessages } from './messages';
import {
  cellOf,
  countersOf,
  type HilinkStatus,
  identityOf,
  signalOf,
  simOfPinStatus,
  withCarrier,
} from './readings';
import { reconnectNetwork, toggleMode } from './reattach';

const MODE_DWELL_MS = 20_000;

export interface HilinkDriverOptions extends HilinkClientOptions {
  connectMethods?: readonly ConnectMethod[];
  /** How long `mode-toggle` stays in the other mode; the profile may know better. */
  modeDwellMs?: number;
}

export interface HilinkDriver extends ModemDriver {
  /** One `monitoring/status`: everything that one poll tells. */
  status(): Promise<Outcome<HilinkStatus>>;
  /** Gives the stick the subnet 192.168.`subnet`.0/24. It answers at the new address; this driver then speaks to nobody. */
  moveLan(subnet: number): Promise<Outcome<void>>;
}

/** A driver that dials from `localAddress`; `close()` gives up what is under way. Asks nothing before the first verb. */
export function hilinkDriver(options: HilinkDriverOptions): HilinkDriver {
  return new Driver(options);
}

class Driver implements HilinkDriver {
  readonly kind = 'hilink';
  readonly #options: HilinkDriverOptions;
  readonly #client: HilinkClient;
  readonly #data: DataConnection;
  readonly #listeners = new Set<(event: DriverEvent) => void>();
  #before: HilinkStatus | null = null;
  /** A PIN that was refused: never sent again by this driver. */
  #refusedPin: string | null = null;
  #changes: Promise<unknown> = Promise.resolve();

  constructor(options: HilinkDriverOptions) {
    this.#options = options;
    this.#client = new HilinkClient(options);
    this.#data = new DataConnection({
      client: this.#client,
      clock: options.clock,
      methods: options.connectMethods ?? HILINK_CONNECT_METHODS,
      onStatus: status => this.#notice(status),
    });
  }

  status(): Promise<Outcome<HilinkStatus>> {
    return this.#data.status();
  }

  async identity(): Promise<Outcome<ModemIdentity>> {
    const full = await this.#client.get('device/information');
    if (full.ok) return { ok: true, value: identityOf(full.value) };
    const shut = full.fault.kind === 'locked' || full.fault.code === NEEDS_LOGIN;
    if (!shut && full.fault.code !== NO_SUCH_ENDPOINT) return full;
    // A locked stick tells strangers its name and firmware, but not its IMEI.
    const basic = await this.#client.get('device/basic_information');
    return basic.ok ? { ok: true, value: identityOf(basic.value) } : basic;
  }

  async sim(): Promise<Outcome<SimState>> {
    const reply = await this.#client.get('pin/status');
    if (!reply.ok) return reply;
    const sim = simOfPinStatus(reply.value);
    if (sim.state === 'absent') this.#refusedPin = null;
    return { ok: true, value: sim };
  }

  enterPin(pin: string): Promise<Outcome<SimState>> {
    return this.#alone(async () => {
      if (!/^\d{4,8}$/.test(pin))
        return failed('locked', 'hilink/pin-format', 'a PIN has four to eight digits');
      const before = await this.sim();
      if (!before.ok || before.value.state !== 'pin-needed') return before;
      if (pin === this.#refusedPin)
        return failed('locked', 'hilink/pin-refused', 'the SIM has refused this PIN: give another one');
      // Set before it is sent: a lost answer must not become a second try.
      this.#refusedPin = pin;
      const entered = await this.#client.post('pin/operate', [
        ['OperateType', 0],
        ['CurrentPin', pin],
        ['NewPin', ''],
        ['PukCode', ''],
      ]);
      if (entered.ok) this.#refusedPin = null;
      else if (entered.fault.kind !== 'locked') return entered;
      return this.sim();
    });
  }

  async registration(): Promise<Outcome<Registration>> {
    const status = await this.status();
    if (!status.ok) return status;
    const { registration } = status.value;
    if (registration.state !== 'registered' && registration.state !== 'roaming')
      return { ok: true, value: registration };
    const plmn = await this.#client.get('net/current-plmn');
    if (!plmn.ok && plmn.fault.kind === 'unreachable') return plmn;
    return { ok: true, value: plmn.ok ? withCarrier(registration, plmn.value) : registration };
  }

  async signal(): Promise<Outcome<Signal>> {
    const reply = await this.#client.get('device/signal');
    return reply.ok ? { ok: true, value: signalOf(reply.value) } : reply;
  }

  async cell(): Promise<Outcome<Cell>> {
    const reply = await this.#client.get('device/signal');
    return reply.ok ? { ok: true, value: cellOf(reply.value) } : reply;
  }

  bearer(): Promise<Outcome<Bearer>> {
    return this.#data.bearer();
  }

  connect(apn: Apn | null): Promise<Outcome<Bearer>> {
    return this.#alone(() => this.#data.connect(apn));
  }

  disconnect(): Promise<Outcome<void>> {
    return this.#alone(() => this.#data.disconnect());
  }

  async counters(): Promise<Outcome<DataCounters>> {
    const reply = await this.#client.get('monitoring/traffic-statistics');
    if (!reply.ok) return reply;
    const counters = countersOf(reply.value);
    return counters
      ? { ok: true, value: counters }
      : failed('failed', 'hilink/bad-reply', 'monitoring/traffic-statistics: no byte counts');
  }

  async radio(): Promise<Outcome<void>> {
    return failed('unsupported', 'hilink/no-radio', 'a HiLink stick cannot switch its radio off');
  }

  reattach(method: 'mode-toggle' | 'deregister'): Promise<Outcome<void>> {
    return this.#alone(() =>
      method === 'mode-toggle'
        ? toggleMode(this.#client, this.#options.modeDwellMs ?? MODE_DWELL_MS)
        : reconnectNetwork(this.#client),
    );
  }

  reset(): Promise<Outcome<void>> {
    return this.#alone(async () => {
      const done = await this.#client.post('device/control', [['Control', 1]]);
      // A stick that dies before it has answered does what was asked for.
      return done.ok || done.fault.code === 'hilink/cut' ? { ok: true, value: undefined } : done;
    });
  }

  messages(): Promise<Outcome<ShortMessage[]>> {
    return readMessages(this.#client);
  }

  deleteMessage(index: string): Promise<Outcome<void>> {
    return deleteMessage(this.#client, index);
  }

  ussd(code: string): Promise<Outcome<string>> {
    return this.#alone(() => askUssd(this.#client, this.#options.clock, code));
  }

  async temperature(): Promise<Outcome<number | null>> {
    return failed('unsupported', 'hilink/no-temperature', 'a HiLink stick does not tell its temperature');
  }

  moveLan(subnet: number): Promise<Outcome<void>> {
    return this.#alone(async () => {
      const request = lanRequest(subnet);
      if (!request.ok) return request;
      const done = await this.#client.post('dhcp/settings', request.value);
      // The LAN goes away under the answer.
      return done.ok || done.fault.code === 'hilink/cut' ? { ok: true, value: undefined } : done;
    });
  }

  onEvent(listener: (event: DriverEvent) => void): void {
    this.#listeners.add(listener);
  }

  async close(): Promise<void> {
    this.#listeners.clear();
    this.#client.close();
  }

  #alone<T>(work: () => Promise<Outcome<T>>): Promise<Outcome<T>> {
    const done = this.#changes.then(work);
    this.#changes = done.catch(() => undefined);
    return done;
  }

  /** A stick says nothing unasked: what is new is seen between two looks. */
  #notice(status: HilinkStatus): void {
    const before = this.#before;
    this.#before = status;
    if (before === null) return;
    if (before.bearer.connected !== status.bearer.connected)
      this.#tell({ kind: 'bearer', connected: status.bearer.connected });
    if (before.registration.state !== status.registration.state)
      this.#tell({ kind: 'registration', registration: status.registration });
    if (before.sim.state !== status.sim.state) this.#tell({ kind: 'sim', sim: status.sim });
  }

  #tell(event: DriverEvent): void {
    for (const listener of this.#listeners) listener(event);
  }
}
