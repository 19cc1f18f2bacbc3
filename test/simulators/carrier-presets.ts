/** Carriers by name, for people: what `virtual add --carrier` understands. Each is only a setting of the carrier's knobs. */
import type { VirtualCarrier } from './carrier';

type Knobs = Parameters<VirtualCarrier['set']>[0];

export interface CarrierPreset {
  /** For people. */
  summary: string;
  knobs: Knobs;
}

export const CARRIERS = {
  fair: { summary: 'another address with each connection', knobs: {} },
  sticky: { summary: 'the same address with each connection, for good', knobs: { sticky: true } },
  lingering: {
    summary: 'the same address for whoever is back within 10 s',
    knobs: { holdsAddressMs: 10_000 },
  },
  slow: {
    summary: 'takes 20 s to register and 8 s to connect',
    knobs: { registrationDelayMs: 20_000, connectDelayMs: 8000 },
  },
} as const satisfies Record<string, CarrierPreset>;

export type CarrierName = keyof typeof CARRIERS;
export const CARRIER_NAMES = Object.keys(CARRIERS) as [CarrierName, ...CarrierName[]];
