/**
 * Branded identifiers. Outside of the usage tables everything is named by a UUIDv7 (RFC 9562 section 5.7), which
 * sorts by creation time; the brand keeps a node id from being passed where a credential id is meant.
 */
import { randomBytes } from 'node:crypto';
import { z } from 'zod';

const id = <Brand extends string>() => z.uuid().brand<Brand>();

export const OrganizationId = id<'OrganizationId'>();
export type OrganizationId = z.infer<typeof OrganizationId>;
export const UserId = id<'UserId'>();
export type UserId = z.infer<typeof UserId>;
export const NodeId = id<'NodeId'>();
export type NodeId = z.infer<typeof NodeId>;
export const EndpointId = id<'EndpointId'>();
export type EndpointId = z.infer<typeof EndpointId>;
export const CredentialId = id<'CredentialId'>();
export type CredentialId = z.infer<typeof CredentialId>;

/** A new UUIDv7: 48 bits of epoch milliseconds, then 74 random bits. */
export function uuidv7(nowMs: number = Date.now()): string {
  const bytes = randomBytes(16);
  bytes.writeUIntBE(nowMs, 0, 6);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x70, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}
