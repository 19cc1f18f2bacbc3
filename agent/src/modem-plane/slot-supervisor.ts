/**
 * Looks after one slot for as long as the agent runs. Joins its parts: modem-watch.ts asks the modem, health/ proves the
 * path, slot-state.ts judges the facts, machine.ts says what may be done, rotation.ts and recovery/ do it. Nothing that
 * a modem does or fails to do throws here. Setting the slot's network up is the plane's (modem-plane.ts), which hands
 * the outcome in.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import type { SlotReport } from '@mastline/shared/domain/modem';
import type { Profile } from '@mastline/shared/profile/schema';
import type { Log } from '../observe/log';
import type { Egress, SlotTraffic } from '../ports';
import type { Bearer, ModemDriver, ModemIdentity, ModemStatus } from './driver';
import { DataGauge, type DataUse, simKey } from './health/data-use';
import { type PathFigures, PathWatch } from './health/path-watch';
import { FRESH, type Machine, type MachineEvent, shown, step } from './machine';
import { countryOf } from './mobile-countries';
import { ModemWatch, NO_IDENTITY } from './modem-watch';
import type { PinKeeper } from './pin-keeper';
import { Recovery, type RecoveryOptions } from './recovery/recovery';
import type { RungTools } from './recovery/rungs';
import { ROTATION_TIMES, type RotationEnd, type RotationTimes, rotate } from './rotation';
import { ROTATION_LIMITS, RotationDesk, type RotationLimits, type RotationReport } from './rotation-desk';
import { seenAddresses } from './rotation-proof';
import type { RotationStatistics, RotationStep } from './rotation-statistics';
import { type SimSettings, settingsOf } from './sim-settings';
import { guardedOf, type SlotConfig } from './slot-config';
import { slotDriver } from './slot-driver';
import { judgeSlot, type NetworkFacts, type SlotFacts, type SlotVerdict } from './slot-state';

const MAX_REASON_CHARS = 300;
/** Between two looks at the modem's byte counters, where the SIM has a cap. */
const GAUGE_EVERY_MS = 60_000;

export interface SupervisorOptions {
  config: SlotConfig;
  echoUrls: readonly string[];
  clock: Clock;
  log: Log;
  onChange: () => void;
  /** The modem's data connection is another now; see `bearer`. */
  onBearer: () => void;
  profiles: () => readonly Profile[];
  /** Probes cost SIM data that somebody counts. */
  metered: boolean;
  sims: {
    settings: readonly SimSettings[];
    pins: PinKeeper;
    dataUse: DataUse;
  };
  recovery: Pick<
    RecoveryOptions,
    'now' | 'record' | 'neighbours' | 'suspectOthers' | 'conflicts' | 'mayReboot'
  > &
    Pick<RungTools, 'rebootHost'> & {
      /** The rungs of the modem's profile; throws CodedError when there are no profiles. */
      ladder: (identity: ModemIdentity) => ReturnType<RecoveryOptions['ladder']>;
      cycleUsb: (config: SlotConfig) => RungTools['cycleUsb'];
    };
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

export class SlotSupervisor {
  readonly #options: SupervisorOptions;
  readonly #abort = new AbortController();
  readonly #path: PathWatch;
  readonly #recovery: Recovery;
  readonly #desk: RotationDesk;
  #config: SlotConfig;
  #network: NetworkFacts = { kind: 'unknown' };
  #watch: ModemWatch | null = null;
  /** The data connection of a modem that does not route by itself. */
  #bearer: Bearer | null = null;
  /** What its driver was made for. */
  #way: string | null = null;
  #identity = NO_IDENTITY;
  /** Known on when the modem is gone. */
  #model: string | null = null;
  #machine: Machine = FRESH;
  #said = '';
  #pinTried = false;
  #pinRefused = false;
  #gauge = new DataGauge();
  #gaugeTimer: Timer | undefined;
  #traffic: SlotTraffic | null = null;

  constructor(options: SupervisorOptions) {
    const { clock, log, recovery } = options;
    const config = () => this.#config;
    this.#options = options;
    this.#config = options.config;
    const { limits, past } = options.rotation;
    this.#desk = new RotationDesk(clock, { ...ROTATION_LIMITS, ...limits }, past);
    this.#path = new PathWatch({
      echoUrls: options.echoUrls,
      metered: options.metered,
      clock,
      log,
      mayProbe: () => this.#dataCap() === null,
      onChange: () => this.#tell(),
    });
    const { rebootHost, ladder, cycleUsb, ...node } = recovery;
    this.#recovery = new Recovery({
      ...node,
      ...{ slot: this.#config.slot, clock, log },
      ladder: () => ladder(this.#identity),
      model: () => this.#model ?? this.#config.api.kind,
      openFlows: options.rotation.openFlows,
      begin: cause => this.#begin({ kind: 'recovery-asked', cause }, 'begin-recovery'),
      end: () => {
        this.#apply({ kind: 'recovery-ended' });
        this.#tell();
      },
      climb: {
        tools: {
          driver: () => this.#driver(),
          // Asked at each climb: the stick may have come back on another port.
          get cycleUsb() {
            return cycleUsb(config());
          },
          rebootHost,
          clock,
          signal: this.#abort.signal,
        },
        verdict: () => this.#judge(),
        onDone: () => {
          this.#watch?.beEager();
          this.#path.restart();
        },
        onStuck: () => this.#restartWatch(),
        onStep: detail => {
          this.#apply({ kind: 'recovery-step', detail });
          this.#tell();
        },
      },
      onChange: () => this.#tell(),
    });
    if (options.sims.settings.some(one => one.dataCap !== undefined))
      this.#gaugeTimer = clock.every(GAUGE_EVERY_MS, () => void this.#readGauge());
  }

  get config(): SlotConfig {
    return this.#config;
  }

  /** Null while there is no data connection, and for modems that route by themselves without telling. */
  get bearer(): Bearer | null {
    return this.#bearer;
  }

  get identity(): ModemIdentity {
    return this.#identity;
  }

  /** The stick came back elsewhere: its network begins anew, what the slot has learned stays. */
  reconfigure(config: SlotConfig): void {
    this.#config = config;
    this.setNetwork({ kind: 'unknown' });
  }

  /** The slot's network as it is now; another way to the modem starts everything anew. */
  setNetwork(network: NetworkFacts): void {
    const source = this.#sourceAddress();
    this.#network = network;
    const moved = source !== this.#sourceAddress();
    if (moved) this.#path.shut();
    const way = this.#wayToModem();
    if (way !== this.#way) {
      this.#way = way;
      this.#restartWatch();
      if (way === null) this.#identity = NO_IDENTITY;
    } else if (moved) this.#followBearer(null);
    this.#tell();
  }

  /** What has gone through the slot, every few seconds: live traffic is the cheapest probe. */
  noteTraffic(traffic: SlotTraffic): void {
    this.#traffic = traffic;
    this.#path.noteTraffic(traffic);
  }

  /** True when waiting longer would tell nothing new: it is up with its exit address, or it is known why not. */
  settled(): boolean {
    const { state } = this.#verdict();
    const { address, problem } = this.#path.facts();
    if (state === 'connected') return address !== null || problem !== '';
    return state === 'absent' || state === 'failed' || state === 'locked' || state === 'recovering';
  }

  /** It carries, by what came through it. */
  carries(): boolean {
    return this.#path.facts().proof.kind === 'carries';
  }

  /** Another modem of the node has fallen silent: is it the modem, or everybody? */
  suspect(): void {
    if (this.carries()) this.#path.doubt();
  }

  /** It is connected by its own word, and nothing comes through. */
  isSilent(): boolean {
    return this.#judge().cause === 'data-dead';
  }

  report(): SlotReport {
    const config = this.#config;
    const { state, reason, cause } = this.#verdict();
    const said = [reason, state === 'connected' ? '' : this.#recovery.note()]
      .filter(part => part !== '')
      .join('; ');
    return {
      slot: config.slot,
      usbPath: config.usbPath,
      interface: 'interface' in config ? config.interface : null,
      sourceAddress: this.#sourceAddress(),
      state,
      reason: said.length > MAX_REASON_CHARS ? `${said.slice(0, MAX_REASON_CHARS - 1)}…` : said,
      cause,
      recovery: this.#recovery.last(),
      exitAddress: state === 'connected' ? this.#path.facts().address : null,
      imei: this.#identity.imei,
      model: this.#identity.model,
      firmware: this.#identity.firmware,
      virtual: config.virtual,
    };
  }

  /** What the probes found; for people who look. */
  health(): PathFigures {
    return this.#path.figures();
  }

  egress(): Egress {
    const config = this.#config;
    return {
      slot: config.slot,
      sourceAddress: this.#sourceAddress(),
      dnsServers: this.#dnsServers(),
      ready: this.#verdict().ready,
      imei: this.#identity.imei,
      carrier: this.#watch?.registration()?.carrier ?? null,
      country: countryOf(this.#watch?.registration()?.plmn ?? null),
      guarded: guardedOf(config),
    };
  }

  /** Gives the modem another address, if it may be done now. Never rejects; has deadlines of its own. */
  async rotate(askedFor: string, deadlineMs?: number): Promise<RotationReport> {
    const { log, rotation } = this.#options;
    const carrier = this.#watch?.registration()?.carrier ?? null;
    const about = { slot: this.#config.slot, askedFor, carrier };
    const refused = (reason: string, retryAfterMs: number | null = null): RotationReport => {
      log.info('rotation refused', { askedFor, reason });
      return { ...about, kind: 'unavailable', reason, retryAfterMs };
    };
    this.#verdict();
    const asked = step(this.#machine, { kind: 'rotation-asked' });
    const [action] = asked.actions;
    if (action?.kind === 'refuse-rotation') return refused(action.reason);
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

  async close(): Promise<void> {
    this.#abort.abort(new CodedError('modem/closing', 'the agent is stopping'));
    this.#gaugeTimer?.cancel();
    this.#path.shut();
    await this.#recovery.close();
    const watch = this.#watch;
    this.#watch = null;
    await watch?.close();
  }

  async #rotate(
    ladder: readonly RotationStep[],
    deadlineMs = Number.POSITIVE_INFINITY,
  ): Promise<RotationEnd> {
    const { clock, log, rotation } = this.#options;
    const begun = clock.monotonicMs();
    const times = { ...ROTATION_TIMES, ...rotation.times };
    try {
      const registration = this.#watch?.registration();
      const carrier = registration?.plmn ?? registration?.carrier;
      const key = { modem: this.#identity.imei ?? 'unknown', carrier: carrier ?? 'unknown' };
      const end = await rotate({
        steps: rotation.statistics.order(ladder, key.modem, key.carrier),
        driver: () => this.#driver(),
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
      // The last look may be of the time before it was connected again.
      await this.#watch?.look();
      if (end.kind === 'rotated') this.#path.proven(end.newAddress);
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
    const localAddress = this.#sourceAddress();
    if (localAddress === null)
      return Promise.reject(new CodedError('modem/exit-unknown', 'the slot has no network'));
    return seenAddresses({ echoUrls, localAddress, dnsServers: this.#dnsServers(), clock, signal });
  }

  #sourceAddress(): string | null {
    return this.#network.kind === 'up' ? this.#network.sourceAddress : null;
  }

  /** What the driver is bound to: a web API is asked from the slot's address, a port is there with the modem. */
  #wayToModem(): string | null {
    const { kind } = this.#network;
    if (kind !== 'up' && kind !== 'linked') return null;
    return this.#config.api.kind === 'hilink' ? this.#sourceAddress() : 'port';
  }

  #begin(event: MachineEvent, action: 'begin-recovery'): boolean {
    const asked = step(this.#machine, event);
    if (asked.actions[0]?.kind !== action) return false;
    this.#machine = asked.machine;
    this.#tell();
    return true;
  }

  #apply(event: MachineEvent): void {
    this.#machine = step(this.#machine, event).machine;
  }

  /** By the facts alone. */
  #judge(): SlotVerdict {
    return judgeSlot(this.#facts());
  }

  /** What is shown. */
  #verdict(): SlotVerdict {
    this.#apply({ kind: 'judged', verdict: this.#judge() });
    return shown(this.#machine);
  }

  #facts(): SlotFacts {
    return {
      network: this.#network,
      api: this.#watch?.api() ?? { kind: 'unasked' },
      path: this.#path.facts(),
      pinRefused: this.#pinRefused,
      dataCap: this.#dataCap(),
    };
  }

  #driver(): ModemDriver | null {
    return this.#watch?.driver ?? null;
  }

  #dnsServers(): string[] {
    return this.#config.dnsServers ?? (this.#bearer ?? this.#watch?.status()?.bearer)?.dnsServers ?? [];
  }

  #restartWatch(): void {
    const { clock, log, profiles, onBearer } = this.#options;
    const before = this.#watch;
    this.#watch = null;
    before?.close().catch(error => log.warn('a driver did not close well', { error }));
    this.#path.shut();
    this.#bearer = null;
    this.#pinTried = false;
    this.#gauge = new DataGauge();
    if (this.#way === null || this.#abort.signal.aborted) return;
    const driver = slotDriver({
      api: this.#config.api,
      localAddress: this.#sourceAddress(),
      clock,
      log,
      profiles,
      onBearer: bearer => {
        if (this.#watch !== watch) return;
        this.#bearer = bearer.connected ? bearer : null;
        onBearer();
      },
    });
    const watch: ModemWatch = new ModemWatch({
      driver,
      clock,
      log,
      onLook: status => {
        if (this.#watch === watch) this.#noticeLook(watch, status);
      },
    });
    this.#watch = watch;
  }

  #noticeLook(watch: ModemWatch, before: ModemStatus | null): void {
    if (watch.identity() !== NO_IDENTITY) this.#identity = watch.identity();
    this.#model = this.#identity.model ?? this.#model;
    const api = watch.api();
    if (api.kind === 'failing' && api.failures === 1 && before?.data.state === 'up') this.#path.apiFailed();
    if (api.kind === 'answered') {
      this.#followBearer(before);
      void this.#keepPin(watch, api.status);
    }
    this.#tell();
  }

  /** The path is that of one connection: another one is proven anew. */
  #followBearer(before: ModemStatus | null): void {
    const now = this.#watch?.status();
    const localAddress = this.#sourceAddress();
    if (localAddress === null || now?.data.state !== 'up') {
      this.#path.shut();
      return;
    }
    const same = before?.data.state === 'up' && before.bearer.address === now.bearer.address;
    if (!same || !this.#path.isOpen()) this.#path.open({ localAddress, dnsServers: this.#dnsServers() });
  }

  /** Enters the configured PIN, once for each time that the modem is met anew; the keeper knows what was tried before. */
  async #keepPin(watch: ModemWatch, { sim, data }: ModemStatus): Promise<void> {
    const { log, sims } = this.#options;
    const place = { slot: this.#config.slot, iccid: this.#identity.iccid };
    try {
      if (sim.state !== 'pin-needed') {
        if (sim.state !== 'ready' || data.state !== 'up') return;
        this.#pinTried = false;
        this.#pinRefused = false;
        return await sims.pins.forget(place);
      }
      const pin = settingsOf(sims.settings, place)?.pin;
      if (pin === undefined || this.#pinTried) return;
      this.#pinTried = true;
      const outcome = await sims.pins.enter(watch.driver, pin, { ...place, triesLeft: sim.triesLeft });
      this.#pinRefused = outcome.kind === 'refused';
      if (outcome.kind === 'accepted') {
        log.info('the SIM took its PIN');
        watch.beEager();
      } else log.warn('the SIM stays locked', { why: outcome.message });
    } catch (error) {
      log.error('the PIN could not be entered', { error });
    }
    this.#tell();
  }

  #dataCap(): string | null {
    const { sims } = this.#options;
    const place = { slot: this.#config.slot, iccid: this.#identity.iccid };
    const cap = settingsOf(sims.settings, place)?.dataCap;
    return cap === undefined ? null : sims.dataUse.refusal(simKey(place), cap);
  }

  async #readGauge(): Promise<void> {
    const { sims, log } = this.#options;
    const place = { slot: this.#config.slot, iccid: this.#identity.iccid };
    const cap = settingsOf(sims.settings, place)?.dataCap;
    const watch = this.#watch;
    if (cap === undefined || watch === null) return;
    try {
      const counters = await watch.driver.counters();
      if (this.#watch !== watch) return;
      const carried = this.#traffic === null ? null : this.#traffic.upBytes + this.#traffic.downBytes;
      const moved = this.#gauge.moved(counters.ok ? counters.value : null, carried);
      sims.dataUse.add(simKey(place), moved, cap.billingDay);
      this.#tell();
    } catch (error) {
      log.error('the data counters could not be read', { error });
    }
  }

  /** Says what is new, once. */
  #tell(): void {
    if (this.#abort.signal.aborted) return;
    this.#recovery.consider(this.#judge());
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
