/**
 * What happens on a node that its host, or whoever watches over customers, should be able to read later: modems that
 * change, attempts to bring them back, a disk that fails, strangers at the door. Flows are flow-summary.ts.
 */
import { z } from 'zod';
import { Count } from './usage';

/** Kinds and the words for people. Names go over the wire: only add. */
export const NODE_EVENTS = {
  'modem-state': 'Modem',
  rotation: 'Rotation',
  recovery: 'Recovery',
  spool: 'Disk',
  'login-refused': 'Log-in refused',
  'private-target': 'Private target refused',
  flood: 'Flood held off',
  'chain-failed': 'Chain failed',
} as const;
export type NodeEventKind = keyof typeof NODE_EVENTS;

/** Those that are about people, not about the box. */
export const SECURITY_EVENTS: readonly NodeEventKind[] = ['login-refused', 'private-target', 'flood'];

/** `alarm`: it does not serve, or loses something, until somebody does something. */
export const EventSeverity = z.enum(['info', 'warning', 'alarm']);
export type EventSeverity = z.infer<typeof EventSeverity>;

export const NodeEvent = z.looseObject({
  /** UTC epoch milliseconds, by the node's corrected clock; of several, the last. */
  at: z.int().min(0),
  /** One of NODE_EVENTS, or of a later version. */
  kind: z.string().regex(/^[a-z0-9-]{1,40}$/, 'must be a name such as "modem-state"'),
  severity: EventSeverity,
  slot: z.int().min(0).max(65_535).optional(),
  /** Address that it came from. */
  source: z.string().max(64).optional(),
  credentialId: z.string().min(1).max(64).optional(),
  endpointId: z.string().min(1).max(64).optional(),
  /** Occurrences that this line stands for, where they are more than one. */
  times: z.int().min(1).optional(),
  tookMs: Count.optional(),
  /** One sentence, or a piece of one. */
  detail: z.string().max(300),
});
export type NodeEvent = z.infer<typeof NodeEvent>;

/** The two streams of what a node remembers, in the order in which they are sent and the other in which they are dropped. */
export const EventStream = z.enum(['events', 'flows']);
export type EventStream = z.infer<typeof EventStream>;
