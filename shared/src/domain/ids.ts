/**
 * Branded identifiers. Outside of the usage tables everything is named by a UUIDv7 (RFC 9562 section 5.7), which
 * sorts by creation time (uuid.ts makes them); the brand keeps a node id from being passed where a credential id is meant.
 */
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
