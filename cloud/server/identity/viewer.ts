/**
 * Who is asking: the person behind a session, the organizations they belong to, and the one they look at now.
 * Resolving one from a cookie is sessions.ts; what a role may do is roles.ts.
 */
export type OrganizationKind = 'customer' | 'host' | 'operator';
export type Role = 'owner' | 'admin' | 'member' | 'billing' | 'viewer' | 'fleet' | 'support';

export interface OrganizationView {
  id: string;
  name: string;
  kinds: OrganizationKind[];
  /** The viewer's role in it. */
  role: Role;
}

export interface Viewer {
  user: { id: string; name: string; email: string };
  organizations: OrganizationView[];
  active: OrganizationView;
}
