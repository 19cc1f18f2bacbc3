/**
 * What every frame on the link looks like: one JSON object in one text frame.
 *
 *   { "v": 1, "kind": "usage-batch", "body": { … } }
 *
 * `kind` decides the schema of `body` (uplink.ts, downlink.ts). A kind that the receiver does not know is not an
 * error: it is handed up as it came, so that an old agent lives with a new cloud.
 */
import { z } from 'zod';

export const Envelope = z.looseObject({
  v: z.int().min(1).max(1_000_000),
  kind: z.string().min(1).max(64),
  body: z.unknown(),
});
export type Envelope = z.infer<typeof Envelope>;
