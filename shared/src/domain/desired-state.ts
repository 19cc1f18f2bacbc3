/**
 * Everything a node should be, as one value with a revision. The cloud signs the exact bytes of its JSON text; the
 * agent verifies those bytes, keeps them on disk as they came, and reports the hash it runs. Unknown fields survive.
 */
import { z } from 'zod';
import { Credential, Endpoint } from './endpoint';
import { FlowLimits } from './flow-limits';
import { SlotSchedule } from './rotation';

export const MAX_SHIPPED_PROFILES = 64;

/** What all flows through one slot may use together, whoever they belong to. */
export const SlotLimits = z.looseObject({
  slot: z.int().min(0).max(65_535),
  limits: FlowLimits,
});
export type SlotLimits = z.infer<typeof SlotLimits>;

export const DesiredState = z.looseObject({
  format: z.literal(1),
  nodeId: z.string().min(1).max(64),
  /** Grows by one with each change; an agent refuses one that is lower than what it runs. */
  revision: z.int().min(1),
  /** UTC epoch milliseconds. */
  issuedAt: z.int().min(0),
  /** How long a node may serve without hearing from the cloud, in seconds (default 72 h). */
  leaseSeconds: z.int().min(60),
  endpoints: z.array(Endpoint).max(4096),
  credentials: z.array(Credential).max(65_536),
  /** Slots that get another address by themselves. Missing: as the node's own configuration says. */
  rotations: z.array(SlotSchedule).max(256).optional(),
  /**
   * Firmware profiles beside, or instead of, those that the agent came with. Each is parsed on its own
   * (shared/src/profile/schema.ts): one that an agent does not understand costs it that one only.
   */
  profiles: z
    .array(z.looseObject({ id: z.string().min(1).max(128) }))
    .max(MAX_SHIPPED_PROFILES)
    .optional(),
  /** Of slots that have limits. */
  slotLimits: z.array(SlotLimits).max(4096).optional(),
});
export type DesiredState = z.infer<typeof DesiredState>;

/** A desired state as it travels and as it lies on disk. `payload` is the exact text that was signed. */
export const SignedState = z.looseObject({
  revision: z.int().min(1),
  /** SHA-256 of the payload's UTF-8 bytes, hex. */
  hash: z.string().regex(/^[0-9a-f]{64}$/),
  keyId: z.string().min(1).max(64),
  /** Ed25519 over the payload's UTF-8 bytes, base64. */
  signature: z.base64().max(128),
  payload: z.string().max(3_000_000),
});
export type SignedState = z.infer<typeof SignedState>;

export const DEFAULT_LEASE_SECONDS = 72 * 3600;
