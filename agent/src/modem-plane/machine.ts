/**
 * What a slot is doing, as a pure machine: (machine, event) → (machine, actions). The facts' verdict (slot-state.ts)
 * is shown while nothing is done to the modem; while something is, that is shown and no new flow may leave. A modem is
 * rotated or brought back, never both at once. Carrying the actions out is the supervisor's.
 */
import { MODEM_CAUSES, type ModemCause } from '@mastline/shared/domain/modem';
import type { SlotVerdict } from './slot-state';

export type RotationPhase = 'drain' | 'change' | 'verify' | 'roll-back';

export type Activity =
  | { kind: 'watching' }
  | { kind: 'rotating'; phase: RotationPhase; detail: string }
  | { kind: 'recovering'; cause: ModemCause; detail: string };

export interface Machine {
  activity: Activity;
  verdict: SlotVerdict;
}

export type MachineEvent =
  | { kind: 'judged'; verdict: SlotVerdict }
  | { kind: 'rotation-asked' }
  | { kind: 'rotation-phase'; phase: RotationPhase; detail: string }
  | { kind: 'rotation-ended' }
  | { kind: 'recovery-asked'; cause: ModemCause }
  | { kind: 'recovery-step'; detail: string }
  | { kind: 'recovery-ended' };

export type MachineAction =
  | { kind: 'begin-rotation' }
  | { kind: 'refuse-rotation'; reason: string }
  | { kind: 'begin-recovery' }
  | { kind: 'refuse-recovery'; reason: string };

export const FRESH: Machine = {
  activity: { kind: 'watching' },
  verdict: { state: 'probing', reason: 'its network is being set up', ready: false, cause: null },
};

const BUSY: Record<Exclude<Activity['kind'], 'watching'>, string> = {
  rotating: 'a rotation of this modem is under way',
  recovering: 'the modem is being brought back',
};

export function step(machine: Machine, event: MachineEvent): { machine: Machine; actions: MachineAction[] } {
  const { activity } = machine;
  switch (event.kind) {
    case 'judged':
      return { machine: { ...machine, verdict: event.verdict }, actions: [] };
    case 'rotation-asked': {
      if (activity.kind !== 'watching')
        return { machine, actions: [{ kind: 'refuse-rotation', reason: BUSY[activity.kind] }] };
      const { state, reason } = machine.verdict;
      if (state !== 'connected') {
        const why = `the modem is ${state}${reason === '' ? '' : ` (${reason})`}`;
        return { machine, actions: [{ kind: 'refuse-rotation', reason: why }] };
      }
      const rotating: Activity = { kind: 'rotating', phase: 'drain', detail: '' };
      return { machine: { ...machine, activity: rotating }, actions: [{ kind: 'begin-rotation' }] };
    }
    case 'rotation-phase': {
      if (activity.kind !== 'rotating') return { machine, actions: [] };
      const { phase, detail } = event;
      return { machine: { ...machine, activity: { kind: 'rotating', phase, detail } }, actions: [] };
    }
    case 'rotation-ended':
      return { machine: activity.kind === 'rotating' ? idle(machine) : machine, actions: [] };
    case 'recovery-asked': {
      if (activity.kind !== 'watching')
        return { machine, actions: [{ kind: 'refuse-recovery', reason: BUSY[activity.kind] }] };
      const recovering: Activity = { kind: 'recovering', cause: event.cause, detail: '' };
      return { machine: { ...machine, activity: recovering }, actions: [{ kind: 'begin-recovery' }] };
    }
    case 'recovery-step':
      if (activity.kind !== 'recovering') return { machine, actions: [] };
      return { machine: { ...machine, activity: { ...activity, detail: event.detail } }, actions: [] };
    case 'recovery-ended':
      return { machine: activity.kind === 'recovering' ? idle(machine) : machine, actions: [] };
  }
}

const PHASES: Record<RotationPhase, string> = {
  drain: 'waits for running flows to end',
  change: 'changes its address',
  verify: 'asks for its new address',
  'roll-back': 'reconnects after a rotation that failed',
};

/** What the world is told. */
export function shown({ activity, verdict }: Machine): SlotVerdict {
  switch (activity.kind) {
    case 'watching':
      return verdict;
    case 'rotating': {
      const reason = joined(PHASES[activity.phase], activity.detail);
      return { state: 'rotating', reason, ready: false, cause: null };
    }
    case 'recovering': {
      const { cause, detail } = activity;
      return { state: 'recovering', reason: joined(MODEM_CAUSES[cause], detail), ready: false, cause };
    }
  }
}

function idle(machine: Machine): Machine {
  return { ...machine, activity: { kind: 'watching' } };
}

function joined(...parts: string[]): string {
  return parts.filter(part => part !== '').join(': ');
}
