/** What can befall a virtual modem, and how it ends: knobs of the virtual network (test/simulators/control.ts). */
import type { RunningNetwork } from '../support/virtual-network';

export type Kind = 'hilink' | 'at' | 'mbim';

export interface Misfortune {
  name: string;
  /** Whom it can befall. */
  kinds: readonly Kind[];
  /** While it lasts, the slot must in the end not be ready. */
  disables: boolean;
  strike(net: RunningNetwork, slot: number): Promise<unknown>;
  heal(net: RunningNetwork, slot: number): Promise<unknown>;
}

const ALL = ['hilink', 'at', 'mbim'] as const;
const ON_A_PORT = ['at', 'mbim'] as const;

export const MISFORTUNES: readonly Misfortune[] = [
  {
    name: 'unplugged',
    kinds: ON_A_PORT,
    disables: true,
    strike: (net, slot) => net.knob(slot, 'api', { mode: 'dead' }),
    heal: (net, slot) => net.knob(slot, 'api', { mode: 'up' }),
  },
  {
    name: 'hung',
    kinds: ALL,
    disables: false,
    strike: (net, slot) => net.knob(slot, 'api', { mode: 'hang' }),
    heal: (net, slot) => net.knob(slot, 'api', { mode: 'up' }),
  },
  {
    name: 'web server dead',
    kinds: ['hilink'],
    disables: false,
    strike: (net, slot) => net.knob(slot, 'api', { mode: 'dead' }),
    heal: (net, slot) => net.knob(slot, 'api', { mode: 'up' }),
  },
  {
    name: 'SIM asks for its PIN',
    kinds: ON_A_PORT,
    disables: true,
    strike: (net, slot) => net.knob(slot, 'sim', { state: 'pin' }),
    heal: (net, slot) => net.knob(slot, 'sim', { state: 'ready' }),
  },
  {
    name: 'credit ended',
    kinds: ALL,
    disables: true,
    strike: (net, slot) => net.knob(slot, 'connection', { up: false }),
    heal: (net, slot) => net.knob(slot, 'connection', { up: true }),
  },
  {
    name: 'carries nothing',
    kinds: ALL,
    disables: false,
    strike: (net, slot) => net.knob(slot, 'data', { carries: false }),
    heal: (net, slot) => net.knob(slot, 'data', { carries: true }),
  },
  {
    name: 'sticky carrier',
    kinds: ALL,
    disables: false,
    strike: (net, slot) => net.knob(slot, 'carrier', { sticky: true }),
    heal: (net, slot) => net.knob(slot, 'carrier', { sticky: false }),
  },
  {
    name: 'radio lost',
    kinds: ALL,
    disables: false,
    strike: (net, slot) => net.knob(slot, 'register', {}),
    // It looks for the network again by itself.
    heal: async () => undefined,
  },
];
