/**
 * Firmware profiles that an operator ships: a new modem model, or a better way with a known one, without a new agent.
 * Checked against the schema that agents check by, kept, and part of every node's desired state from then on. A profile
 * names methods out of the drivers' lists and carries no commands (shared/src/profile/schema.ts).
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { MAX_SHIPPED_PROFILES } from '@mastline/shared/domain/desired-state';
import { Profile } from '@mastline/shared/profile/schema';
import { recordAudit } from '../audit/record';
import { withTenantSql } from '../db/tenant';
import type { Viewer } from '../identity/viewer';
import type { Services } from '../rpc/context';

/** All of them go to every node: eight times the size of the largest that comes with the program. */
const MAX_PROFILE_BYTES = 48 * 1024;

export interface ShippedProfileView {
  id: string;
  vendor: string;
  model: string;
  setAt: number;
  profile: Profile;
}

export async function listProfiles(
  { db }: Pick<Services, 'db'>,
  viewer: Viewer,
): Promise<ShippedProfileView[]> {
  checkOperator(viewer);
  const { rows } = await withTenantSql(db, viewer.active.id, client =>
    client.query<{ profile_id: string; profile: Profile; set_at: Date }>(
      'SELECT profile_id, profile, set_at FROM shipped_profiles ORDER BY profile_id',
    ),
  );
  return rows.map(({ profile_id: id, profile, set_at }) => ({
    ...{ id, vendor: profile.vendor, model: profile.model, setAt: set_at.getTime(), profile },
  }));
}

/** Throws `profile/invalid` naming every field that is wrong, or `fleet/too-many-profiles`. */
export async function shipProfile(
  services: Services,
  viewer: Viewer,
  value: unknown,
): Promise<{ id: string }> {
  checkOperator(viewer);
  const bytes = Buffer.byteLength(JSON.stringify(value) ?? '');
  if (bytes > MAX_PROFILE_BYTES)
    throw new CodedError(
      'profile/invalid',
      `the profile is ${bytes} bytes long; at most ${MAX_PROFILE_BYTES} are shipped`,
    );
  const profile = parseOrExplain(Profile, value, 'firmware profile', 'profile/invalid');
  const at = services.clock.now();
  await services.db.prisma.$transaction(async tx => {
    const written = await tx.$executeRaw`
      INSERT INTO shipped_profiles (profile_id, organization_id, profile, set_at, set_by_id)
      SELECT ${profile.id}, ${viewer.active.id}::uuid, ${JSON.stringify(profile)}::jsonb, ${new Date(at)}, ${viewer.user.id}::uuid
       WHERE (SELECT count(*) FROM shipped_profiles WHERE profile_id <> ${profile.id}) < ${MAX_SHIPPED_PROFILES}
      ON CONFLICT (profile_id) DO UPDATE
         SET organization_id = excluded.organization_id, profile = excluded.profile,
             set_at = excluded.set_at, set_by_id = excluded.set_by_id`;
    if (written === 0)
      throw new CodedError(
        'fleet/too-many-profiles',
        `${MAX_SHIPPED_PROFILES} profiles are shipped already`,
        {
          userMessage: `At most ${MAX_SHIPPED_PROFILES} profiles are shipped. Withdraw one first.`,
        },
      );
    await note(tx, viewer, { action: 'profile.ship', id: profile.id, at });
  });
  await tellNodes(services, viewer);
  return { id: profile.id };
}

/** The agents' own profile of that id holds again, where there is one. Throws `fleet/no-such-profile`. */
export async function withdrawProfile(services: Services, viewer: Viewer, id: string): Promise<void> {
  checkOperator(viewer);
  await services.db.prisma.$transaction(async tx => {
    const { count } = await tx.shippedProfile.deleteMany({ where: { profileId: id } });
    if (count === 0)
      throw new CodedError('fleet/no-such-profile', `no shipped profile ${id}`, {
        userMessage: `No profile "${id}" is shipped.`,
      });
    await note(tx, viewer, { action: 'profile.withdraw', id, at: services.clock.now() });
  });
  await tellNodes(services, viewer);
}

/** A host may say how its modems are set, not how those of others are driven. */
function checkOperator(viewer: Viewer): void {
  if (viewer.active.kinds.includes('operator')) return;
  throw new CodedError('identity/not-permitted', `${viewer.active.id} is no operator`, {
    userMessage: 'Firmware profiles are shipped by operators of the installation only.',
  });
}

function note(
  tx: Parameters<typeof recordAudit>[0],
  viewer: Viewer,
  what: { action: string; id: string; at: number },
): Promise<void> {
  return recordAudit(tx, {
    organizationId: viewer.active.id,
    at: what.at,
    actor: { kind: 'user', id: viewer.user.id },
    action: what.action,
    subject: { kind: 'profile', id: what.id },
    details: {},
  });
}

async function tellNodes(services: Services, viewer: Viewer): Promise<void> {
  const { rows } = await withTenantSql(services.db, viewer.active.id, client =>
    client.query<{ id: string }>('SELECT id FROM nodes WHERE retired_at IS NULL'),
  );
  await services.settingsChanged(rows.map(row => row.id));
}
