/**
 * What can befall a virtual modem, how it ends, and what the agent must say of it while it lasts. Played by the knobs of
 * the virtual network (test/simulators/control.ts).
 */
import type { ModemCause } from '@mastline/shared/domain/modem';
import type { RunningNetwork } from '../support/virtual-network';

export type Kind = 'hilink' | 'at' | 'mbim';
/** What the agent's configuration says of the PIN of a slot's SIM, which is 1234. */
export type PinChoice = 'right' | 'wrong' | 'none';

export interface StormModem {
  slot: number;
  /** As it is asked for of the virtual network. */
  wish: { profile: string; driver: Kind; apart?: true };
  pin: PinChoice;
}

export interface Misfortune {
  name: string;
  befalls(modem: StormModem): boolean;
  /**
   * What must be said while it lasts, after a while. `ready`: new flows are sent through it nevertheless. Null: it is no
   * lasting harm, and the modem must be well again by itself.
   */
  shows(modem: StormModem): { causes: readonly ModemCause[]; ready: boolean } | null;
  /** Only one modem at a time: what is pulled out comes back under the first number that is free. */
  alone?: boolean;
  strike(net: RunningNetwork, modem: StormModem): Promise<unknown>;
  heal(net: RunningNetwork, modem: StormModem): Promise<unknown>;
}

const onPort = ({ wish }: StormModem) => wish.driver !== 'hilink';
const everybody = () => true;

export const MISFORTUNES: readonly Misfortune[] = [
  {
    name: 'off the bus',
    befalls: onPort,
    shows: () => ({ causes: ['stick-hung', 'api-dead'], ready: false }),
    strike: (net, { slot }) => net.knob(slot, 'api', { mode: 'dead' }),
    heal: (net, { slot }) => net.knob(slot, 'api', { mode: 'up' }),
  },
  {
    name: 'pulled out',
    befalls: everybody,
    // Virtual modems that are taken away are forgotten: there is nobody of whom a cause could be told.
    shows: () => null,
    alone: true,
    strike: async (net, { slot }) => {
      const gone = await net.control('DELETE', `/modems/${slot}`);
      if (gone.faults !== 0) throw new Error(`${String(gone.faults)} requests that it did not know`);
    },
    heal: async (net, { slot, wish }) => {
      const back = await net.control('POST', '/modems', wish);
      if (back.slot !== slot) throw new Error(`it came back as slot ${String(back.slot)}`);
    },
  },
  {
    name: 'hung',
    befalls: everybody,
    shows: () => ({ causes: ['api-dead'], ready: true }),
    strike: (net, { slot }) => net.knob(slot, 'api', { mode: 'hang' }),
    heal: (net, { slot }) => net.knob(slot, 'api', { mode: 'up' }),
  },
  {
    name: 'web server dead',
    befalls: modem => !onPort(modem),
    shows: () => ({ causes: ['api-dead'], ready: true }),
    strike: (net, { slot }) => net.knob(slot, 'api', { mode: 'dead' }),
    heal: (net, { slot }) => net.knob(slot, 'api', { mode: 'up' }),
  },
  {
    name: 'wrong PIN',
    befalls: modem => onPort(modem) && modem.pin === 'wrong',
    shows: () => ({ causes: ['pin-refused'], ready: false }),
    strike: (net, { slot }) => net.knob(slot, 'sim', { state: 'pin' }),
    heal: openByPerson,
  },
  {
    name: 'PIN that nobody told',
    befalls: modem => onPort(modem) && modem.pin === 'none',
    shows: () => ({ causes: ['pin-needed'], ready: false }),
    strike: (net, { slot }) => net.knob(slot, 'sim', { state: 'pin' }),
    heal: openByPerson,
  },
  {
    name: 'PIN that the agent has',
    befalls: modem => onPort(modem) && modem.pin === 'right',
    shows: () => null,
    strike: (net, { slot }) => net.knob(slot, 'sim', { state: 'pin' }),
    heal: openByPerson,
  },
  {
    name: 'SIM pulled out',
    befalls: onPort,
    shows: () => ({ causes: ['no-sim'], ready: false }),
    strike: (net, { slot }) => net.knob(slot, 'sim', { state: 'absent' }),
    heal: (net, { slot }) => net.knob(slot, 'sim', { state: 'ready' }),
  },
  {
    name: 'contract ended',
    befalls: onPort,
    shows: () => ({ causes: ['connection-refused', 'no-data-connection'], ready: false }),
    strike: (net, { slot }) => net.knob(slot, 'connection', { up: false }),
    heal: (net, { slot }) => net.knob(slot, 'connection', { up: true }),
  },
  {
    name: 'data switched off',
    befalls: modem => !onPort(modem),
    // The agent switches it on again.
    shows: () => null,
    strike: (net, { slot }) => net.knob(slot, 'connection', { up: false }),
    heal: (net, { slot }) => net.knob(slot, 'connection', { up: true }),
  },
  {
    name: 'credit ended',
    befalls: everybody,
    shows: () => ({ causes: ['sim-out-of-credit'], ready: false }),
    strike: (net, { slot }) => net.knob(slot, 'credit', { left: false }),
    heal: (net, { slot }) => net.knob(slot, 'credit', { left: true }),
  },
  {
    name: 'carries nothing',
    befalls: everybody,
    shows: () => ({ causes: ['data-dead'], ready: false }),
    strike: (net, { slot }) => net.knob(slot, 'data', { carries: false }),
    heal: (net, { slot }) => net.knob(slot, 'data', { carries: true }),
  },
  {
    name: 'sticky carrier',
    befalls: everybody,
    shows: () => null,
    strike: (net, { slot }) => net.knob(slot, 'carrier', { sticky: true }),
    heal: (net, { slot }) => net.knob(slot, 'carrier', { sticky: false }),
  },
  {
    name: 'radio lost',
    befalls: everybody,
    shows: () => null,
    strike: (net, { slot }) => net.knob(slot, 'register', {}),
    // It looks for the network again by itself.
    heal: async () => undefined,
  },
];

/** A person opens the SIM in a phone. Before that the agent must have left at least two tries. */
async function openByPerson(net: RunningNetwork, { slot }: StormModem): Promise<void> {
  const { slots } = (await net.control('GET', '/state')) as { slots: { slot: number; pinTries: number }[] };
  const left = slots.find(one => one.slot === slot)?.pinTries;
  await net.knob(slot, 'sim', { state: 'ready' });
  if (left === undefined || left < 2) throw new Error(`the agent left ${String(left)} tries of the PIN`);
}
