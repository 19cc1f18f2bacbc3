/** What screens and programs see of connections and events. Instants are epoch milliseconds, UTC. */
import type { DestinationPolicy } from '@mastline/shared/domain/flow-summary';
import type { EventSeverity } from '@mastline/shared/domain/node-event';

export interface ConnectionView {
  /** Place in the list, for what comes after it. */
  cursor: string;
  endedAt: number;
  tookMs: number;
  credentialId: string;
  credentialName: string;
  endpointName: string;
  nodeName: string;
  slot: number | null;
  slotId: string | null;
  /** Of the modem that carried it; null when it is not known. */
  model: string | null;
  protocol: string;
  /** `ok`, `cut`, or the reason of a refusal. */
  outcome: string;
  /** Refusals that it stands for. */
  times: number;
  upBytes: number;
  downBytes: number;
  host: string | null;
  address: string | null;
  port: number | null;
}

/** A flow as the host of its modem may see it: neither whose it was nor where it went. */
export interface CarriedFlowView {
  cursor: string;
  endedAt: number;
  tookMs: number;
  slot: number | null;
  protocol: string;
  outcome: string;
  times: number;
  upBytes: number;
  downBytes: number;
}

export interface ConnectionsPage {
  rows: ConnectionView[];
  /** Ask with it for what is older; null at the end. */
  next: string | null;
}

export interface EventView {
  cursor: string;
  at: number;
  /** One of NODE_EVENTS, or of a later agent. */
  kind: string;
  severity: EventSeverity;
  slot: number | null;
  source: string | null;
  times: number;
  tookMs: number | null;
  detail: string;
}

export interface EventsPage {
  rows: EventView[];
  next: string | null;
  /** What the node had no room for in the last 30 days. */
  dropped: { events: number; flows: number };
}

export interface LogSettingsView {
  connectionLogDays: number;
  eventDays: number;
  destinations: DestinationPolicy;
}

/** One flow that an exit address may have been used by. */
export interface TraceView {
  startedAt: number;
  endedAt: number;
  organizationId: string;
  organizationName: string;
  credentialId: string;
  credentialName: string;
  nodeId: string;
  nodeName: string;
  slot: number;
  protocol: string;
  outcome: string;
  upBytes: number;
  downBytes: number;
  host: string | null;
  address: string | null;
  port: number | null;
  sourcePort: number | null;
}

/** Rows of one page, and of one export. */
export const PAGE_ROWS = 50;
export const MAX_EXPORT_ROWS = 10_000;
export const MAX_TRACE_ROWS = 500;
