/**
 * The modem plane: brings every slot up, keeps its network as it should be, and reports. One hanging modem never delays
 * another; each has a supervisor of its own (slot-supervisor.ts). Which slots there are is slot-roster.ts, their
 * networks slot-networks.ts, all rotations rotation-office.ts. START HERE.
 */
import { sleep, type Timer } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { ModemPlane, OwnTraffic, RotationRequest } from '../ports';
import { DataUse } from './health/data-use';
import type { PathFigures } from './health/path-watch';
import type { SpeedTestResult } from './health/speed-test';
import { SpeedTestDesk } from './health/speed-test-desk';
import { OwnTrafficBook } from './own-traffic';
import { PinKeeper } from './pin-keeper';
import { type CheckedOptions, checkOptions, type ModemPlaneOptions } from './plane-options';
import { recoveryLadder } from './recovery/ladder';
import { RecoveryRecord, type RungFigures } from './recovery/record';
import { recoveryOf } from './recovery/slot-recovery';
import type { RotationReport } from './rotation-desk';
import { rotationLadder } from './rotation-ladder';
import { RotationOffice } from './rotation-office';
import type { SlotConfig } from './slot-config';
import { SlotNetworks } from './slot-networks';
import { SlotRoster } from './slot-roster';
import type { SlotSource } from './slot-source';
import { SlotSupervisor } from './slot-supervisor';

/** Between two comparisons of what is wanted with what is there. */
export const REPAIR_EVERY_MS = 5000;
/** Longest that `start()` waits for modems that are still on their way. */
export const START_DEADLINE_MS = 15_000;
const START_CHECK_MS = 50;
/** Between two looks at what the customers' traffic proves. */
const TRAFFIC_EVERY_MS = 5000;

/** What the modem plane can do beyond carrying. */
export interface RotatingModemPlane extends ModemPlane {
  readonly rotations: RotationOffice;
  /** What the probes of each slot found, and how often each rung of recovery helped. */
  health(): { slots: ({ slot: number } & PathFigures)[]; rungs: RungFigures[] };
  /** What the plane itself moved through each slot since the start. */
  ownTraffic(): OwnTraffic[];
  /** Measures how fast a slot is, for at most so much of the SIM's data. Rejects with `speedtest/…` when it cannot be done. */
  speedTest(slot: number, maxBytes: number): Promise<SpeedTestResult>;
}

/** Checks the configuration; throws `modem/config` naming every wrong field. Nothing is touched before `start()`. */
export function createModemPlane(options: ModemPlaneOptions): RotatingModemPlane {
  return new Plane(checkOptions(options));
}

class Plane implements RotatingModemPlane {
  readonly rotations: RotationOffice;
  readonly #options: CheckedOptions;
  readonly #networks: SlotNetworks;
  readonly #roster: SlotRoster;
  readonly #speedTests: SpeedTestDesk;
  readonly #ladders = {
    hilink: rotationLadder('hilink', () => this.#options.profiles()),
    at: rotationLadder('at', () => this.#options.profiles()),
    mbim: rotationLadder('mbim', () => this.#options.profiles()),
  };
  readonly #rungs = recoveryLadder(() => this.#options.profiles());
  readonly #record: RecoveryRecord;
  readonly #pins: PinKeeper;
  readonly #dataUse: DataUse;
  readonly #own = new OwnTrafficBook();
  readonly #abort = new AbortController();
  #traffic: Timer | undefined;
  #countingTraffic = false;
  #repair: Timer | undefined;
  #listeners: (() => void)[] = [];
  #closed = false;

  constructor(options: CheckedOptions) {
    this.#options = options;
    const { dataDir, clock, log, now, runIp, guard, speedTest, slots, sources = [] } = options;
    this.rotations = new RotationOffice({
      ...{ dataDir, clock, now },
      random: options.random ?? Math.random,
      log: log.child('rotations'),
      perform: (slot, request) => this.#rotate(slot, request),
    });
    const kept = { dataDir, clock, log, now };
    this.#record = new RecoveryRecord(kept);
    this.#pins = new PinKeeper(kept);
    this.#dataUse = new DataUse(kept);
    this.#networks = new SlotNetworks({ dataDir, runIp, guard, clock, log, roster: () => this.#roster });
    this.#roster = new SlotRoster({
      configured: slots,
      sources,
      supervise: (config, source) => this.#supervise(config, source),
      takeDown: slot => this.#networks.takeDown(slot),
    });
    this.#speedTests = new SpeedTestDesk({
      urls: speedTest,
      clock,
      signal: this.#abort.signal,
      slot: slot => {
        const found = this.#roster.find(slot);
        return found && { egress: found.egress(), report: found.report() };
      },
      counter: slot => this.#own.counter(slot),
    });
  }

  async start(): Promise<void> {
    const { clock, sources = [] } = this.#options;
    await this.#networks.start();
    for (const source of sources) {
      await source.start();
      await this.#follow(source);
      source.onChange(() => {
        void this.#networks.after(() => this.#follow(source));
        void this.#networks.keep();
      });
    }
    this.#options.onProfiles(changed => void this.#networks.after(() => this.#takeProfiles(changed)));
    await this.#networks.keep();
    this.#repair = clock.every(REPAIR_EVERY_MS, () => void this.#networks.keep());
    if (this.#options.traffic) this.#traffic = clock.every(TRAFFIC_EVERY_MS, () => void this.#countTraffic());
    const begun = clock.monotonicMs();
    while (!this.#closed && !this.#roster.all().every(one => one.settled())) {
      if (clock.monotonicMs() - begun > START_DEADLINE_MS) break;
      await sleep(clock, START_CHECK_MS);
    }
  }

  egresses() {
    return this.#roster.all().map(one => one.egress());
  }

  slots() {
    return this.#roster.all().map(one => one.report());
  }

  health() {
    return {
      slots: this.#roster.all().map(one => ({ slot: one.config.slot, ...one.health() })),
      rungs: this.#record.figures(),
    };
  }

  ownTraffic() {
    return this.#own.all();
  }

  speedTest(slot: number, maxBytes: number): Promise<SpeedTestResult> {
    return this.#speedTests.measure(slot, maxBytes);
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    this.#listeners = [];
    this.#abort.abort(new CodedError('modem/closing', 'the agent is stopping'));
    this.#repair?.cancel();
    this.#traffic?.cancel();
    this.#networks.stop();
    await this.#roster.close();
    await this.rotations.close();
    for (const source of this.#options.sources ?? []) await source.close();
    await this.#networks.close();
    await Promise.all([this.#record.close(), this.#pins.close(), this.#dataUse.close()]);
  }

  #supervise(config: SlotConfig, source?: SlotSource): SlotSupervisor {
    const { echoUrls, ownEchoUrl, clock, log, openFlows, profiles, rotation, metered, sims } = this.#options;
    const { limits, graceMs, past } = this.rotations.openSlot(config);
    const supervisor: SlotSupervisor = new SlotSupervisor({
      config,
      echoUrls: config.echoUrls ?? echoUrls,
      clock,
      log: log.child('modem', { slot: config.slot }),
      profiles,
      onChange: () => {
        if (this.#closed) return;
        const { model, firmware } = supervisor.identity;
        if (model !== null) source?.learn?.(supervisor.config.usbPath, { model, hardware: null, firmware });
        this.#changed();
      },
      onBearer: () => void this.#networks.keep(),
      metered: metered ?? false,
      count: this.#own.counter(config.slot),
      sims: { settings: sims ?? [], pins: this.#pins, dataUse: this.#dataUse },
      recovery: recoveryOf(() => supervisor, {
        options: this.#options,
        record: this.#record,
        rungs: this.#rungs,
        roster: () => this.#roster,
      }),
      rotation: {
        ladder: identity => this.#ladders[supervisor.config.api.kind](identity),
        statistics: this.rotations.statistics,
        openFlows: async () => {
          if (openFlows) return openFlows(config.slot);
          throw new CodedError('modem/flows-unknown', 'nobody counts the flows of this modem plane');
        },
        past,
        // The carrier of a virtual modem is not between us and the real Internet.
        moreEchoUrls: config.virtual || ownEchoUrl === undefined ? [] : [ownEchoUrl],
        times: { ...rotation?.times, ...(graceMs === undefined ? {} : { graceMs }) },
        limits: { ...rotation?.limits, ...limits },
      },
    });
    return supervisor;
  }

  async #follow(source: SlotSource): Promise<void> {
    if (this.#closed) return;
    if (await this.#roster.follow(source)) this.#changed();
  }

  /** A modem that is driven by a profile that is another now is taken up anew; the others are left alone. */
  async #takeProfiles(changed: ReadonlySet<string>): Promise<void> {
    if (this.#closed) return;
    for (const one of this.#roster.all()) {
      const { api } = one.config;
      if (api.kind === 'at' && changed.has(api.profile)) one.reconfigure(one.config);
    }
    void this.#networks.keep();
  }

  #changed(): void {
    for (const listener of this.#listeners) listener();
  }

  async #countTraffic(): Promise<void> {
    const { traffic, log } = this.#options;
    if (traffic === undefined || this.#countingTraffic) return;
    this.#countingTraffic = true;
    try {
      const told = new Map((await traffic()).map(one => [one.slot, one]));
      for (const one of this.#roster.all()) {
        const { slot } = one.config;
        one.noteTraffic(told.get(slot) ?? { slot, openFlows: 0, upBytes: 0, downBytes: 0 });
      }
    } catch (error) {
      log.warn('the data plane does not tell its traffic', { error });
    } finally {
      this.#countingTraffic = false;
    }
  }

  async #rotate(slot: number, { askedFor, deadlineMs }: RotationRequest): Promise<RotationReport> {
    const supervisor = this.#roster.find(slot);
    if (supervisor && !this.#closed) return supervisor.rotate(askedFor, deadlineMs);
    const reason = supervisor ? 'the agent is stopping' : `there is no slot ${slot} on this node`;
    return { slot, askedFor, carrier: null, kind: 'unavailable', reason, retryAfterMs: null };
  }
}
