/** What a role may do: one table, pure. Which role a person has is the membership's to say. */
import type { Role } from './viewer';

export type Permission =
  | 'usage:read'
  /** Who connected where. */
  | 'connection:read'
  /** How long that is kept, and what of it. */
  | 'connection:write'
  | 'endpoint:read'
  | 'credential:read'
  | 'credential:reveal'
  | 'credential:write'
  | 'endpoint:write'
  | 'node:read'
  /** How the whole installation does; operators only. */
  | 'system:read'
  | 'node:write'
  /** Give a modem another address now. */
  | 'modem:rotate'
  /** Links and schedules that do. */
  | 'modem:manage'
  /** Firmware profiles for all nodes; of operators only (fleet/profiles.ts). */
  | 'profile:manage';

const EVERYTHING: readonly Permission[] = [
  'usage:read',
  'connection:read',
  'connection:write',
  'endpoint:read',
  'credential:read',
  'credential:reveal',
  'credential:write',
  'endpoint:write',
  'node:read',
  'system:read',
  'node:write',
  'modem:rotate',
  'modem:manage',
  'profile:manage',
];
const READING: readonly Permission[] = [
  'usage:read',
  'connection:read',
  'endpoint:read',
  'credential:read',
  'node:read',
  'system:read',
];

const GRANTS: Record<Role, readonly Permission[]> = {
  owner: EVERYTHING,
  admin: EVERYTHING,
  member: [...READING, 'modem:rotate'],
  viewer: READING,
  billing: ['usage:read'],
  fleet: [...READING, 'node:write', 'modem:rotate', 'modem:manage', 'profile:manage'],
  support: READING,
};

export function isPermitted(role: Role, permission: Permission): boolean {
  return GRANTS[role].includes(permission);
}
