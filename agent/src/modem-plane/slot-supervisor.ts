/**
 * Looks after one slot for as long as the agent runs. Joins its parts: modem-watch.ts asks the modem, health/ proves the
 * path, slot-state.ts judges the facts, machine.ts says what may be done, slot-rotation.ts and recovery/ do it,
 * slot-sim.ts cares for the SIM, slot-report.ts tells. Nothing that a modem does or fails to do throws here. Setting the
 * slot's network up is slot-networks.ts, which hands the outcome in.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { SlotReport } from '@mastline/shared/domain/modem';
import type { Profile } from '@mastline/shared/profile/schema';
import type { Log } from '../observe/log';
import type { CountOwn, Egress, SlotTraffic } from '../ports';
import type { Bearer, ModemDriver, ModemIdentity, ModemStatus } from './driver';
import type { DataUse } from './health/data-use';
import { type PathFigures, PathWatch } from './health/path-watch';
import { FRESH, type Machine, type MachineEvent, shown, step } from './machine';
import { ModemWatch, NO_IDENTITY } from './modem-watch';
import type { PinKeeper } from './pin-keeper';
import { TREATMENTS } from './recovery/plan';
import { Recovery, type RecoveryOptions } from './recovery/recovery';
import type { RungTools } from './recovery/rungs';
import type { RotationReport } from './rotation-desk';
import type { SimSettings } from './sim-settings';
import type { SlotConfig } from './slot-config';
import { slotDriver } from './slot-driver';
import { egressOf, reportOf, type ShownSlot } from './slot-report';
import { type RotatedSlot, type RotationChoices, SlotRotation } from './slot-rotation';
import { SlotSim } from './slot-sim';
import { judgeSlot, type NetworkFacts, type SlotFacts, type SlotVerdict } from './slot-state';

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
  /** Told what the agent itself moves over the slot's interface. */
  count: CountOwn;
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
  rotation: RotationChoices;
}

export class SlotSupervisor {
  readonly #options: SupervisorOptions;
  readonly #abort = new AbortController();
  readonly #path: PathWatch;
  readonly #recovery: Recovery;
  readonly #rotation: SlotRotation;
  readonly #sim: SlotSim;
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

  constructor(options: SupervisorOptions) {
    const { clock, log, recovery } = options;
    const config = () => this.#config;
    this.#options = options;
    this.#config = options.config;
    this.#path = new PathWatch({
      echoUrls: options.echoUrls,
      metered: options.metered,
      clock,
      log,
      mayProbe: () => this.#sim.dataCap() === null,
      count: options.count,
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
    this.#sim = new SlotSim({
      ...options.sims,
      ...{ clock, log },
      place: () => ({ slot: this.#config.slot, iccid: this.#identity.iccid }),
      watch: () => this.#watch,
      onChange: () => this.#tell(),
    });
    this.#rotation = new SlotRotation({
      choices: options.rotation,
      modem: this.#rotated(),
      ...{ clock, log, signal: this.#abort.signal },
    });
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
    this.#sim.noteTraffic(traffic);
    this.#path.noteTraffic(traffic);
    this.#watch?.noteUse(traffic.openFlows > 0);
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
    return reportOf(this.#shown());
  }

  /** What the probes found; for people who look. */
  health(): PathFigures {
    return this.#path.figures();
  }

  egress(): Egress {
    return egressOf(this.#shown());
  }

  /** Gives the modem another address, if it may be done now. Never rejects; has deadlines of its own. */
  rotate(askedFor: string, deadlineMs?: number): Promise<RotationReport> {
    return this.#rotation.rotate(askedFor, deadlineMs);
  }

  async close(): Promise<void> {
    this.#abort.abort(new CodedError('modem/closing', 'the agent is stopping'));
    this.#sim.close();
    this.#path.shut();
    await this.#recovery.close();
    const watch = this.#watch;
    this.#watch = null;
    await watch?.close();
  }

  /** What a rotation knows of the modem, and does to its state. */
  #rotated(): RotatedSlot {
    const { config, echoUrls, count } = this.#options;
    return {
      slot: config.slot,
      echoUrls,
      count,
      identity: () => this.#identity,
      registration: () => this.#watch?.registration() ?? null,
      driver: () => this.#driver(),
      hopeless: () => {
        const { cause, reason } = this.#judge();
        return cause !== null && TREATMENTS[cause].rungs.length === 0 ? reason : null;
      },
      way: () => ({ localAddress: this.#sourceAddress(), dnsServers: this.#dnsServers() }),
      mayBegin: () => {
        this.#verdict();
        const [action] = step(this.#machine, { kind: 'rotation-asked' }).actions;
        return action?.kind === 'refuse-rotation' ? action.reason : null;
      },
      tell: event => {
        this.#apply(event);
        this.#tell();
      },
      letGo: () => this.#restartWatch(),
      look: async () => this.#watch?.look(),
      proven: address => this.#path.proven(address),
    };
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

  #shown(): ShownSlot {
    return {
      config: this.#config,
      verdict: this.#verdict(),
      identity: this.#identity,
      registration: this.#watch?.registration() ?? null,
      sourceAddress: this.#sourceAddress(),
      sourceAddress6: this.#network.kind === 'up' ? (this.#network.sourceAddress6 ?? null) : null,
      dnsServers: this.#dnsServers(),
      exitAddress: this.#path.facts().address,
      note: this.#recovery.note(),
      lastRecovery: this.#recovery.last(),
    };
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
      pinRefused: this.#sim.pinRefused(),
      dataCap: this.#sim.dataCap(),
    };
  }

  #driver(): ModemDriver | null {
    return this.#watch?.driver ?? null;
  }

  #dnsServers(): string[] {
    return this.#config.dnsServers ?? (this.#bearer ?? this.#watch?.status()?.bearer)?.dnsServers ?? [];
  }

  #restartWatch(): void {
    const { clock, log, profiles, onBearer, count } = this.#options;
    const before = this.#watch;
    this.#watch = null;
    before?.close().catch(error => log.warn('a driver did not close well', { error }));
    this.#path.shut();
    this.#bearer = null;
    this.#sim.metAnew();
    if (this.#way === null || this.#abort.signal.aborted) return;
    const driver = slotDriver({
      api: this.#config.api,
      localAddress: this.#sourceAddress(),
      clock,
      log,
      profiles,
      count,
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
      void this.#sim.keepPin(watch, api.status);
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
    const same =
      before?.data.state === 'up' &&
      before.bearer.address === now.bearer.address &&
      before.bearer.address6 === now.bearer.address6;
    if (!same || !this.#path.isOpen()) this.#path.open({ localAddress, dnsServers: this.#dnsServers() });
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
