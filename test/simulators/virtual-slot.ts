/** One virtual slot as both kinds of network build it: a carrier, a stick, and what the agent is told of them. */
import type { SlotConfig } from '@mastline/agent/modem-plane/slot-config';
import type { VirtualCarrier } from './carrier';
import type { HilinkModem } from './hilink-modem';
import type { Internet } from './internet';

export interface VirtualSlot {
  slot: number;
  config: SlotConfig;
  carrier: VirtualCarrier;
  modem: HilinkModem;
}

/** A running virtual network, whatever it is made of. */
export interface VirtualNetwork {
  slots: VirtualSlot[];
  internet: Internet;
  echoUrls: string[];
  /** Removes everything that was made. */
  close(): Promise<void>;
}

export interface NetworkOptions {
  instance: number;
  modems: number;
  /** The simulators' main program. */
  program: string;
  /** Called when a part breaks down by itself. */
  onFailure: (error: unknown) => void;
  registrationDelayMs: number;
  connectDelayMs: number;
}

/** Addresses of one modem's pool; ten of them fit each of 24 modems into one /24. */
export const POOL_SIZE = 10;
export const MAX_MODEMS = 24;
