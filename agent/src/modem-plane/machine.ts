/**
 * What a slot is doing, as a pure machine: (machine, event) → (machine, actions). The facts' verdict (slot-state.ts)
 * is shown while nothing is done to the modem; while something is, that is shown and no new flow may leave. Carrying
 * the actions out is the supervisor's. Recovery is not part of it yet.
 */
import type { SlotVerdict } from './slot-state';

export type RotationPhase = 'drain' | 'change' | 'verify' | 'roll-back';

export type Activity = { kind: 'watching' } | { kind: 'rotating'; phase: RotationPhase; detail: string };

export interface Machine {
  activity: Activity;
  verdict: SlotVerdict;
}

export type MachineEvent =
  | { kind: 'judged'; verdict: SlotVerdict }
  | { kind: 'rotation-asked' }
  | { kind: 'rotation-phase'; phase: RotationPhase; detail: string }
  | { kind: 'rotation-ended' };

export type MachineAction = { kind: 'begin-rotation' } | { kind: 'refuse-rotation'; reason: string };

export const FRESH: Machine = {
  activity: { kind: 'watching' },
  verdict: { state: 'probing', reason: 'its network is being set up', ready: false },
};

export function step(machine: Machine, event: MachineEvent): { machine: Machine; actions: MachineAction[] } {
  const rotating = machine.activity.kind === 'rotating';
  switch (event.kind) {
    case 'judged':
      return { machine: { ...machine, verdict: event.verdict }, actions: [] };
    case 'rotation-asked': {
      if (rotating) return refuse(machine, 'a rotation of this modem is under way');
      const { state, reason } = machine.verdict;
      if (state !== 'connected')
        return refuse(machine, `the modem is ${state}${reason === '' ? '' : ` (${reason})`}`);
      const activity: Activity = { kind: 'rotating', phase: 'drain', detail: '' };
      return { machine: { ...machine, activity }, actions: [{ kind: 'begin-rotation' }] };
    }
    case 'rotation-phase':
      if (!rotating) return { machine, actions: [] };
      return {
        machine: { ...machine, activity: { kind: 'rotating', phase: event.phase, detail: event.detail } },
        actions: [],
      };
    case 'rotation-ended':
      return { machine: { ...machine, activity: { kind: 'watching' } }, actions: [] };
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
  if (activity.kind === 'watching') return verdict;
  const reason = [PHASES[activity.phase], activity.detail].filter(part => part !== '').join(': ');
  return { state: 'rotating', reason, ready: false };
}

function refuse(machine: Machine, reason: string): { machine: Machine; actions: MachineAction[] } {
  return { machine, actions: [{ kind: 'refuse-rotation', reason }] };
}
