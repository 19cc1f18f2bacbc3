/**
 * Looks after one slot for as long as the agent runs: polls the modem, asks for the exit address through it, and keeps
 * the facts by which `slot-state.ts` judges. Nothing that a modem does or fails to do throws here. Setting the slot's
 * network up is the plane's (modem-plane.ts), which hands the outcome in.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import type { SlotReport } from '@mastline/shared/domain/modem';
import type { Profile } from '@mastline/shared/profile/schema';
import type { Log } from '../observe/log';
import type { Egress } from '../ports';
import type { Bearer, DriverEvent, ModemIdentity, ModemStatus, Registration } from './driver';
import { askExitAddress } from './exit-address';
import { FRESH, type Machine, type MachineEvent, shown, step } from './machine';
import { countryOf } from './mobile-countries';
import { ROTATION_TIMES, type RotationEnd, type RotationTimes, rotate } from './rotation';
import { ROTATION_LIMITS, RotationDesk, type RotationLimits, type RotationReport } from './rotation-desk';
import { seenAddresses } from './rotation-proof';
import type { RotationStatistics, RotationStep } from './rotation-statistics';
import { guardedOf, type SlotConfig } from './slot-config';
import { type SlotDriver, slotDriver } from './slot-driver';
import { judgeSlot, type NetworkFacts, type SlotFacts, type SlotVerdict } from './slot-state';

/** Between two looks at a modem that is well; sticks are slow when asked more often. */
export const POLL_MS = 5000;
/** While it is on its way up. */
export const EAGER_POLL_MS = 1000;
/** How long a modem is looked at eagerly after its network came up. */
const EAGER_FOR_MS = 30_000;
export const EXIT_EVERY_MS = 60_000;
const EXIT_RETRY_MS = 5000;
const IDENTITY_EVERY_MS = 10 * 60_000;
/** After a word that the modem said unasked; words come in swarms. */
const EVENT_POLL_MS = 200;
const MAX_REASON_CHARS = 300;

export interface SupervisorOptions {
  config: SlotConfig;
  echoUrls: readonly string[];
  clock: Clock;
  log: Log;
  onChange: () => void;
  /** The modem's data connection is another now; see `bearer`. */
  onBearer: () => void;
  profiles: () => readonly Profile[];
  rotation: {
    /** What the modem's profile says may be tried; throws CodedError when there are no profiles. */
    ladder: (identity: ModemIdentity) => readonly RotationStep[];
    /** Of all modems of the node. */
    statistics: RotationStatistics;
    /** Flows that run through the slot now; rejects when nobody can tell. */
    openFlows: () => Promise<number>;
    times?: Partial<RotationTimes>;
    limits?: Partial<RotationLimits>;
    /** Ends of earlier rotations of the slot, epoch milliseconds, in order. */
    past?: readonly number[];
    /** Echo services beside `echoUrls` that are asked only for rotations. */
    moreEchoUrls?: readonly string[];
  };
}

const NO_IDENTITY: ModemIdentity = { imei: null, model: null, firmware: null, imsi: null, iccid: null };

export class SlotSupervisor {
  readonly #options: SupervisorOptions;
  readonly #abort = new AbortController();
  #network: NetworkFacts = { kind: 'unknown' };
  #api: SlotFacts['api'] = { kind: 'unasked' };
  #exit: SlotFacts['exit'] = { address: null, problem: '', confirmedSinceApiFailed: false };
  #identity = NO_IDENTITY;
  #identityAt = Number.NEGATIVE_INFINITY;
  #registration: Registration | null = null;
  #driver: SlotDriver | undefined;
  /** The data connection of a modem that does not route by itself. */
  #bearer: Bearer | null = null;
  #poll: Timer | undefined;
  /** False while a look is under way: it sets the next one itself. */
  #waitsForPoll = false;
  #probe: Timer | undefined;
  /** Counts networks and connections, so that an answer of an earlier one is not taken for the present one's. */
  #generation = 0;
  #probing = false;
  #probeAgain = false;
  #eagerUntil = 0;
  #said = '';
  #machine: Machine = FRESH;
  readonly #desk: RotationDesk;

  constructor(options: SupervisorOptions) {
    this.#options = options;
    const { limits, past } = options.rotation;
    this.#desk = new RotationDesk(options.clock, { ...ROTATION_LIMITS, ...limits }, past);
  }

  get config(): SlotConfig {
    return this.#options.config;
  }

  /** Null while there is no data connection, and for modems that route by themselves without telling. */
  get bearer(): Bearer | null {
    return this.#bearer;
  }

  get identity(): ModemIdentity {
    return this.#identity;
  }

  /** The slot's network as it is now; another way to the modem starts everything anew. */
  setNetwork(network: NetworkFacts): void {
    const before = { way: this.#wayToModem(), source: this.#sourceAddress() };
    this.#network = network;
    const now = { way: this.#wayToModem(), source: this.#sourceAddress() };
    if (before.way !== now.way) {
      this.#stop();
      this.#api = { kind: 'unasked' };
      this.#forgetExit('');
      this.#registration = null;
      if (now.way === null) this.#identity = NO_IDENTITY;
      else this.#begin(now.source);
    } else if (before.source !== now.source) {
      this.#forgetExit('');
      if (now.source !== null) this.#askExitSoon(0);
    }
    this.#tell();
  }

  /** What the driver is bound to: a web API is asked from the slot's address, a port is there with the modem. */
  #wayToModem(): string | null {
    const { kind } = this.#network;
    if (kind !== 'up' && kind !== 'linked') return null;
    return this.#options.config.api.kind === 'hilink' ? this.#sourceAddress() : 'port';
  }

  #sourceAddress(): string | null {
    return this.#network.kind === 'up' ? this.#network.sourceAddress : null;
  }

  /** True when waiting longer would tell nothing new: it is up with its exit address, or it is known why not. */
  settled(): boolean {
    const { state } = this.#verdict();
    if (state === 'connected') return this.#exit.address !== null || this.#exit.problem !== '';
    return state === 'absent' || state === 'failed' || state === 'locked';
  }

  report(): SlotReport {
    const { config } = this.#options;
    const { state, reason } = this.#verdict();
    return {
      slot: config.slot,
      usbPath: config.usbPath,
      interface: 'interface' in config ? config.interface : null,
      sourceAddress: this.#sourceAddress(),
      state,
      reason: reason.length > MAX_REASON_CHARS ? `${reason.slice(0, MAX_REASON_CHARS - 1)}…` : reason,
      exitAddress: state === 'connected' ? this.#exit.address : null,
      imei: this.#identity.imei,
      model: this.#identity.model,
      firmware: this.#identity.firmware,
      virtual: config.virtual,
    };
  }

  egress(): Egress {
    const { config } = this.#options;
    return {
      slot: config.slot,
      sourceAddress: this.#sourceAddress(),
      dnsServers: this.#dnsServers(),
      ready: this.#verdict().ready,
      imei: this.#identity.imei,
      carrier: this.#registration?.carrier ?? null,
      country: countryOf(this.#registration?.plmn ?? null),
      guarded: guardedOf(config),
    };
  }

  /** Gives the modem another address, if it may be done now. Never rejects; has deadlines of its own. */
  async rotate(askedFor: string, deadlineMs?: number): Promise<RotationReport> {
    const { config, log, rotation } = this.#options;
    const about = { slot: config.slot, askedFor, carrier: this.#registration?.carrier ?? null };
    const refused = (reason: string, retryAfterMs: number | null = null): RotationReport => {
      log.info('rotation refused', { askedFor, reason });
      return { ...about, kind: 'unavailable', reason, retryAfterMs };
    };
    this.#verdict();
    const asked = step(this.#machine, { kind: 'rotation-asked' });
    const [action] = asked.actions;
    if (action?.kind !== 'begin-rotation') return refused(action?.reason ?? 'it cannot be rotated now');
    const obstacle = this.#desk.obstacle();
    if (obstacle) return refused(obstacle.reason, obstacle.retryAfterMs);
    let ladder: readonly RotationStep[];
    try {
      ladder = rotation.ladder(this.#identity);
    } catch (error) {
      return refused(error instanceof CodedError ? error.userMessage : messageOf(error));
    }
    this.#machine = asked.machine;
    this.#tell();
    const report: RotationReport = { ...about, ...(await this.#rotate(ladder, deadlineMs)) };
    this.#desk.end();
    this.#apply({ kind: 'rotation-ended' });
    log.info('rotation', { ...report });
    this.#tell();
    return report;
  }

  close(): void {
    this.#stop();
    this.#abort.abort(new CodedError('modem/closing', 'the agent is stopping'));
  }

  async #rotate(
    ladder: readonly RotationStep[],
    deadlineMs = Number.POSITIVE_INFINITY,
  ): Promise<RotationEnd> {
    const { clock, log, rotation } = this.#options;
    const begun = clock.monotonicMs();
    const times = { ...ROTATION_TIMES, ...rotation.times };
    try {
      const registration = await this.#driver?.registration();
      const carrier = registration?.ok ? (registration.value.plmn ?? registration.value.carrier) : null;
      const key = { modem: this.#identity.imei ?? 'unknown', carrier: carrier ?? 'unknown' };
      const end = await rotate({
        steps: rotation.statistics.order(ladder, key.modem, key.carrier),
        driver: () => this.#driver ?? null,
        clock,
        askExit: signal => this.#exitNow(signal),
        openFlows: rotation.openFlows,
        onPhase: (phase, detail) => {
          this.#apply({ kind: 'rotation-phase', phase, detail });
          this.#tell();
        },
        signal: this.#abort.signal,
        times: { ...times, deadlineMs: Math.min(times.deadlineMs, deadlineMs) },
      });
      for (const { method, outcome, tookMs } of end.attempts)
        rotation.statistics.add({ ...key, method, outcome, tookMs });
      if (end.kind === 'rotated')
        this.#exit = { address: end.newAddress, problem: '', confirmedSinceApiFailed: false };
      // The last look may be of the time before it was connected again.
      this.#poll?.cancel();
      await this.#look();
      return end;
    } catch (error) {
      log.error('a rotation broke', { error });
      const tookMs = clock.monotonicMs() - begun;
      const nothing = { method: null, oldAddress: null, newAddress: null, attempts: [], drain: null };
      return { kind: 'failed', reason: messageOf(error), tookMs, connected: false, ...nothing };
    }
  }

  #exitNow(signal: AbortSignal): Promise<string[]> {
    const { clock, rotation } = this.#options;
    const echoUrls = [...this.#options.echoUrls, ...(rotation.moreEchoUrls ?? [])];
    if (this.#network.kind !== 'up')
      return Promise.reject(new CodedError('modem/exit-unknown', 'the slot has no network'));
    const localAddress = this.#network.sourceAddress;
    return seenAddresses({ echoUrls, localAddress, dnsServers: this.#dnsServers(), clock, signal });
  }

  #apply(event: MachineEvent): void {
    this.#machine = step(this.#machine, event).machine;
  }

  #verdict(): SlotVerdict {
    this.#apply({ kind: 'judged', verdict: judgeSlot(this.#facts()) });
    return shown(this.#machine);
  }

  #facts(): SlotFacts {
    return { network: this.#network, api: this.#api, exit: this.#exit };
  }

  #status(): ModemStatus | null {
    if (this.#api.kind === 'answered') return this.#api.status;
    return this.#api.kind === 'failing' ? this.#api.last : null;
  }

  #dnsServers(): string[] {
    return this.#options.config.dnsServers ?? (this.#bearer ?? this.#status()?.bearer)?.dnsServers ?? [];
  }

  #begin(localAddress: string | null): void {
    const { clock, config, log, profiles, onBearer } = this.#options;
    const driver = slotDriver({
      api: config.api,
      localAddress,
      clock,
      log,
      profiles,
      onBearer: bearer => {
        this.#bearer = bearer.connected ? bearer : null;
        onBearer();
      },
    });
    this.#driver = driver;
    // A stick's web API is polled; its events are what a poll has found.
    if (driver.kind !== 'hilink') driver.onEvent(event => this.#hear(driver, event));
    this.#identityAt = Number.NEGATIVE_INFINITY;
    this.#eagerUntil = clock.monotonicMs() + EAGER_FOR_MS;
    void this.#look();
  }

  #stop(): void {
    this.#generation += 1;
    this.#poll?.cancel();
    this.#probe?.cancel();
    const { log } = this.#options;
    this.#driver?.close().catch(error => log.warn('a modem did not close', { error }));
    this.#driver = undefined;
    this.#bearer = null;
  }

  /** What the modem says unasked is looked at soon, and believed only then. */
  #hear(driver: SlotDriver, event: DriverEvent): void {
    if (driver !== this.#driver || event.kind === 'message-received' || !this.#waitsForPoll) return;
    this.#poll?.cancel();
    this.#poll = this.#options.clock.after(EVENT_POLL_MS, () => void this.#look());
  }

  /** One look at the modem, then the next is set. */
  async #look(): Promise<void> {
    const { clock } = this.#options;
    const driver = this.#driver;
    const generation = this.#generation;
    if (!driver) return;
    this.#waitsForPoll = false;
    const status = await driver.status();
    if (generation !== this.#generation) return;
    const before = this.#status();
    if (status.ok) {
      this.#api = { kind: 'answered', status: status.value };
      this.#noticeConnection(before, status.value);
      await this.#refreshIdentity(driver, generation);
      if (generation !== this.#generation) return;
    } else {
      const failures = this.#api.kind === 'failing' ? this.#api.failures + 1 : 1;
      this.#api = { kind: 'failing', fault: status.fault, failures, last: before };
      if (failures === 1) this.#exit = { ...this.#exit, confirmedSinceApiFailed: false };
      // Its traffic tells whether it is dead or only its web server.
      if (before?.bearer.connected) this.#askExitSoon(0);
    }
    this.#tell();
    const well = this.#api.kind === 'answered' && this.#api.status.bearer.connected;
    const eager = !well && clock.monotonicMs() < this.#eagerUntil;
    // Also when another look ended meanwhile: there is one timer.
    this.#poll?.cancel();
    this.#poll = clock.after(eager ? EAGER_POLL_MS : POLL_MS, () => void this.#look());
    this.#waitsForPoll = true;
  }

  #noticeConnection(before: ModemStatus | null, now: ModemStatus): void {
    const connected = before?.bearer.connected === true;
    if (!now.bearer.connected) {
      if (connected || this.#exit.address !== null) this.#forgetExit('');
      this.#probe?.cancel();
      return;
    }
    const sameAddress = before?.bearer.address === now.bearer.address;
    if (connected && sameAddress) return;
    // A new connection may have a new identity behind it, too: another stick in the same slot.
    if (!connected) this.#identityAt = Number.NEGATIVE_INFINITY;
    this.#forgetExit('');
    this.#askExitSoon(0);
  }

  async #refreshIdentity(driver: SlotDriver, generation: number): Promise<void> {
    const now = this.#options.clock.monotonicMs();
    if (now - this.#identityAt < IDENTITY_EVERY_MS) return;
    const identity = await driver.identity();
    if (generation !== this.#generation || !identity.ok) return;
    this.#identity = identity.value;
    this.#identityAt = now;
    const registration = await driver.registration();
    if (generation === this.#generation && registration.ok) this.#registration = registration.value;
  }

  #forgetExit(problem: string): void {
    this.#exit = { address: null, problem, confirmedSinceApiFailed: false };
  }

  #askExitSoon(ms: number): void {
    this.#probe?.cancel();
    this.#probe = this.#options.clock.after(ms, () => void this.#askExit());
  }

  async #askExit(): Promise<void> {
    const localAddress = this.#sourceAddress();
    if (localAddress === null) return;
    // One question at a time; what changed meanwhile is asked again afterwards.
    if (this.#probing) {
      this.#probeAgain = true;
      return;
    }
    this.#probing = true;
    const generation = this.#generation;
    const isSame = () => generation === this.#generation && localAddress === this.#sourceAddress();
    const before = this.#exit;
    let next = EXIT_EVERY_MS;
    try {
      const address = await askExitAddress({
        echoUrls: this.#options.echoUrls,
        localAddress,
        dnsServers: this.#dnsServers(),
        clock: this.#options.clock,
        signal: this.#abort.signal,
      });
      if (isSame() && this.#status()?.bearer.connected)
        this.#exit = { address, problem: '', confirmedSinceApiFailed: this.#api.kind === 'failing' };
    } catch (error) {
      if (isSame()) this.#forgetExit(messageOf(error));
      if (!(error instanceof CodedError))
        this.#options.log.error('asking for the exit address broke', { error });
      next = EXIT_RETRY_MS;
    } finally {
      this.#probing = false;
    }
    if (this.#abort.signal.aborted) return;
    if (this.#exit.address !== before.address)
      this.#options.log.info('exit address', { exit: this.#exit.address });
    this.#tell();
    if (this.#probeAgain || !isSame()) next = 0;
    this.#probeAgain = false;
    if (this.#status()?.bearer.connected) this.#askExitSoon(next);
  }

  /** Says what is new, once. */
  #tell(): void {
    const now = JSON.stringify([this.report(), this.egress()]);
    if (now === this.#said) return;
    const before = this.#said === '' ? undefined : (JSON.parse(this.#said) as [SlotReport]);
    this.#said = now;
    const report = this.report();
    if (before?.[0].state !== report.state || before[0].reason !== report.reason)
      this.#options.log.info('slot state', { state: report.state, reason: report.reason });
    this.#options.onChange();
  }
}
