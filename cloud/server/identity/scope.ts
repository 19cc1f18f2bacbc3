/**
 * Whose nodes and usage an organization may see. Pure. Operators see the whole installation, hosts what is theirs,
 * customers what serves their endpoints and what their credentials used.
 */
import type { OrganizationView } from '../identity/viewer';

export interface Scope {
  organizationId: string;
  everything: boolean;
  asHost: boolean;
}

export function scopeOf(organization: Pick<OrganizationView, 'id' | 'kinds'>): Scope {
  return {
    organizationId: organization.id,
    everything: organization.kinds.includes('operator'),
    asHost: organization.kinds.includes('host'),
  };
}
