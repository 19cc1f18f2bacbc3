/** Every limit of the link by name. Both sides enforce them; raising one is a protocol change. */

/** Largest WebSocket message either side accepts, bytes. Past it the socket is closed with 1009. */
export const MAX_FRAME_BYTES = 4 * 1024 * 1024;
/** Most usage records in one batch. */
export const MAX_BATCH_RECORDS = 1000;
/** Usage batches sent and not yet acknowledged. */
export const MAX_BATCHES_IN_FLIGHT = 4;
/** Most fragments of one WebSocket message: neither side splits its messages, so that more is an attack. */
export const MAX_FRAGMENTS = 64;
/** Most reads that one frame may arrive in; a frame of full size comes in a few thousand. */
export const MAX_FRAME_READS = 16_384;
/** Bytes queued on a socket before its owner stops sending (WebSocket `bufferedAmount`). */
export const MAX_QUEUED_BYTES = 8 * 1024 * 1024;
/** Most slots in one report. */
export const MAX_SLOTS = 256;
/** How long a challenge nonce can be answered, milliseconds. */
export const NONCE_LIFETIME_MS = 30_000;
/** Application ping interval on an unmetered link, milliseconds. */
export const PING_INTERVAL_MS = 20_000;
/** The same on a metered link: one ping and its pong cost at least 208 bytes of somebody's SIM. */
export const METERED_PING_INTERVAL_MS = 180_000;
/** Longest interval an agent may announce in its hello, milliseconds. */
export const MAX_PING_INTERVAL_MS = 600_000;
/** A side that has heard nothing for so long gives the link up, milliseconds. */
export const SILENCE_LIMIT_MS = 50_000;
/** Most rotations in one report, and in one confirmation. */
export const MAX_ROTATIONS = 100;
/** Most quota leases in one message. */
export const MAX_LEASES = 256;
/** Most days of slots in one reconciliation report. */
export const MAX_SLOT_DAYS = 200;
/** Most events or flow summaries in one batch. */
export const MAX_BATCH_EVENTS = 500;
/** Largest event batch that an agent sends, bytes: a usage batch never waits behind more than that. */
export const MAX_EVENT_BATCH_BYTES = 64 * 1024;
/** What events and flow summaries may cost a metered link in 30 days, bytes on the wire. */
export const METERED_EVENT_BYTES = 1_000_000;
/** Longest time that a cloud may ask an agent to keep its events to itself, milliseconds. */
export const MAX_EVENT_PAUSE_MS = 3_600_000;
/** Most names in a list of kinds that a side says it takes. */
export const MAX_KINDS = 64;

/** How long either side bears silence when the agent pings every `pingIntervalMs`: two and a half pings. */
export function silenceLimitOf(pingIntervalMs: number): number {
  return (pingIntervalMs * SILENCE_LIMIT_MS) / PING_INTERVAL_MS;
}
