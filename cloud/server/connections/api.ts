/** Procedures about connections and events: parse, authorise, call one function. */
import { DestinationPolicy } from '@mastline/shared/domain/flow-summary';
import { EventSeverity } from '@mastline/shared/domain/node-event';
import { z } from 'zod';
import { permitted, router } from '../rpc/procedures';
import { exportConnections, isCursor, listCarried, listConnections, listEvents } from './query';
import { MAX_DAYS, MIN_DAYS } from './retention';
import { readLogSettings, setLogSettings } from './settings';
import { DEFAULT_WINDOW_MS, MAX_WINDOW_MS, trace } from './trace';
import type {
  CarriedFlowView,
  ConnectionsPage,
  ConnectionView,
  EventsPage,
  LogSettingsView,
  TraceView,
} from './views';

const Instant = z.int().min(0).max(8_640_000_000_000_000);
const After = z.string().refine(isCursor, 'must be the "next" of a page').optional();
/** Read by people beside the field. */
const days = `must be a whole number of days from ${MIN_DAYS} to ${MAX_DAYS}`;
const Days = z.int({ error: days }).min(MIN_DAYS, days).max(MAX_DAYS, days);
const Port = z.int().min(0).max(65_535);

export const ConnectionsQuery = z.object({
  /** Half-open, epoch milliseconds. */
  from: Instant.optional(),
  to: Instant.optional(),
  credentialId: z.uuid().optional(),
  slotId: z.uuid().optional(),
  /** `ok`, `cut`, `refused` for every refusal, or the reason of one. */
  outcome: z
    .string()
    .regex(/^[a-z0-9-]{1,40}$/)
    .optional(),
});

export const connectionsRouter = router({
  /** Newest first, a page at a time. */
  list: permitted('connection:read')
    .input(ConnectionsQuery.extend({ after: After }))
    .query(
      ({ ctx, input }): Promise<ConnectionsPage> => listConnections(ctx.services, ctx.viewer.active, input),
    ),
  export: permitted('connection:read')
    .input(ConnectionsQuery)
    .query(
      ({ ctx, input }): Promise<{ rows: ConnectionView[]; cut: boolean }> =>
        exportConnections(ctx.services, ctx.viewer.active, input),
    ),
  /** For the node's host. */
  carried: permitted('node:read')
    .input(z.object({ nodeId: z.uuid(), after: After }))
    .query(
      ({ ctx, input }): Promise<{ rows: CarriedFlowView[]; next: string | null }> =>
        listCarried(ctx.services, ctx.viewer.active, input),
    ),
  settings: permitted('connection:read').query(
    ({ ctx }): Promise<LogSettingsView> => readLogSettings(ctx.services, ctx.viewer.active),
  ),
  setSettings: permitted('connection:write')
    .input(z.object({ connectionLogDays: Days, eventDays: Days, destinations: DestinationPolicy }))
    .mutation(({ ctx, input }): Promise<void> => setLogSettings(ctx.services, ctx.viewer, input)),
  /** For operators: who used an exit address at a time. A mutation, for it is written down. */
  trace: permitted('connection:read')
    .input(
      z.object({
        address: z.union([z.ipv4(), z.ipv6()]),
        at: Instant,
        windowMs: z.int().min(0).max(MAX_WINDOW_MS).default(DEFAULT_WINDOW_MS),
        host: z.string().min(1).max(255).optional(),
        port: Port.optional(),
        sourcePort: Port.optional(),
      }),
    )
    .mutation(
      ({ ctx, input }): Promise<{ rows: TraceView[]; cut: boolean }> =>
        trace(ctx.services, ctx.viewer, input),
    ),
});

export const eventsRouter = router({
  /** Of one node, for its host; newest first, a page at a time. */
  list: permitted('node:read')
    .input(
      z.object({
        nodeId: z.uuid(),
        severities: z.array(EventSeverity).min(1).default(['info', 'warning', 'alarm']),
        after: After,
      }),
    )
    .query(({ ctx, input }): Promise<EventsPage> => listEvents(ctx.services, ctx.viewer.active, input)),
});
