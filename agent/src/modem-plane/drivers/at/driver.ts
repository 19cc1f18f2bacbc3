/**
 * The ModemDriver contract over AT commands: Quectel modules, Huawei sticks in stick mode, and anything that keeps to
 * TS 27.007. What differs between models comes from the profile; what a command is, from commands.ts. Takes any
 * Duplex: a serial port (transports/serial-port.ts), a pty, a pipe. The port ends with the driver.
 *
 * Reads may run beside each other (the channel sends one command at a time); what changes something runs alone in its
 * lane, so that a USSD waiting for its network does not hold up a rotation.
 */
import { createHash } from 'node:crypto';
import type { Duplex } from 'node:stream';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { Profile } from '@mastline/shared/profile/schema';
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
import type { Row } from './commands';
import * as commands from './commands';
import { createDataCall, type DataCall } from './data-call';
import { eventOf } from './events';
import { deleteMessages, readMessages } from './messages';
import { deregister, readCell, readRegistrationOf, readSignal, switchRadio, toggleMode } from './radio';
import { type AtProfile, AtSession, fault } from './session';
import { askUssd } from './ussd';

type Lane = 'radio' | 'messages' | 'ussd';

const NO_SIM = new Set(['cme-10', 'cms-310']);
/** Some firmware answers so to a command it does not know. */
const NOT_KNOWN = new Set(['cme-3', 'cme-100']);
const SIM_FAILED = new Set(['cme-13', 'cme-15', 'cms-313', 'cms-315']);

/** Throws `at/no-settings` when the profile does not say how to speak AT. Sends nothing before the first verb. */
export function createAtDriver(options: {
  port: Duplex;
  profile: Profile;
  clock: Clock;
  log: Log;
}): ModemDriver {
  const { profile } = options;
  if (!profile.at) throw new CodedError('at/no-settings', `profile ${profile.id} has no "at" section`);
  return new AtDriver({ ...options, profile: { ...profile, at: profile.at } });
}

class AtDriver implements ModemDriver {
  readonly kind = 'at';
  readonly #session: AtSession;
  readonly #profile: AtProfile;
  readonly #data: DataCall | null;
  readonly #listeners = new Set<(event: DriverEvent) => void>();
  #registration: Registration | null = null;
  /** What must not run beside its like: connections and radio, messages, USSD. */
  readonly #lanes = new Map<Lane, Promise<unknown>>();
  /** Digest of the PIN that was tried last without success; never the PIN. */
  #refusedPin: string | null = null;
  #closing = false;

  constructor(options: { port: Duplex; profile: AtProfile; clock: Clock; log: Log }) {
    this.#profile = options.profile;
    this.#session = new AtSession({
      ...options,
      onGone: reason => {
        if (!this.#closing) this.#tell({ kind: 'gone', reason });
      },
    });
    this.#session.listen(urc => {
      const event = eventOf(urc, this.#registration);
      if (event) this.#tell(event);
    });
    this.#data = createDataCall(this.#session);
  }

  async identity(): Promise<Outcome<ModemIdentity>> {
    const imei = await this.#session.ask(commands.imei);
    // Without its number the modem is not known at all; the rest may be missing.
    if (!imei.ok) return imei;
    return {
      ok: true,
      value: {
        imei: imei.value,
        model: await this.#orNull(commands.model),
        firmware: await this.#orNull(commands.firmware),
        imsi: await this.#orNull(commands.imsi),
        iccid: await this.#iccid(),
      },
    };
  }

  async sim(): Promise<Outcome<SimState>> {
    const said = await this.#session.ask(commands.simState);
    if (said.ok) return { ok: true, value: await this.#withTries(said.value) };
    const { code, message } = said.fault;
    if (NO_SIM.has(code)) return { ok: true, value: { state: 'absent' } };
    if (SIM_FAILED.has(code)) return { ok: true, value: { state: 'failed', reason: message } };
    return said;
  }

  enterPin(pin: string): Promise<Outcome<SimState>> {
    return this.#alone('radio', async () => {
      if (!/^\d{4,8}$/.test(pin)) return fault('failed', 'bad-pin', 'a PIN has 4 to 8 digits');
      const now = await this.sim();
      // Only a SIM that asks for a PIN gets one: in any other state the attempt could only do harm.
      if (!now.ok || now.value.state !== 'pin-needed') return now;
      const digest = createHash('sha256').update(pin).digest('hex');
      if (this.#refusedPin === digest)
        return fault(
          'locked',
          'pin-refused-before',
          'this PIN was tried before and is not tried again; give another',
        );
      // Remembered before it is sent: an attempt whose answer is lost has been made all the same.
      this.#refusedPin = digest;
      const entered = await this.#session.ask(commands.enterPin(pin));
      if (!entered.ok) return entered;
      this.#refusedPin = null;
      return this.sim();
    });
  }

  async registration(): Promise<Outcome<Registration>> {
    const read = await readRegistrationOf(this.#session);
    if (read.ok) this.#registration = read.value;
    return read;
  }

  signal(): Promise<Outcome<Signal>> {
    return readSignal(this.#session);
  }

  cell(): Promise<Outcome<Cell>> {
    return readCell(this.#session);
  }

  async bearer(): Promise<Outcome<Bearer>> {
    return this.#data ? this.#data.bearer() : this.#noDataCalls();
  }

  connect(apn: Apn | null): Promise<Outcome<Bearer>> {
    return this.#alone('radio', async () => (this.#data ? this.#data.connect(apn) : this.#noDataCalls()));
  }

  disconnect(): Promise<Outcome<void>> {
    return this.#alone('radio', async () =>
      asDone(this.#data ? await this.#data.disconnect() : this.#noDataCalls()),
    );
  }

  async counters(): Promise<Outcome<DataCounters>> {
    const names = this.#profile.at.counters;
    let sum: DataCounters | null = null;
    let last: Outcome<DataCounters> = fault('unsupported', 'no-counters', 'this model counts no bytes');
    for (const name of names) {
      last = await this.#session.ask(commands.counters[name]);
      if (last.ok) sum = add(sum, last.value);
      // A second counter that this firmware lacks counts nothing; one that fails would make the sum wrong.
      else if (last.fault.kind !== 'unsupported') return last;
    }
    return sum === null ? last : { ok: true, value: sum };
  }

  radio(on: boolean): Promise<Outcome<void>> {
    return this.#alone('radio', async () => asDone(await switchRadio(this.#session, on)));
  }

  reattach(method: 'mode-toggle' | 'deregister'): Promise<Outcome<void>> {
    const work = method === 'mode-toggle' ? toggleMode : deregister;
    return this.#alone('radio', async () => asDone(await work(this.#session)));
  }

  reset(): Promise<Outcome<void>> {
    return this.#alone('radio', async () => {
      const done = await this.#session.ask(commands.restart[this.#profile.at.reset]);
      // Some vanish before they say OK: that is a restart too.
      if (!done.ok && done.fault.code === 'port-gone') return { ok: true, value: undefined };
      return asDone(done);
    });
  }

  messages(): Promise<Outcome<ShortMessage[]>> {
    return this.#alone('messages', () => readMessages(this.#session));
  }

  deleteMessage(index: string): Promise<Outcome<void>> {
    return this.#alone('messages', async () => asDone(await deleteMessages(this.#session, index)));
  }

  ussd(code: string): Promise<Outcome<string>> {
    return this.#alone('ussd', () => askUssd(this.#session, code));
  }

  async temperature(): Promise<Outcome<number | null>> {
    return this.#profile.at.temperature === 'none'
      ? { ok: true, value: null }
      : this.#session.ask(commands.temperature);
  }

  onEvent(listener: (event: DriverEvent) => void): void {
    this.#listeners.add(listener);
  }

  async close(): Promise<void> {
    this.#closing = true;
    this.#listeners.clear();
    await this.#session.close();
  }

  /** Runs `work` after everything before it in its lane has ended. */
  #alone<T>(lane: Lane, work: () => Promise<Outcome<T>>): Promise<Outcome<T>> {
    const done = (this.#lanes.get(lane) ?? Promise.resolve()).then(work);
    this.#lanes.set(
      lane,
      done.catch(() => undefined),
    );
    return done;
  }

  #tell(event: DriverEvent): void {
    for (const listener of [...this.#listeners]) listener(event);
  }

  async #orNull(row: Row<string>): Promise<string | null> {
    const answer = await this.#session.ask(row);
    return answer.ok ? answer.value : null;
  }

  async #iccid(): Promise<string | null> {
    for (const name of this.#profile.at.iccid) {
      const answer = await this.#session.ask(commands.iccid[name]);
      if (answer.ok) return answer.value;
      // Firmware differs in the name of the command; a SIM that refuses one refuses them all.
      if (answer.fault.kind !== 'unsupported' && !NOT_KNOWN.has(answer.fault.code)) return null;
    }
    return null;
  }

  async #withTries(sim: SimState): Promise<SimState> {
    const { pinTries } = this.#profile.at;
    if (pinTries === 'none' || (sim.state !== 'pin-needed' && sim.state !== 'puk-needed')) return sim;
    const tries = await this.#session.ask(commands.pinTries[pinTries]);
    if (!tries.ok) return sim;
    return { ...sim, triesLeft: sim.state === 'pin-needed' ? tries.value.pin : tries.value.puk };
  }

  #noDataCalls() {
    return fault(
      'unsupported',
      'no-connect-method',
      `profile ${this.#profile.id} names no way to connect by AT`,
    );
  }
}

function asDone(outcome: Outcome<unknown>): Outcome<void> {
  return outcome.ok ? { ok: true, value: undefined } : outcome;
}

function add(sum: DataCounters | null, more: DataCounters): DataCounters {
  return { rxBytes: (sum?.rxBytes ?? 0) + more.rxBytes, txBytes: (sum?.txBytes ?? 0) + more.txBytes };
}
