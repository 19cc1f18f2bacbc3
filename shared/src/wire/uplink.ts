/** Every message an agent sends, as a schema. Order of a session: `hello` first, then anything. */
import { z } from 'zod';
import { FlowSummary } from '../domain/flow-summary';
import { SlotFigures, SlotReport } from '../domain/modem';
import { EventStream, NodeEvent } from '../domain/node-event';
import { QuotaClaim } from '../domain/quota';
import { SlotDay } from '../domain/reconciliation';
import { RotationRecord } from '../domain/rotation';
import { Count, UsageRecord } from '../domain/usage';
import {
  MAX_BATCH_EVENTS,
  MAX_BATCH_RECORDS,
  MAX_KINDS,
  MAX_LEASES,
  MAX_PING_INTERVAL_MS,
  MAX_ROTATIONS,
  MAX_SLOT_DAYS,
  MAX_SLOTS,
} from './limits';

/** What the agent runs: the revision and hash it applied last; zero and null before the first. */
const Running = z.looseObject({
  revision: z.int().min(0),
  hash: z
    .string()
    .regex(/^[0-9a-f]{64}$/)
    .nullable(),
});

export const uplink = {
  hello: z.looseObject({
    agentVersion: z.string().max(40),
    /** Changes with each boot of the machine: durations within one can be compared. */
    bootId: z.string().max(64),
    /** The node's clock, epoch milliseconds. */
    now: z.int(),
    /** The spool's epoch (a UUID; new only when the spool file was lost) and the last sequence given out in it. */
    epoch: z.uuid(),
    lastSequence: Count,
    running: Running,
    /** True when the link costs SIM data: no live reports, and nothing that can wait. Missing means false. */
    metered: z.boolean().optional(),
    /** How seldom it would like to ping; it does so only when the welcome grants it. Missing: PING_INTERVAL_MS. */
    pingIntervalMs: z.int().min(1_000).max(MAX_PING_INTERVAL_MS).optional(),
    /** Kinds beyond those of the first protocol that it acts on; others need not be sent. */
    takes: z.array(z.string().max(64)).max(MAX_KINDS).optional(),
  }),

  /** Sealed usage records: consecutive sequences of one epoch. The same batch may come twice. */
  'usage-batch': z.looseObject({
    epoch: z.uuid(),
    records: z.array(UsageRecord).min(1).max(MAX_BATCH_RECORDS),
    /** The trace that the agent began for this batch (W3C Trace Context, `traceparent`); what is no such text is ignored. */
    trace: z.string().max(64).optional(),
  }),

  /** After applying, or failing to apply, a desired state. `running` says what serves now. */
  'state-report': z.looseObject({
    revision: z.int().min(1),
    outcome: z.enum(['applied', 'refused', 'failed']),
    /** Stable code and sentence when not applied, or when part of it could not be served. */
    problems: z
      .array(
        z.looseObject({
          code: z.string().max(64),
          message: z.string().max(500),
        }),
      )
      .max(64),
    running: Running,
  }),

  /** All slots of the node, on change and now and then. */
  'modem-report': z.looseObject({
    at: z.int(),
    slots: z.array(SlotReport).max(MAX_SLOTS),
  }),

  /** Figures of the moment for people who look; never the base of a bill. */
  'live-report': z.looseObject({
    at: z.int(),
    slots: z.array(SlotFigures).max(MAX_SLOTS),
  }),

  /**
   * What came of rotations, whoever asked; again until `rotations-noted`. One that was refused with `unavailable` is
   * told once, and only when the cloud had asked. To clouds that take it.
   */
  'rotation-report': z.looseObject({ rotations: z.array(RotationRecord).min(1).max(MAX_ROTATIONS) }),

  /** Where quota leases stand, what is wanted, what is given back; answered by a `quota-grant`. To clouds that take it. */
  'quota-report': z.looseObject({
    /** Grows with each report of a session. */
    ask: Count,
    epoch: z.uuid(),
    leases: z.array(QuotaClaim).min(1).max(MAX_LEASES),
  }),

  /**
   * Days of slots to be held against the ledger, each again until `reconcile-noted` after the day is over and all its
   * usage is acknowledged. To clouds that take it.
   */
  'reconcile-report': z.looseObject({
    /** Grows with each report of a session. */
    ask: Count,
    /** When it was put together, epoch milliseconds. */
    at: z.int(),
    /** The first minute with usage that the cloud has not acknowledged; null when it has all. */
    oldestPending: z.int().nullable(),
    days: z.array(SlotDay).min(1).max(MAX_SLOT_DAYS),
  }),

  /**
   * What is remembered of one stream, numbered without gaps within the batch. The same batch may come twice; numbers
   * between two batches were dropped on the node. One at a time, answered by `event-ack` or `event-refused`. To clouds
   * that take it.
   */
  'event-batch': z.looseObject({
    /** Of one run of the agent; another than that of usage. */
    epoch: z.uuid(),
    stream: EventStream,
    /** Number of the first, from 1. */
    first: z.int().min(1),
    /** What of this stream was dropped since the epoch began, for want of room. */
    droppedEvents: Count,
    /** Of the stream `events`. */
    events: z.array(NodeEvent).max(MAX_BATCH_EVENTS).optional(),
    /** Of the stream `flows`. */
    flows: z.array(FlowSummary).max(MAX_BATCH_EVENTS).optional(),
  }),

  ping: z.looseObject({ at: z.int() }),
} as const;

export type UplinkKind = keyof typeof uplink;
export type UplinkBody<K extends UplinkKind> = z.infer<(typeof uplink)[K]>;
export type Uplink = {
  [K in UplinkKind]: { kind: K; body: UplinkBody<K> };
}[UplinkKind];
