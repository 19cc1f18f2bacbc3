/**
 * What each rung does to the modem: one function a rung, and a missing one does not compile. Only the deed; whether it
 * helped is found out by climb.ts.
 */
import { type Clock, sleep } from '@mastline/shared/base/clock';
import type { PowerOutcome, PowerWay } from '../discovery/usb-power';
import type { ModemDriver, Outcome } from '../driver';
import type { Rung } from './plan';

/** Shorter, and the network has not noticed that the modem was away. */
const RECONNECT_DWELL_MS = 2000;
const RADIO_DWELL_MS = 5000;

export interface RungTools {
  /** Null while the modem cannot be spoken to. */
  driver: () => Pick<ModemDriver, 'connect' | 'disconnect' | 'radio' | 'reset'> | null;
  /** Null where there is no USB port that could be switched (virtual modems). */
  cycleUsb: ((way: PowerWay) => Promise<PowerOutcome>) | null;
  /** Restarts the box; resolves when it has been told to. */
  rebootHost: () => Promise<void>;
  clock: Clock;
  signal: AbortSignal;
}

export type Deed =
  | { kind: 'done'; evidence: string }
  /** It cannot be done here; nothing was touched. */
  | { kind: 'impossible'; reason: string }
  | { kind: 'failed'; reason: string };

export const RUNGS: Record<Rung, (tools: RungTools) => Promise<Deed>> = {
  async reconnect({ driver, clock, signal }) {
    const modem = driver();
    if (modem === null) return NOBODY;
    const down = await modem.disconnect();
    // A modem that has no connection to end says so in many ways: only silence ends this rung.
    if (!down.ok && down.fault.kind === 'unreachable') return failed(down);
    await sleep(clock, RECONNECT_DWELL_MS, signal);
    return deedOf(await modem.connect(null), 'connected anew');
  },

  async radio({ driver, clock, signal }) {
    const modem = driver();
    if (modem === null) return NOBODY;
    const off = await modem.radio(false);
    if (!off.ok) return failed(off);
    let on: Outcome<void>;
    try {
      await sleep(clock, RADIO_DWELL_MS, signal);
    } finally {
      // Whatever happens: a radio that was switched off is switched on again.
      on = await modem.radio(true);
    }
    if (!on.ok) return failed(on);
    return deedOf(await modem.connect(null), 'radio off and on, connected anew');
  },

  async reset({ driver }) {
    const modem = driver();
    if (modem === null) return NOBODY;
    return deedOf(await modem.reset(), 'told to restart');
  },

  'usb-rebind': tools => offUsb(tools, 'authorized'),

  'port-power': tools => offUsb(tools, 'power'),

  async 'host-reboot'({ rebootHost }) {
    await rebootHost();
    return { kind: 'done', evidence: 'the box was told to restart' };
  },
};

const NOBODY: Deed = { kind: 'impossible', reason: 'the modem cannot be spoken to' };

async function offUsb({ cycleUsb }: RungTools, way: PowerWay): Promise<Deed> {
  if (cycleUsb === null) return { kind: 'impossible', reason: 'it has no USB port that could be switched' };
  const outcome = await cycleUsb(way);
  switch (outcome.kind) {
    case 'done':
      return {
        kind: 'done',
        evidence: `left USB and came back after ${Math.round(outcome.tookMs / 100) / 10} s${outcome.certain ? '' : '; whether the port lost its voltage cannot be told'}`,
      };
    case 'refused':
      return {
        kind: 'impossible',
        reason: [outcome.reason, outcome.remedy].filter(part => part !== '').join('. '),
      };
    case 'failed':
      return { kind: 'failed', reason: outcome.reason };
  }
}

function deedOf(outcome: Outcome<unknown>, evidence: string): Deed {
  return outcome.ok ? { kind: 'done', evidence } : failed(outcome);
}

function failed(outcome: Outcome<unknown> & { ok: false }): Deed {
  const { kind, message } = outcome.fault;
  return kind === 'unsupported'
    ? { kind: 'impossible', reason: message }
    : { kind: 'failed', reason: message };
}
