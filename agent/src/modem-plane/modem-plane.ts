/**
 * The modem plane: brings every configured slot up, keeps its network as it should be, and reports. One hanging modem
 * never delays another; each has a supervisor of its own (slot-supervisor.ts). START HERE.
 */
import { networkInterfaces } from 'node:os';
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import { type Clock, sleep, type Timer } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import type { ModemCause } from '@mastline/shared/domain/modem';
import type { Profile } from '@mastline/shared/profile/schema';
import { z } from 'zod';
import type { Log } from '../observe/log';
import type { ModemPlane, RotationRequest, SlotTraffic } from '../ports';
import type { PowerOutcome, PowerWay } from './discovery/usb-power';
import { parentOf } from './discovery/usb-tree';
import { DataUse } from './health/data-use';
import type { PathFigures } from './health/path-watch';
import { type SpeedTestResult, type SpeedTestUrls, speedTest } from './health/speed-test';
import { NetworkJournal } from './network-journal';
import { surveyNetwork } from './network-survey';
import { PinKeeper } from './pin-keeper';
import { recoveryLadder } from './recovery/ladder';
import { RecoveryRecord, type RungFigures } from './recovery/record';
import type { RotationTimes } from './rotation';
import type { RotationLimits, RotationReport } from './rotation-desk';
import { rotationLadder } from './rotation-ladder';
import { RotationOffice } from './rotation-office';
import { type RunIp, runIp } from './run-ip';
import type { SimSettings } from './sim-settings';
import { AddressSlot, InterfaceSlot, routerOf, type SlotConfig } from './slot-config';
import { profileNamed } from './slot-driver';
import {
  canChangeNetwork,
  carrierAddressOf,
  existingAddress,
  repairSlot,
  type SlotNetwork,
  setUpSlot,
} from './slot-network';
import type { SlotSource } from './slot-source';
import { SlotSupervisor, type SupervisorOptions } from './slot-supervisor';

/** Between two comparisons of what is wanted with what is there. */
export const REPAIR_EVERY_MS = 5000;
/** Longest that `start()` waits for modems that are still on their way. */
export const START_DEADLINE_MS = 15_000;
const START_CHECK_MS = 50;
/** Between two looks at what the customers' traffic proves. */
const TRAFFIC_EVERY_MS = 5000;
/** A path on USB, as opposed to a name of our own. */
const USB_PATH = /^\d+-\d+(?:\.\d+)*$/;

export interface ModemPlaneOptions {
  slots: readonly z.input<typeof SlotConfig>[];
  /** Services that answer with the address they saw, asked through each modem. */
  echoUrls: readonly string[];
  /** The network journal lies there. */
  dataDir: string;
  clock: Clock;
  log: Log;
  /** Slots that come and go, beside the configured ones, which have the right of way. The plane starts and closes them. */
  sources?: readonly SlotSource[];
  /** Firmware profiles; those that come with the program when left out. */
  profiles?: readonly Profile[];
  /** How `ip` is run; tests may listen in. */
  runIp?: RunIp;
  /** Flows that run through a slot now. Without it a rotation waits its whole grace period. */
  openFlows?: (slot: number) => Promise<number>;
  rotation?: { times?: Partial<RotationTimes>; limits?: Partial<RotationLimits> };
  /** An echo service of ours on the real Internet; rotations of real modems ask it, too. */
  ownEchoUrl?: string;
  /** Corrected epoch milliseconds, for schedules and the history; the clock's when left out. */
  now?: () => number;
  random?: () => number;
  /** What has gone through each slot; without it only probes tell whether a slot carries. */
  traffic?: () => Promise<readonly SlotTraffic[]>;
  /** Probes then cost at most 1 MB a modem and month. */
  metered?: boolean;
  /** PINs and data caps. */
  sims?: readonly SimSettings[];
  recovery?: RecoveryChoices;
  /** Servers that a speed test may use; without them there is none. */
  speedTest?: SpeedTestUrls | undefined;
}

/** What recovery may do to the box, and how. */
export interface RecoveryChoices {
  /** Takes a modem off USB and back; left out, rungs that need it are passed over. */
  cycleUsb?: (usbPath: string, request: { way: PowerWay; cutNeighbours: boolean }) => Promise<PowerOutcome>;
  /** A person has agreed that other devices lose power with the modem. */
  cutNeighbours?: boolean;
  /** Restarts the box; left out, that rung does not exist. */
  rebootHost?: () => Promise<void>;
}

/** What the modem plane can do beyond carrying. */
export interface RotatingModemPlane extends ModemPlane {
  readonly rotations: RotationOffice;
  /** What the probes of each slot found, and how often each rung of recovery helped. */
  health(): { slots: ({ slot: number } & PathFigures)[]; rungs: RungFigures[] };
  /** Measures how fast a slot is, for at most so much of the SIM's data. Rejects with `speedtest/…` when it cannot be done. */
  speedTest(slot: number, maxBytes: number): Promise<SpeedTestResult>;
}

const EchoUrls = z
  .array(z.url({ protocol: /^https?$/, error: 'must be an http:// or https:// URL' }))
  .max(16);

/** Checks the configuration; throws `modem/config` naming every wrong field. Nothing is touched before `start()`. */
export function createModemPlane(options: ModemPlaneOptions): RotatingModemPlane {
  const slots = options.slots.map((slot, i) => parseSlot(slot, `slots[${i}]`));
  const echoUrls = parseOrExplain(EchoUrls, options.echoUrls, 'echoUrls', 'modem/config');
  for (const [i, slot] of slots.entries())
    if (slots.findIndex(other => other.slot === slot.slot) !== i)
      throw new CodedError('modem/config', `slots[${i}].slot: number ${slot.slot} is given twice`);
  const profiles = once(() => options.profiles ?? loadCatalogue());
  for (const [i, { api }] of slots.entries())
    if (api.kind === 'at') checkProfile(api.profile, profiles(), `slots[${i}].api.profile`);
  return new Plane({ ...options, slots, echoUrls, profiles, runIp: options.runIp ?? runIp });
}

/** Parsed as the kind it means to be, so that the wrong field is named and not the union. */
function parseSlot(slot: z.input<typeof SlotConfig>, what: string): SlotConfig {
  return typeof slot === 'object' && slot !== null && 'sourceAddress' in slot
    ? parseOrExplain(AddressSlot, slot, what, 'modem/config')
    : parseOrExplain(InterfaceSlot, slot as InterfaceSlot, what, 'modem/config');
}

function checkProfile(id: string, profiles: readonly Profile[], what: string): void {
  try {
    profileNamed(id, profiles);
  } catch (error) {
    throw new CodedError('modem/config', `${what}: ${messageOf(error)}`, { cause: error });
  }
}

function once<T>(make: () => T): () => T {
  let made: { value: T } | undefined;
  return () => {
    made ??= { value: make() };
    return made.value;
  };
}

type Checked = Omit<ModemPlaneOptions, 'slots' | 'runIp' | 'profiles'> & {
  slots: SlotConfig[];
  runIp: RunIp;
  profiles: () => readonly Profile[];
};

class Plane implements RotatingModemPlane {
  readonly #options: Checked;
  readonly #journal: NetworkJournal;
  #supervisors: SlotSupervisor[];
  /** Slots of the sources that have nothing to bring up now, with the reason. */
  readonly #gone = new Map<number, string>();
  /** Which source a slot that is not configured came from. */
  readonly #origins = new Map<number, SlotSource>();
  /** `key` is what of the carrier it was made of. */
  readonly #networks = new Map<number, SlotNetwork & { key: string }>();
  readonly rotations: RotationOffice;
  readonly #ladders = {
    hilink: rotationLadder('hilink'),
    at: rotationLadder('at'),
    mbim: rotationLadder('mbim'),
  };
  readonly #rungs = recoveryLadder(() => this.#options.profiles());
  readonly #record: RecoveryRecord;
  readonly #pins: PinKeeper;
  readonly #dataUse: DataUse;
  #traffic: Timer | undefined;
  #countingTraffic = false;
  #speedTesting = false;
  readonly #abort = new AbortController();
  #listeners: (() => void)[] = [];
  #repair: Timer | undefined;
  #repairing: Promise<void> = Promise.resolve();
  #mayChange = false;
  #closed = false;

  constructor(options: Checked) {
    this.#options = options;
    this.#journal = new NetworkJournal({ dataDir: options.dataDir, runIp: options.runIp });
    this.rotations = new RotationOffice({
      dataDir: options.dataDir,
      clock: options.clock,
      now: options.now ?? options.clock.now,
      random: options.random ?? Math.random,
      log: options.log.child('rotations'),
      perform: (slot, request) => this.#rotate(slot, request),
    });
    const { dataDir, clock, log } = options;
    const kept = { dataDir, clock, log, now: options.now ?? clock.now };
    this.#record = new RecoveryRecord(kept);
    this.#pins = new PinKeeper(kept);
    this.#dataUse = new DataUse(kept);
    this.#supervisors = options.slots.map(config => this.#supervise(config));
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
        for (const listener of this.#listeners) listener();
      },
      onBearer: () => this.#after(() => this.#keepNetworks()),
      metered: metered ?? false,
      sims: { settings: sims ?? [], pins: this.#pins, dataUse: this.#dataUse },
      recovery: this.#recoveryOf(() => supervisor),
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

  #recoveryOf(supervisor: () => SlotSupervisor): SupervisorOptions['recovery'] {
    const { recovery, clock, now = clock.now, sources = [] } = this.#options;
    const others = () => this.#supervisors.filter(one => one !== supervisor());
    return {
      now,
      record: this.#record,
      ladder: identity => this.#rungs(supervisor().config.api.kind, identity),
      cycleUsb: ({ usbPath }) => {
        const cycle = recovery?.cycleUsb;
        if (cycle === undefined || !USB_PATH.test(usbPath)) return null;
        return way => cycle(usbPath, { way, cutNeighbours: recovery?.cutNeighbours ?? false });
      },
      rebootHost: async () => recovery?.rebootHost?.(),
      mayReboot: recovery?.rebootHost !== undefined,
      neighbours: () => ({
        carrying: others().filter(one => one.carries()).length,
        silent: others().filter(one => one.isSilent()).length,
      }),
      suspectOthers: () => {
        for (const one of others()) one.suspect();
      },
      conflicts: async () => {
        const found = await Promise.all(sources.map(source => source.conflicts?.() ?? []));
        return found.flat().filter(one => one.usbPath === supervisor().config.usbPath);
      },
    };
  }

  /** Changes of the network, one after the other. */
  #after(work: () => Promise<void>): void {
    this.#repairing = this.#repairing.then(work);
  }

  async start(): Promise<void> {
    const { clock, log } = this.#options;
    this.#mayChange = canChangeNetwork();
    if (this.#mayChange) {
      const removed = await this.#journal.recover();
      if (removed > 0) log.warn('removed what a crash left in the network', { items: removed });
    }
    for (const source of this.#options.sources ?? []) {
      await source.start();
      await this.#follow(source);
      source.onChange(() => {
        this.#after(() => this.#follow(source));
        this.#after(() => this.#keepNetworks());
      });
    }
    this.#after(() => this.#keepNetworks());
    await this.#repairing;
    this.#repair = clock.every(REPAIR_EVERY_MS, () => this.#after(() => this.#keepNetworks()));
    if (this.#options.traffic) this.#traffic = clock.every(TRAFFIC_EVERY_MS, () => void this.#countTraffic());
    const begun = clock.monotonicMs();
    while (!this.#closed && !this.#supervisors.every(one => one.settled())) {
      if (clock.monotonicMs() - begun > START_DEADLINE_MS) break;
      await sleep(clock, START_CHECK_MS);
    }
  }

  egresses() {
    return this.#supervisors.map(one => one.egress());
  }

  slots() {
    return this.#supervisors.map(one => one.report());
  }

  health() {
    return {
      slots: this.#supervisors.map(one => ({ slot: one.config.slot, ...one.health() })),
      rungs: this.#record.figures(),
    };
  }

  async speedTest(slot: number, maxBytes: number): Promise<SpeedTestResult> {
    const { clock, speedTest: urls } = this.#options;
    const refuse = (code: string, sentence: string) => new CodedError(`speedtest/${code}`, sentence);
    if (urls === undefined)
      throw refuse(
        'no-servers',
        'the configuration of the agent names no "speedTest": set "downUrl" to an address that gives {bytes} bytes',
      );
    const egress = this.egresses().find(one => one.slot === slot);
    if (!egress) throw refuse('no-slot', `there is no slot ${slot} on this node`);
    if (!egress.ready || egress.sourceAddress === null) {
      const report = this.slots().find(one => one.slot === slot);
      throw refuse(
        'not-ready',
        `slot ${slot} is ${report?.state}${report?.reason ? `: ${report.reason}` : ''}`,
      );
    }
    // Two at once would measure each other.
    if (this.#speedTesting)
      throw refuse('busy', 'a speed test is under way on this node; try again in a minute');
    this.#speedTesting = true;
    try {
      const { sourceAddress: localAddress, dnsServers } = egress;
      return await speedTest({
        ...urls,
        maxBytes,
        localAddress,
        dnsServers,
        clock,
        signal: this.#abort.signal,
      });
    } finally {
      this.#speedTesting = false;
    }
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
    await Promise.all(this.#supervisors.map(one => one.close()));
    await this.rotations.close();
    for (const source of this.#options.sources ?? []) await source.close();
    await this.#repairing;
    if (this.#mayChange) await this.#journal.removeAll();
    await Promise.all([this.#record.close(), this.#pins.close(), this.#dataUse.close()]);
  }

  async #countTraffic(): Promise<void> {
    const { traffic, log } = this.#options;
    if (traffic === undefined || this.#countingTraffic) return;
    this.#countingTraffic = true;
    try {
      for (const one of await traffic())
        this.#supervisors.find(supervisor => supervisor.config.slot === one.slot)?.noteTraffic(one);
    } catch (error) {
      log.warn('the data plane does not tell its traffic', { error });
    } finally {
      this.#countingTraffic = false;
    }
  }

  async #rotate(slot: number, { askedFor, deadlineMs }: RotationRequest): Promise<RotationReport> {
    const supervisor = this.#supervisors.find(one => one.config.slot === slot);
    if (supervisor && !this.#closed) return supervisor.rotate(askedFor, deadlineMs);
    const reason = supervisor ? 'the agent is stopping' : `there is no slot ${slot} on this node`;
    return { slot, askedFor, carrier: null, kind: 'unavailable', reason, retryAfterMs: null };
  }

  /** Takes up what a source has now: a slot that is reached another way begins anew. Never rejects. */
  async #follow(source: SlotSource): Promise<void> {
    if (this.#closed) return;
    const wanted = source.slots().filter(config => this.#mayHave(source, config));
    let changed = false;
    for (const one of [...this.#supervisors]) {
      const { config } = one;
      if (this.#origins.get(config.slot) !== source || wanted.some(({ slot }) => slot === config.slot))
        continue;
      const why = source.whyAbsent(config);
      if (why !== null) {
        this.#gone.set(config.slot, why);
        continue;
      }
      await this.#release(one);
      this.#supervisors = this.#supervisors.filter(other => other !== one);
      this.#origins.delete(config.slot);
      this.#gone.delete(config.slot);
      changed = true;
    }
    for (const config of wanted) {
      this.#gone.delete(config.slot);
      const before = this.#supervisors.find(one => one.config.slot === config.slot);
      if (before && JSON.stringify(before.config) === JSON.stringify(config)) continue;
      if (before) {
        await this.#takeDown(config.slot);
        before.reconfigure(config);
      } else this.#supervisors = [...this.#supervisors, this.#supervise(config, source)];
      this.#origins.set(config.slot, source);
      changed = true;
    }
    if (changed) for (const listener of this.#listeners) listener();
  }

  /** A number that is given out already is not given out again. */
  #mayHave(source: SlotSource, { slot }: SlotConfig): boolean {
    const configured = this.#options.slots.some(config => config.slot === slot);
    const owner = this.#origins.get(slot);
    return !configured && (owner === undefined || owner === source);
  }

  /** The link stays up: its name may be another slot's by now. */
  async #release(supervisor: SlotSupervisor): Promise<void> {
    await supervisor.close();
    await this.#takeDown(supervisor.config.slot);
  }

  /** What a slot has in the network, but for its link. Never rejects. */
  async #takeDown(slot: number): Promise<void> {
    const network = this.#networks.get(slot);
    this.#networks.delete(slot);
    try {
      if (network) await this.#journal.remove(network.items.filter(item => item.kind !== 'link-up'));
    } catch (error) {
      // They stay in the journal, and are taken down at the end.
      this.#options.log.warn('what a slot had in the network stays for now', { slot, error });
    }
  }

  /** Sets up what is not, repairs what was lost, notices what went away. Never rejects: each slot gets its reason. */
  async #keepNetworks(): Promise<void> {
    for (const one of this.#supervisors) {
      const reason = this.#gone.get(one.config.slot);
      if (reason !== undefined) one.setNetwork({ kind: 'absent', reason, ...this.#whyGone(one.config) });
    }
    const interfaces = this.#supervisors.filter(
      one => 'interface' in one.config && !this.#gone.has(one.config.slot),
    );
    for (const one of this.#supervisors)
      if ('sourceAddress' in one.config && !this.#gone.has(one.config.slot))
        this.#useAddress(one, one.config);
    if (interfaces.length === 0) return;
    if (!this.#mayChange) {
      for (const one of interfaces) this.#useExisting(one, one.config as InterfaceSlot);
      return;
    }
    try {
      const survey = await surveyNetwork(this.#options.runIp);
      for (const one of interfaces) {
        if (this.#closed) return;
        await this.#keepSlot(one, one.config as InterfaceSlot, survey);
      }
    } catch (error) {
      this.#options.log.error('the network cannot be looked at', { error });
      for (const one of interfaces) one.setNetwork({ kind: 'failed', reason: reasonOf(error) });
    }
  }

  /** Gone alone, or with everything else on its hub; no cause where it is there and merely cannot be used. */
  #whyGone({ usbPath, slot }: SlotConfig): { cause?: ModemCause } {
    const isThere = this.#options.sources?.some(source => source.isPluggedIn?.(usbPath)) ?? false;
    if (!USB_PATH.test(usbPath) || isThere) return {};
    const { hub } = parentOf(usbPath);
    const mates = this.#supervisors.filter(
      ({ config }) =>
        config.slot !== slot && USB_PATH.test(config.usbPath) && parentOf(config.usbPath).hub === hub,
    );
    const allGone = mates.length > 0 && mates.every(({ config }) => this.#gone.has(config.slot));
    return { cause: allGone ? 'hub-power' : 'usb-gone' };
  }

  async #keepSlot(
    supervisor: SlotSupervisor,
    slot: InterfaceSlot,
    survey: Awaited<ReturnType<typeof surveyNetwork>>,
  ): Promise<void> {
    const { runIp: run, clock, log } = this.#options;
    if (!survey.links.has(slot.interface)) {
      const reason = `there is no interface ${slot.interface}`;
      supervisor.setNetwork({ kind: 'absent', reason, ...this.#whyGone(slot) });
      return;
    }
    try {
      const carrier = routerOf(slot) === null ? carrierAddressOf(supervisor.bearer) : null;
      const key = JSON.stringify(carrier);
      let network = this.#networks.get(slot.slot);
      if (network && network.key !== key) {
        // The carrier gave another address, or none: what was made of the old one goes first.
        supervisor.setNetwork({ kind: 'linked', problem: '' });
        await this.#takeDown(slot.slot);
        network = undefined;
      }
      if (routerOf(slot) === null && carrier === null) {
        supervisor.setNetwork({ kind: 'linked', problem: '' });
        return;
      }
      if (!network) {
        const made = await setUpSlot(slot, { runIp: run, journal: this.#journal, clock, carrier });
        network = { ...made, key };
        this.#networks.set(slot.slot, network);
        log.info('slot network', {
          slot: slot.slot,
          interface: slot.interface,
          address: network.sourceAddress,
        });
      } else {
        const made = await repairSlot(network, survey, run);
        if (made > 0) log.warn('slot network repaired', { slot: slot.slot, items: made });
      }
      supervisor.setNetwork({ kind: 'up', sourceAddress: network.sourceAddress, note: '' });
    } catch (error) {
      // Unplugged between the look and the change: the next look says so.
      log.warn('slot network failed', { slot: slot.slot, error });
      const reason = reasonOf(error);
      // Its port is there all the same: the modem is looked after, and the next connection may bring another address.
      supervisor.setNetwork(
        routerOf(slot) === null ? { kind: 'linked', problem: reason } : { kind: 'failed', reason },
      );
    }
  }

  #useAddress(supervisor: SlotSupervisor, slot: AddressSlot): void {
    supervisor.setNetwork({ kind: 'up', sourceAddress: slot.sourceAddress, note: '' });
  }

  /** Without CAP_NET_ADMIN: whatever the system has set up. */
  #useExisting(supervisor: SlotSupervisor, slot: InterfaceSlot): void {
    const address = existingAddress(slot.interface);
    if (address === undefined) {
      const there = slot.interface in networkInterfaces();
      supervisor.setNetwork(
        there
          ? {
              kind: 'failed',
              reason: `${slot.interface} has no IPv4 address and the agent lacks CAP_NET_ADMIN to give it one`,
            }
          : {
              kind: 'absent',
              reason: `there is no interface ${slot.interface} that is up, and the agent lacks CAP_NET_ADMIN`,
            },
      );
      return;
    }
    const rival = this.#supervisors.find(
      one =>
        one !== supervisor && 'interface' in one.config && existingAddress(one.config.interface) === address,
    );
    supervisor.setNetwork(
      rival
        ? {
            kind: 'failed',
            reason: `${address} is also the address of slot ${rival.config.slot}; the agent needs CAP_NET_ADMIN to tell them apart`,
          }
        : {
            kind: 'up',
            sourceAddress: address,
            note: `uses the address that ${slot.interface} has: no CAP_NET_ADMIN to set up its own`,
          },
    );
  }
}

function reasonOf(error: unknown): string {
  return error instanceof CodedError ? `${error.userMessage} (${codeOf(error)})` : messageOf(error);
}
