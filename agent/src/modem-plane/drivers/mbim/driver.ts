/**
 * The MBIM driver: the verbs of the driver contract (../../driver.ts) as commands of a session. The
 * data connection's are in `data-bearer.ts`, messages and USSD in files of their own, what numbers mean in
 * `readings.ts`. IP configuration is returned, not applied: the slot does that.
 */
import { type Clock, sleep } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../../../observe/log';
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
import { type Ask, askOver, done, failed, unsupported } from './ask';
import {
  deviceCaps,
  enterPin,
  pinState,
  registerState,
  setRadioState,
  signalState,
  subscriberReady,
} from './basic-connect';
import { DataBearer } from './data-bearer';
import { packetService, packetStatistics } from './data-connection';
import { CELL_REPORT, DeviceServices, RESET, SMS_DELETE, SMS_READ, USSD } from './device-services';
import { EventFeed } from './event-feed';
import { baseStations, deviceReset, type LteCell } from './extensions';
import { IndicationHub } from './indication-hub';
import { readIndication } from './indications';
import { cellOf, lockedSimOf, registrationOf, signalOf, simOf, textOrNull } from './readings';
import { reattachByMode, reattachByService } from './reattach';
import { MbimSession, type RawIndication } from './session';
import { listMessages, removeMessage } from './short-messages';
import { STATUS } from './status';
import type { MbimTransport } from './transports/transport';
import { askUssd } from './ussd-dialogue';

/** A carrier that gets its subscriber back sooner hands out the same address again. */
const REATTACH_DWELL_MS = 4_000;
const PIN = /^\d{4,8}$/;

export interface MbimDriverOptions {
  transport: MbimTransport;
  clock: Clock;
  log: Log;
  maxControlTransfer?: number;
  /** Set when the transport leads to mbim-proxy. */
  proxiedDevice?: string;
  /** How long the modem stays off the network in a re-attach; the profile may know better. */
  reattachDwellMs?: number;
}

/** Opens the session and asks what the modem can do. Throws what `MbimSession.open` throws; the transport is freed then. */
export async function openMbimDriver(options: MbimDriverOptions): Promise<ModemDriver> {
  const driver = new MbimDriver(options);
  try {
    await driver.open();
    return driver;
  } catch (error) {
    await driver.close();
    throw error;
  }
}

class MbimDriver implements ModemDriver {
  readonly kind = 'mbim';
  readonly #options: MbimDriverOptions;
  readonly #session: MbimSession;
  readonly #ask: Ask;
  readonly #hub: IndicationHub;
  readonly #feed: EventFeed;
  readonly #bearer: DataBearer;
  readonly #services: DeviceServices;
  /** A PIN that this SIM refused: never sent again by this driver. */
  #refusedPin: string | undefined;
  readonly #closing = new AbortController();

  constructor(options: MbimDriverOptions) {
    this.#options = options;
    this.#hub = new IndicationHub(options.clock, waiting => this.#session.expectIndication(waiting));
    this.#session = new MbimSession({
      transport: options.transport,
      clock: options.clock,
      log: options.log,
      ...(options.maxControlTransfer === undefined ? {} : { maxControlTransfer: options.maxControlTransfer }),
      ...(options.proxiedDevice === undefined ? {} : { proxiedDevice: options.proxiedDevice }),
      onIndication: indication => this.#indicated(indication),
      onReopened: () => void this.#services.subscribeAgain(),
      onGone: reason => {
        this.#hub.end({ kind: 'unreachable', code: 'mbim/gone', message: `the modem is gone: ${reason}` });
        this.#feed.gone(reason);
      },
    });
    this.#ask = askOver(this.#session);
    this.#services = new DeviceServices(this.#ask, options.log);
    this.#feed = new EventFeed({ log: options.log, sim: () => this.#readSim() });
    this.#bearer = new DataBearer({
      session: this.#session,
      ask: this.#ask,
      hub: this.#hub,
      onKnown: connected => this.#feed.note({ kind: 'bearer', connected }),
    });
  }

  async open(): Promise<void> {
    await this.#session.open();
    const learned = await this.#services.learn();
    // Asked again by the first verb that depends on it.
    if (!learned.ok) this.#options.log.warn('the modem does not say what it can do', { ...learned.fault });
  }

  async identity(): Promise<Outcome<ModemIdentity>> {
    const caps = await this.#ask(deviceCaps, undefined);
    if (!caps.ok) return caps;
    const subscriber = await this.#ask(subscriberReady, undefined);
    if (!subscriber.ok && subscriber.fault.kind === 'unreachable') return subscriber;
    return done({
      imei: textOrNull(caps.value.deviceId),
      model: textOrNull(caps.value.hardware),
      firmware: textOrNull(caps.value.firmware),
      // A modem may refuse this one while the SIM is locked or away.
      imsi: subscriber.ok ? textOrNull(subscriber.value.imsi) : null,
      iccid: subscriber.ok ? textOrNull(subscriber.value.iccid) : null,
    });
  }

  async sim(): Promise<Outcome<SimState>> {
    const sim = await this.#readSim();
    if (!sim.ok) return sim;
    if (sim.value.state === 'absent') this.#refusedPin = undefined;
    this.#feed.note({ kind: 'sim', sim: sim.value });
    return sim;
  }

  async enterPin(pin: string): Promise<Outcome<SimState>> {
    if (!PIN.test(pin)) return refusePin('mbim/pin-format', 'a PIN has four to eight digits');
    const before = await this.sim();
    if (!before.ok || before.value.state !== 'pin-needed') return before;
    if (pin === this.#refusedPin)
      return refusePin('mbim/pin-refused', 'the SIM has refused this PIN: give another one');
    const entered = await this.#ask(enterPin, pin);
    if (entered.ok && !entered.value.locked) {
      const after = await this.sim();
      // Unlocked, and the modem still reads the SIM.
      return !after.ok && after.fault.kind === 'busy' ? done({ state: 'ready' }) : after;
    }
    // Whether it counted or not: the same digits are not sent a second time.
    this.#refusedPin = pin;
    if (!entered.ok && entered.fault.kind === 'unreachable') return entered;
    return this.sim();
  }

  async registration(): Promise<Outcome<Registration>> {
    const register = await this.#ask(registerState, undefined);
    if (!register.ok) return register;
    const packet = await this.#ask(packetService, undefined);
    if (!packet.ok && packet.fault.kind === 'unreachable') return packet;
    const registration = registrationOf(register.value, packet.ok ? packet.value : null);
    this.#feed.note({ kind: 'registration', registration });
    return done(registration);
  }

  async signal(): Promise<Outcome<Signal>> {
    const signal = await this.#ask(signalState, undefined);
    if (!signal.ok) return signal;
    const stations = await this.#servingCell();
    return stations.ok ? done(signalOf(signal.value, stations.value)) : stations;
  }

  async cell(): Promise<Outcome<Cell>> {
    const stations = await this.#services.where(CELL_REPORT, () => this.#ask(baseStations, undefined));
    return stations.ok ? done(cellOf(stations.value)) : stations;
  }

  bearer(): Promise<Outcome<Bearer>> {
    return this.#bearer.read();
  }

  connect(apn: Apn | null): Promise<Outcome<Bearer>> {
    return this.#bearer.connect(apn);
  }

  disconnect(): Promise<Outcome<void>> {
    return this.#bearer.disconnect();
  }

  async counters(): Promise<Outcome<DataCounters>> {
    return this.#ask(packetStatistics, undefined);
  }

  async radio(on: boolean): Promise<Outcome<void>> {
    const radio = await this.#ask(setRadioState, on);
    if (!radio.ok) return radio;
    if (on && !radio.value.hardwareOn)
      return failed({
        kind: 'locked',
        code: 'mbim/hardware-switch',
        message: 'the radio is off by the hardware switch (W_DISABLE) of the slot',
      });
    if (radio.value.softwareOn === on) return done(undefined);
    return failed({
      kind: 'failed',
      code: 'mbim/radio',
      message: `the radio did not go ${on ? 'on' : 'off'}`,
    });
  }

  reattach(method: 'mode-toggle' | 'deregister'): Promise<Outcome<void>> {
    const dwell = () => this.#dwell();
    return method === 'deregister' ? reattachByService(this.#ask, dwell) : reattachByMode(this.#ask, dwell);
  }

  async reset(): Promise<Outcome<void>> {
    const reset = await this.#services.where(RESET, () => this.#ask(deviceReset, undefined));
    // It may be gone before it has answered, which is what was asked for.
    return reset.ok || reset.fault.code === 'mbim/gone' ? done(undefined) : reset;
  }

  messages(): Promise<Outcome<ShortMessage[]>> {
    return this.#services.where(SMS_READ, () => listMessages(this.#ask));
  }

  deleteMessage(index: string): Promise<Outcome<void>> {
    return this.#services.where(SMS_DELETE, () => removeMessage(this.#ask, index));
  }

  ussd(code: string): Promise<Outcome<string>> {
    return this.#services.where(USSD, () => askUssd(this.#ask, this.#hub, code));
  }

  async temperature(): Promise<Outcome<number | null>> {
    return unsupported('temperature by MBIM');
  }

  onEvent(listener: (event: DriverEvent) => void): void {
    this.#feed.listen(listener);
  }

  async close(): Promise<void> {
    this.#hub.end({ kind: 'unreachable', code: 'mbim/closed', message: 'the session was closed' });
    this.#feed.end();
    this.#closing.abort();
    await this.#session.close();
  }

  async #readSim(): Promise<Outcome<SimState>> {
    const subscriber = await this.#ask(subscriberReady, undefined);
    if (!subscriber.ok)
      return subscriber.fault.code === `mbim/status-${STATUS.simNotInserted}`
        ? done({ state: 'absent' })
        : subscriber;
    const sim = simOf(subscriber.value);
    if (sim === 'starting')
      return failed({ kind: 'busy', code: 'mbim/sim-starting', message: 'the modem still reads the SIM' });
    if (sim !== 'ask-pin') return done(sim);
    const pin = await this.#ask(pinState, undefined);
    return pin.ok ? done(lockedSimOf(pin.value)) : pin;
  }

  /** Null where the modem cannot say, or has no LTE cell now. */
  async #servingCell(): Promise<Outcome<LteCell | null>> {
    const stations = await this.#services.where(CELL_REPORT, () => this.#ask(baseStations, undefined));
    if (stations.ok) return done(stations.value.lte);
    return stations.fault.kind === 'unreachable' ? stations : done(null);
  }

  #indicated(raw: RawIndication): void {
    try {
      const indication = readIndication(raw.service, raw.cid, raw.info);
      if (indication === undefined) return;
      // The next SIM has a PIN of its own.
      if (indication.kind === 'subscriber' && indication.subscriber.state === 'not-inserted')
        this.#refusedPin = undefined;
      this.#hub.take(indication);
      this.#feed.take(indication);
    } catch (error) {
      this.#options.log.warn('an indication that makes no sense', { cid: raw.cid, why: messageOf(error) });
    }
  }

  /** Ends early when the driver is closed: what follows is refused by the session then. */
  async #dwell(): Promise<void> {
    const { clock, reattachDwellMs = REATTACH_DWELL_MS } = this.#options;
    try {
      await sleep(clock, reattachDwellMs, this.#closing.signal);
    } catch (error) {
      if (!this.#closing.signal.aborted) throw error;
    }
  }
}

function refusePin(code: string, message: string): Outcome<never> {
  return failed({ kind: 'locked', code, message });
}
