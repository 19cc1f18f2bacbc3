/** Every message the cloud sends, as a schema. Order of a session: `welcome` answers `hello`, then anything. */
import { z } from 'zod';
import { SignedState } from '../domain/desired-state';
import { EventStream } from '../domain/node-event';
import { QuotaGrant } from '../domain/quota';
import { Count } from '../domain/usage';
import { MAX_EVENT_PAUSE_MS, MAX_KINDS, MAX_LEASES, MAX_ROTATIONS } from './limits';

export const downlink = {
  welcome: z.looseObject({
    /** The cloud's clock, epoch milliseconds: nodes correct theirs by it. */
    now: z.int(),
    /** Highest sequence of the announced epoch that is in the ledger; 0 for none. */
    mark: Count,
    /** How often to send live reports; 0 for never (metered link, nobody looks). */
    liveReportMs: z.int().min(0),
    /**
     * How long the cloud bears silence in this session: `silenceLimitOf` of the hello's interval, where it grants it.
     * Missing: SILENCE_LIMIT_MS, and the agent pings accordingly whatever it wished.
     */
    silenceLimitMs: z.int().min(1_000).optional(),
    /** Kinds beyond those of the first protocol that the cloud takes; an agent keeps the others to itself. */
    takes: z.array(z.string().max(64)).max(MAX_KINDS).optional(),
  }),

  /** Everything up to `mark` of `epoch` is in the ledger: forget it. */
  'usage-ack': z.looseObject({ epoch: z.uuid(), mark: Count }),

  /** A gap: send again from `expected`. Nothing of the batch was stored. */
  'usage-refused': z.looseObject({
    epoch: z.uuid(),
    expected: z.int().min(1),
    code: z.string().max(64),
    message: z.string().max(500),
  }),

  'desired-state': SignedState,

  pong: z.looseObject({ at: z.int(), now: z.int() }),

  /**
   * Give the modem in a slot another address; a `rotation-report` with this id answers. The same id again is answered,
   * not done again. To agents that take it.
   */
  rotate: z.looseObject({
    id: z.uuid(),
    slot: z.int().min(0).max(65_535),
    /** For the node's history: `user`, `link`. */
    askedFor: z.string().max(120),
    /** To be over by then, but for the way back; counted from when it comes. */
    deadlineMs: z.int().min(1_000).max(600_000),
  }),

  /** These rotations are written down: tell them no more. To agents that take it. */
  'rotations-noted': z.looseObject({ ids: z.array(z.uuid()).max(MAX_ROTATIONS) }),

  /** Answers the `quota-report` of this session with the same `ask`. Leases that nobody knows are left out. */
  'quota-grant': z.looseObject({
    ask: Count,
    epoch: z.uuid(),
    leases: z.array(QuotaGrant).max(MAX_LEASES),
  }),

  /** Report these now, and keep no more than is being used: others want it, or there is more. To agents that take it. */
  'quota-call': z.looseObject({ credentialIds: z.array(z.uuid()).min(1).max(MAX_LEASES) }),

  /** The `reconcile-report` of this session with the same `ask` is written down. To agents that take it. */
  'reconcile-noted': z.looseObject({ ask: Count }),

  /** Everything of this stream up to `mark` is kept, or never will be: forget it. To agents that take it. */
  'event-ack': z.looseObject({ epoch: z.uuid(), stream: EventStream, mark: Count }),

  /** Nothing of the batch was kept; send it again after so long. To agents that take it. */
  'event-refused': z.looseObject({
    epoch: z.uuid(),
    stream: EventStream,
    code: z.string().max(64),
    message: z.string().max(500),
    retryAfterMs: z.int().min(0).max(MAX_EVENT_PAUSE_MS),
  }),

  /** The cloud will stop: come back after `afterMs` (spread by the cloud), to whichever process answers. */
  'move-away': z.looseObject({ afterMs: z.int().min(0).max(600_000) }),
} as const;

export type DownlinkKind = keyof typeof downlink;
export type DownlinkBody<K extends DownlinkKind> = z.infer<(typeof downlink)[K]>;
export type Downlink = {
  [K in DownlinkKind]: { kind: K; body: DownlinkBody<K> };
}[DownlinkKind];
