/** What the control thread and a lane in a worker say to each other. Both ends are built from the same sources. */
import type { LogFields, LogLevel } from '../observe/log';
import type { LaneNotes, RotateOutcome, ServicePlan, UsageDelta } from '../ports';
import type { LaneReport } from './lane';
import type { Limits } from './limits';
import type { SharedMemory } from './shared-memory';

/** Handed over at the start. */
export interface LaneSetup {
  limits: Limits;
  memory: SharedMemory;
  /** Whether flows are remembered. */
  notes: boolean;
}

/** Answered by the message of the same `id`. */
export type LaneRequest =
  | { kind: 'adopt'; plan: ServicePlan }
  /** `ports`: descriptors of the first lane's listening sockets, by endpoint. */
  | { kind: 'open'; plan: ServicePlan; ports: [endpointId: string, fd: number][] }
  | { kind: 'report' }
  | { kind: 'close'; graceMs: number };

export type ToLane =
  | { kind: 'request'; id: number; request: LaneRequest }
  | { kind: 'released'; slots: number[] }
  /** Answers `rotate`. */
  | { kind: 'rotated'; id: number; outcome: RotateOutcome };

export type FromLane =
  | { kind: 'answer'; id: number; report: LaneReport }
  | { kind: 'failed'; id: number; code: string; message: string; userMessage: string }
  | { kind: 'deltas'; deltas: UsageDelta[] }
  | { kind: 'notes'; notes: LaneNotes }
  | { kind: 'rotate'; id: number; request: { slot: number; credentialId: string } }
  | { kind: 'log'; level: LogLevel; part: string[]; message: string; fields: LogFields };
