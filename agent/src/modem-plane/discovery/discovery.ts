/**
 * Finds the modems on the USB buses and keeps up with plugging and unplugging, by looking every second (sysfs cannot
 * be watched). Gives each USB path its slot number, has sticks repaired that are not usable as they come, and says
 * what each slot holds. START HERE. Driving the modems is the plane's (modem-plane.ts).
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import type { DriverKind, Profile } from '@mastline/shared/profile/schema';
import type { Log } from '../../observe/log';
import { openSerialPort } from '../transports/serial-port';
import { type Assessment, assess, type ModemIdentityFacts, type ModemPort } from './assess';
import { type Conflict, findConflicts } from './conflicts';
import { type AtPortSearch, findAtPort, type OpenPort } from './find-at-port';
import { Repairs } from './repair';
import { type RunTool, runTool } from './run-tool';
import type { SlotBook } from './slot-book';
import { type WriteAttribute, writeAttribute } from './sysfs';
import { SYSTEM_ROOTS, type SystemRoots } from './system-roots';
import { configurationsIn } from './usb-descriptors';
import { arrivals, compareUsbPaths, readDescriptors, readDevice, type UsbDevice } from './usb-tree';

/** Half of the two seconds within which a plugging must be noticed. */
export const LOOK_EVERY_MS = 1000;
/** Drivers and names come to a new device for some time: it is read anew at every look. */
export const SETTLING_MS = 15_000;
/** One that has settled is read this often, for what nobody expects. */
const READ_AGAIN_MS = 10_000;
/** Between two rounds of asking ports while a modem boots. */
const SEARCH_PAUSE_MS = 2000;
/** A hung hub can hold a read of sysfs for as long as it likes; after this it is said. */
const LOOK_PATIENCE_MS = 5000;

export type SlotCondition =
  | { kind: 'ready' }
  /** Something is being done about it. */
  | { kind: 'preparing'; reason: string; remedy: string }
  | { kind: 'unusable'; reason: string; remedy: string };

export interface DiscoveredModem {
  slot: number;
  usbPath: string;
  vendorId: string;
  productId: string;
  product: string | null;
  condition: SlotCondition;
  profileId: string | null;
  /** What spoke for the profile, and which others did as well. */
  because: string[];
  undecided: string[];
  /** Best first. */
  speaks: DriverKind[];
  ports: ModemPort[];
  /** The serial port that has answered `AT`. */
  atPort: string | null;
  /** Its network interface, and the kernel's driver of it. */
  interface: string | null;
  netDriver: string | null;
  /** It has said what it is. */
  identified: boolean;
}

export interface DiscoveryOptions {
  /** A function is asked at each look. */
  profiles: readonly Profile[] | (() => readonly Profile[]);
  book: SlotBook;
  clock: Clock;
  log: Log;
  roots?: SystemRoots;
  /** Switches sticks over; false only looks. */
  repair?: boolean;
  openPort?: OpenPort;
  write?: WriteAttribute;
  runTool?: RunTool;
}

interface Known {
  device: UsbDevice;
  descriptors: Buffer | null;
  arrivedAt: number;
  readAt: number;
  identity: ModemIdentityFacts | null;
  search: AtPortSearch | 'running' | null;
  /** Not asked again before. */
  searchFrom: number;
}

export class Discovery {
  readonly #options: Required<DiscoveryOptions>;
  readonly #repairs: Repairs;
  readonly #known = new Map<string, Known>();
  readonly #searches = new Set<Promise<void>>();
  #listeners: (() => void)[] = [];
  #modems: DiscoveredModem[] = [];
  #said = '[]';
  #timer: Timer | undefined;
  #look: Promise<void> | undefined;
  #lookBegan = 0;
  #complained = false;
  #bookProblem = '';
  #closed = false;

  constructor(options: DiscoveryOptions) {
    this.#options = {
      roots: SYSTEM_ROOTS,
      repair: true,
      openPort: openSerialPort,
      write: writeAttribute,
      runTool,
      ...options,
    };
    const { roots, clock, log, write, runTool: run } = this.#options;
    this.#repairs = new Repairs({ roots, clock, log, write, runTool: run });
  }

  /** Resolves after the first look. */
  async start(): Promise<void> {
    this.#timer = this.#options.clock.every(LOOK_EVERY_MS, () => this.#tick());
    this.#tick();
    await this.#look;
  }

  /** What is plugged in, by slot. */
  modems(): readonly DiscoveredModem[] {
    return this.#modems;
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  /** What a driver has heard from the modem, which tells models with the same USB id apart. */
  learn(usbPath: string, identity: ModemIdentityFacts): void {
    const known = this.#known.get(usbPath);
    if (!known || JSON.stringify(known.identity) === JSON.stringify(identity)) return;
    known.identity = identity;
    this.#judge();
  }

  /** Other programs that want the modems that are plugged in, as it is now. */
  conflicts(): Promise<Conflict[]> {
    return findConflicts(this.#modems, this.#options.roots);
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#listeners = [];
    this.#timer?.cancel();
    await this.#look;
    await Promise.all(this.#searches);
    await this.#repairs.close();
  }

  #tick(): void {
    const { clock, log } = this.#options;
    if (this.#look !== undefined) {
      if (clock.monotonicMs() - this.#lookBegan < LOOK_PATIENCE_MS || this.#complained) return;
      this.#complained = true;
      log.warn('sysfs does not answer: a USB device or hub hangs', { afterMs: LOOK_PATIENCE_MS });
      return;
    }
    this.#lookBegan = clock.monotonicMs();
    this.#look = this.#read()
      .then(() => {
        if (!this.#closed) this.#judge();
        this.#complained = false;
      })
      .catch(error => log.error('the USB buses cannot be looked at', { error }))
      .finally(() => {
        this.#look = undefined;
      });
  }

  /** Brings what is known up to date, reading only what may have changed. */
  async #read(): Promise<void> {
    const { roots, clock } = this.#options;
    const present = await arrivals(roots);
    for (const path of this.#known.keys()) if (!present.has(path)) this.#known.delete(path);
    const now = clock.monotonicMs();
    await Promise.all(
      [...present].map(async ([path, deviceNumber]) => {
        const before = this.#known.get(path);
        const same = before?.device.deviceNumber === deviceNumber ? before : undefined;
        const settled = same !== undefined && now - same.arrivedAt > SETTLING_MS;
        if (settled && now - same.readAt < READ_AGAIN_MS) return;
        const device = await readDevice(roots, path);
        if (device === null || device.deviceNumber !== deviceNumber) return void this.#known.delete(path);
        // Another configuration brings other interfaces, and those come one after the other again.
        const changed = same !== undefined && same.device.configuration !== device.configuration;
        if (same) {
          Object.assign(same, { device, readAt: now, ...(changed ? { arrivedAt: now, search: null } : {}) });
          return;
        }
        const descriptors = await readDescriptors(roots, path);
        this.#known.set(path, {
          device,
          descriptors,
          arrivedAt: now,
          readAt: now,
          identity: null,
          search: null,
          searchFrom: now,
        });
      }),
    );
  }

  #judge(): void {
    const modems: DiscoveredModem[] = [];
    // By path, so that a first start numbers the slots as one would count the ports.
    const inOrder = [...this.#known.values()].sort((a, b) => compareUsbPaths(a.device.path, b.device.path));
    for (const known of inOrder) {
      const { profiles: given } = this.#options;
      const profiles = typeof given === 'function' ? given() : given;
      const configurations = known.descriptors === null ? null : configurationsIn(known.descriptors);
      const { device, identity } = known;
      const verdict = assess({ device, profiles, configurations, identity });
      if (verdict.kind === 'not-a-modem') continue;
      const slot = this.#slotOf(device.path);
      if (slot !== null) modems.push(this.#describe(slot, known, verdict));
    }
    this.#modems = modems.sort((a, b) => a.slot - b.slot);
    const now = JSON.stringify(this.#modems);
    if (now === this.#said) return;
    const before = new Map((JSON.parse(this.#said) as DiscoveredModem[]).map(one => [one.usbPath, one]));
    this.#said = now;
    this.#log(before);
    for (const listener of this.#listeners) listener();
  }

  #describe(
    slot: number,
    known: Known,
    verdict: Exclude<Assessment, { kind: 'not-a-modem' }>,
  ): DiscoveredModem {
    const { device } = known;
    const modem: DiscoveredModem = {
      slot,
      usbPath: device.path,
      vendorId: device.vendorId,
      productId: device.productId,
      product: device.product,
      condition: { kind: 'ready' },
      profileId: null,
      because: [],
      undecided: [],
      speaks: [],
      ports: [],
      atPort: null,
      interface: null,
      netDriver: null,
      identified: known.identity !== null,
    };
    switch (verdict.kind) {
      case 'zero-cd':
      case 'wrong-configuration': {
        if (!this.#options.repair) {
          const reason =
            verdict.kind === 'zero-cd' ? 'the stick still shows its CD of Windows drivers' : verdict.reason;
          modem.condition = { kind: 'unusable', reason, remedy: 'The agent switches it when it runs.' };
          return modem;
        }
        const { hopeful, ...said } = this.#repairs.attend(device, verdict);
        modem.condition = { kind: hopeful ? 'preparing' : 'unusable', ...said };
        return modem;
      }
      case 'unusable':
        // Drivers come one after the other to a device that was just plugged in.
        modem.condition = {
          kind: this.#settling(known) ? 'preparing' : 'unusable',
          reason: verdict.reason,
          remedy: verdict.remedy,
        };
        return modem;
      case 'modem': {
        const { match, speaks, ports } = verdict;
        Object.assign(modem, {
          profileId: match.profile.id,
          because: match.because,
          undecided: match.undecided,
          speaks,
          ports,
          interface: ports.find(port => port.kind === 'net')?.name ?? null,
          netDriver: device.interfaces.find(one => one.nets.length > 0)?.driver ?? null,
        });
        if (speaks.includes('at')) this.#findAtPort(known, modem);
        return modem;
      }
    }
  }

  #settling(known: Known): boolean {
    return this.#options.clock.monotonicMs() - known.arrivedAt <= SETTLING_MS;
  }

  /** Asks the ports once, in the background; a modem that boots slowly is asked again until it has settled. */
  #findAtPort(known: Known, modem: DiscoveredModem): void {
    const { search } = known;
    const { roots, clock, log, openPort } = this.#options;
    if (search === null && this.#options.repair && clock.monotonicMs() >= known.searchFrom) {
      const settled = !this.#settling(known);
      known.search = 'running';
      const { device } = known;
      const work = findAtPort(modem.ports, { dev: roots.dev, open: openPort, clock })
        .then(result => {
          if (known.device.configuration !== device.configuration) return;
          known.search = result.answered !== null || settled ? result : null;
          known.searchFrom = clock.monotonicMs() + SEARCH_PAUSE_MS;
        })
        .catch(error => {
          known.search = { answered: null, problems: [messageOf(error)] };
          log.error('probing the ports broke', { usbPath: device.path, error });
        })
        .finally(() => {
          this.#searches.delete(work);
          if (!this.#closed) this.#judge();
        });
      this.#searches.add(work);
    }
    if (search !== null && search !== 'running') modem.atPort = search.answered;
    // Where AT is only a second way in, the modem serves without it.
    if (modem.atPort !== null || modem.speaks[0] !== 'at' || !this.#options.repair) return;
    modem.condition =
      search === null || search === 'running'
        ? { kind: 'preparing', reason: 'looking for the port that answers AT', remedy: '' }
        : {
            kind: 'unusable',
            reason: 'no serial port of the modem answers AT',
            remedy: search.problems[0] ?? 'Unplug the modem and plug it in again.',
          };
  }

  #slotOf(usbPath: string): number | null {
    try {
      const slot = this.#options.book.claim(usbPath);
      this.#bookProblem = '';
      return slot;
    } catch (error) {
      // Said once, not every second.
      if (this.#bookProblem !== messageOf(error))
        this.#options.log.error('a modem gets no slot', {
          usbPath,
          error,
          remedy: error instanceof CodedError ? error.userMessage : '',
        });
      this.#bookProblem = messageOf(error);
      return null;
    }
  }

  #log(before: Map<string, DiscoveredModem>): void {
    const { log } = this.#options;
    for (const { slot, usbPath, condition, profileId, interface: name, atPort } of this.#modems) {
      if (!before.has(usbPath)) log.info('modem plugged in', { slot, usbPath });
      if (JSON.stringify(before.get(usbPath)?.condition) !== JSON.stringify(condition))
        log.info('modem found', { slot, usbPath, profile: profileId, interface: name, atPort, ...condition });
    }
    for (const [usbPath, { slot }] of before)
      if (!this.#modems.some(one => one.usbPath === usbPath)) log.info('modem unplugged', { slot, usbPath });
  }
}
