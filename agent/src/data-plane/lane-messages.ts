/** What the control thread and a lane in a worker say to each other. Both ends are built from the same sources. */
import type { AddressRange } from '@mastline/shared/domain/ip-range';
import type { LogFields, LogLevel } from '../observe/log';
import type { LaneNotes, ListenerOutcome, RotateOutcome, ServicePlan, UsageDelta } from '../ports';
import type { LaneReport } from './lane';
import type { Limits } from './limits';
import type { SharedMemory } from './shared-memory';

/** Handed over at the start. */
export interface LaneSetup {
  limits: Limits;
  memory: SharedMemory;
  /** See LaneOptions. */
  first: boolean;
  /** Whether flows are remembered. */
  notes: boolean;
}

/** An endpoint's listening socket, by its descriptor in this process. */
export type OpenPort = [endpointId: string, fd: number];

/** What came of opening a plan's ports, and all that the lane has open now. */
export interface OpenedPorts {
  outcomes: ListenerOutcome[];
  ports: OpenPort[];
}

export interface LaneAnswer {
  report: LaneReport;
  /** Of `open`. */
  opened: OpenedPorts | null;
}

/** Answered by the message of the same `id`. */
export type LaneRequest =
  | { kind: 'adopt'; plan: ServicePlan }
  /** `ports`: what to listen on duplicates of; null asks the first lane, which opens ports itself. */
  | { kind: 'open'; plan: ServicePlan; ports: OpenPort[] | null }
  | { kind: 'report' }
  | { kind: 'close'; graceMs: number };

export type ToLane =
  | { kind: 'request'; id: number; request: LaneRequest }
  | { kind: 'released'; slots: readonly number[] }
  | { kind: 'host-changed'; hostRanges: readonly AddressRange[] }
  /** Answers `rotate`. */
  | { kind: 'rotated'; id: number; outcome: RotateOutcome };

export type FromLane =
  | { kind: 'answer'; id: number; answer: LaneAnswer }
  | { kind: 'failed'; id: number; code: string; message: string; userMessage: string }
  | { kind: 'deltas'; deltas: UsageDelta[] }
  | { kind: 'notes'; notes: LaneNotes }
  | { kind: 'rotate'; id: number; request: { slot: number; credentialId: string } }
  | { kind: 'log'; level: LogLevel; part: string[]; message: string; fields: LogFields };
