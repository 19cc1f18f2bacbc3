/** What a role may do: one table, pure. Which role a person has is the membership's to say. */
import type { Role } from './viewer';

export type Permission =
  | 'usage:read'
  | 'endpoint:read'
  | 'credential:read'
  | 'credential:reveal'
  | 'credential:write'
  | 'endpoint:write'
  | 'node:read'
  | 'node:write';

const EVERYTHING: readonly Permission[] = [
  'usage:read',
  'endpoint:read',
  'credential:read',
  'credential:reveal',
  'credential:write',
  'endpoint:write',
  'node:read',
  'node:write',
];
const READING: readonly Permission[] = ['usage:read', 'endpoint:read', 'credential:read', 'node:read'];

const GRANTS: Record<Role, readonly Permission[]> = {
  owner: EVERYTHING,
  admin: EVERYTHING,
  member: READING,
  viewer: READING,
  billing: ['usage:read'],
  fleet: [...READING, 'node:write'],
  support: READING,
};

export function isPermitted(role: Role, permission: Permission): boolean {
  return GRANTS[role].includes(permission);
}
