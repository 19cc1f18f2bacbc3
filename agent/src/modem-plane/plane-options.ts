/**
 * What a modem plane is made of, and the check of it before anything is touched. The plane itself is modem-plane.ts;
 * one slot's configuration is slot-config.ts.
 */
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import type { Profile } from '@mastline/shared/profile/schema';
import { z } from 'zod';
import type { Log } from '../observe/log';
import type { SlotTraffic } from '../ports';
import type { PowerOutcome, PowerWay } from './discovery/usb-power';
import type { SpeedTestUrls } from './health/speed-test';
import type { LeakGuard } from './leak-guard';
import { ProfileShelf } from './profile-shelf';
import type { RotationTimes } from './rotation';
import type { RotationLimits } from './rotation-desk';
import { type RunIp, runIp } from './run-ip';
import type { SimSettings } from './sim-settings';
import { AddressSlot, InterfaceSlot, type SlotConfig } from './slot-config';
import { profileNamed } from './slot-driver';
import type { SlotSource } from './slot-source';

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
  /** Firmware profiles; those that come with the program when left out. A shelf's may change while the plane runs. */
  profiles?: readonly Profile[] | ProfileShelf;
  /** How `ip` is run; tests may listen in. */
  runIp?: RunIp;
  /** Without it only routing rules keep what is a slot's from leaving by another link. The plane closes it. */
  guard?: LeakGuard | undefined;
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

export type CheckedOptions = Omit<ModemPlaneOptions, 'slots' | 'runIp' | 'profiles' | 'now'> & {
  slots: SlotConfig[];
  runIp: RunIp;
  /** As they are now; read when first asked for. */
  profiles: () => readonly Profile[];
  /** Calls back with the ids of profiles that have changed. */
  onProfiles: (listener: (changed: ReadonlySet<string>) => void) => void;
  now: () => number;
};

const EchoUrls = z
  .array(z.url({ protocol: /^https?$/, error: 'must be an http:// or https:// URL' }))
  .max(16);

/** Throws `modem/config` naming the wrong field. */
export function checkOptions(options: ModemPlaneOptions): CheckedOptions {
  const slots = options.slots.map((slot, i) => parseSlot(slot, `slots[${i}]`));
  const echoUrls = parseOrExplain(EchoUrls, options.echoUrls, 'echoUrls', 'modem/config');
  for (const [i, slot] of slots.entries())
    if (slots.findIndex(other => other.slot === slot.slot) !== i)
      throw new CodedError('modem/config', `slots[${i}].slot: number ${slot.slot} is given twice`);
  const { profiles: given } = options;
  const profiles = given instanceof ProfileShelf ? () => given.all() : once(() => given ?? loadCatalogue());
  for (const [i, { api }] of slots.entries())
    if (api.kind === 'at') checkProfile(api.profile, profiles(), `slots[${i}].api.profile`);
  const now = options.now ?? options.clock.now;
  const onProfiles: CheckedOptions['onProfiles'] = listener => {
    if (given instanceof ProfileShelf) given.onChange(listener);
  };
  return { ...options, slots, echoUrls, profiles, onProfiles, runIp: options.runIp ?? runIp, now };
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
