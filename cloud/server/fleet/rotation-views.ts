/** What screens, links and programs are told of rotations. Plain JSON; instants are epoch milliseconds. */

import type { ModemState } from '@mastline/shared/domain/modem';
import type { RotationOutcome, RotationSchedule } from '@mastline/shared/domain/rotation';

export interface RotationView {
  id: string;
  slot: number;
  /** `user`, `link`, `schedule`, `local` (on the box), `credential`. */
  askedFor: string;
  askedAt: number;
  /** Null while it is under way. */
  endedAt: number | null;
  /** Only `rotated` means that the outside sees another address; `unanswered`: the node never said. Null: under way. */
  outcome: RotationOutcome | 'unanswered' | null;
  /** Why it is not `rotated`, for people. */
  reason: string;
  method: string | null;
  oldAddress: string | null;
  newAddress: string | null;
  tookMs: number | null;
  attempts: number | null;
  carrier: string | null;
  retryAfterMs: number | null;
}

export interface RotationLinkView {
  id: string;
  name: string;
  createdAt: number;
  lastUsedAt: number | null;
}

/** How well a method works on this modem, from the rotations that are kept. */
export interface RotationMethodView {
  method: string;
  carrier: string | null;
  tries: number;
  rotated: number;
  collisions: number;
  /** Milliseconds of those that worked; null without any. */
  p50Ms: number | null;
  p95Ms: number | null;
}

export interface ModemDetailView {
  slotId: string;
  nodeName: string;
  nodeOnline: boolean;
  slot: number;
  model: string | null;
  virtual: boolean;
  state: ModemState;
  reason: string;
  exitAddress: string | null;
  /** Of IPv6, beside it. */
  exitAddress6: string | null;
  lastSeenAt: number;
  schedule: RotationSchedule | null;
  /** Newest first. */
  rotations: RotationView[];
  methods: RotationMethodView[];
}
