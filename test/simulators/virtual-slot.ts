/** What both kinds of virtual network share: what a modem is wished to be, and what there is of it once it runs. */
import type { SlotConfig } from '@mastline/agent/modem-plane/slot-config';
import { DriverKind } from '@mastline/shared/profile/schema';
import { z } from 'zod';
import type { VirtualCarrier } from './carrier';
import { CARRIER_NAMES } from './carrier-presets';
import type { ApiMode } from './hilink-modem';
import type { Internet } from './internet';

/** Addresses of one modem's pool; ten of them fit each of 24 modems into one /24. */
export const POOL_SIZE = 10;
export const MAX_MODEMS = 24;

/** One modem as it is wished for; kept in the state directory, so that it is there again after a restart. */
export const ModemSpec = z.strictObject({
  slot: z.int().min(1).max(MAX_MODEMS),
  name: z
    .string()
    .regex(/^[a-z0-9][a-z0-9.-]{0,31}$/, 'must be up to 32 small letters, digits, dots and hyphens')
    .nullable(),
  /** Firmware profile whose model it plays. */
  profile: z.string().regex(/^[a-z0-9-]+\/[a-z0-9-]+$/, 'must be "vendor/model" of a firmware profile'),
  /** What it speaks. */
  driver: DriverKind,
  carrier: z.enum(CARRIER_NAMES),
  /** Its carrier hands out the same private addresses as that slot's; real networks only. */
  addressesOf: z.int().min(1).max(MAX_MODEMS).optional(),
  /** The agent is not told of it, as of a modem of another box; its own work on the machine is that of any other. */
  apart: z.literal(true).optional(),
  /** What its carrier gives; MBIM modems of real networks only. IPv4 when left out. */
  ipType: z.enum(['ipv4', 'ipv6', 'ipv4v6']).optional(),
});
export type ModemSpec = z.infer<typeof ModemSpec>;

export const SIM_KNOBS = ['ready', 'pin', 'absent'] as const;
export type SimKnob = (typeof SIM_KNOBS)[number];

/** A running modem, whatever it speaks. */
export interface VirtualModem {
  /** `up` answers, `hang` takes everything and says nothing, `dead` is off the bus (HiLink: its web server is). */
  mode(): ApiMode;
  setMode(mode: ApiMode): Promise<void>;
  /** Requests that it does not know. */
  faults(): readonly { method: string; path: string; why: string }[];
  registered(): boolean;
  /** Off the network, and looks for it again. */
  loseNetwork(): Promise<void>;
  /** False: no data connection, and none is given. */
  setData(up: boolean): Promise<void>;
  /** The SIM asks for its PIN, is pulled out, or is well. Throws where the simulator cannot. */
  setSim(sim: SimKnob): void;
  /** Tries of the PIN that are left; null where the simulator knows no PIN. */
  pinTries(): number | null;
  setDelays(delays: { registrationDelayMs?: number; connectDelayMs?: number }): void;
  close(): Promise<void>;
}

export interface VirtualSlot {
  slot: number;
  spec: ModemSpec;
  config: SlotConfig;
  carrier: VirtualCarrier;
  modem: VirtualModem;
}

/** A running virtual network, whatever it is made of. */
export interface VirtualNetwork {
  /** By number. */
  slots: VirtualSlot[];
  internet: Internet;
  echoUrls: string[];
  /** Builds one modem more, and powers it on. Leaves nothing behind when it fails. */
  add(spec: ModemSpec): Promise<VirtualSlot>;
  /** Takes one away as if it were pulled out, with all that it was made of. */
  remove(slot: number): Promise<void>;
  /** Removes everything that was made. */
  close(): Promise<void>;
}

export interface NetworkOptions {
  instance: number;
  modems: readonly ModemSpec[];
  /** Device files of the modems lie there. */
  stateDir: string;
  /** The simulators' main program. */
  program: string;
  /** Called when a part breaks down by itself. */
  onFailure: (error: unknown) => void;
  registrationDelayMs: number;
  connectDelayMs: number;
}
