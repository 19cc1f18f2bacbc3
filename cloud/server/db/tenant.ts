/**
 * Tenancy by construction: the only way to a tenant's rows is a store that is bound to it. Every query of the store
 * gets the organization added, whatever the caller wrote, and the transaction carries it as
 * `app.organization_id` for the row-level security that a server can add later.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import type pg from 'pg';
import type { Database } from './database';
import { Prisma } from './generated/client';
import { inTransaction } from './transaction';

type TenantModel =
  | 'auditEntry'
  | 'claim'
  | 'node'
  | 'slot'
  | 'modem'
  | 'modemAddress'
  | 'endpoint'
  | 'credential'
  | 'desiredState'
  | 'rotation'
  | 'rotationLink'
  | 'rotationSchedule'
  | 'membership'
  | 'quota'
  /** Its own row, and no other. */
  | 'organization';

/** Prisma, for the rows of one organization. Relations cannot be included: they would leave the tenant. */
export type TenantStore = Pick<Prisma.TransactionClient, TenantModel>;

const TENANT_MODELS: ReadonlySet<string> = new Set<string>([
  'AuditEntry',
  'Claim',
  'Node',
  'Slot',
  'Modem',
  'ModemAddress',
  'Endpoint',
  'Credential',
  'DesiredState',
  'Rotation',
  'RotationLink',
  'RotationSchedule',
  'Membership',
  'Quota',
  'Organization',
]);

/** Runs `work` in one transaction on the rows of one organization. */
export function withTenant<T>(
  db: Pick<Database, 'prisma'>,
  organizationId: string,
  work: (store: TenantStore) => Promise<T>,
): Promise<T> {
  return db.prisma.$extends(tenantScope(organizationId)).$transaction(async tx => {
    await tx.$executeRaw`SELECT set_config('app.organization_id', ${organizationId}, true)`;
    return work(tx as unknown as TenantStore);
  });
}

/** The same for statements that Prisma cannot say. `$1` of every such statement is the organization, by convention. */
export function withTenantSql<T>(
  db: Pick<Database, 'pool'>,
  organizationId: string,
  work: (client: pg.PoolClient) => Promise<T>,
): Promise<T> {
  return inTransaction(db, async client => {
    await client.query("SELECT set_config('app.organization_id', $1, true)", [organizationId]);
    return work(client);
  });
}

function tenantScope(organizationId: string) {
  return Prisma.defineExtension({
    name: 'tenant',
    query: {
      $allModels: {
        async $allOperations({ model, operation, args, query }) {
          if (!TENANT_MODELS.has(model)) throw outside(`${model} is not a tenant's`);
          const key = model === 'Organization' ? 'id' : 'organizationId';
          return query(scoped(operation, args as Record<string, unknown>, organizationId, key) as never);
        },
      },
    },
  });
}

/** The arguments of one operation with the organization added, which stands in `key`. Exported for its test. */
export function scoped(
  operation: string,
  args: Record<string, unknown> | undefined,
  organizationId: string,
  key: 'organizationId' | 'id' = 'organizationId',
): Record<string, unknown> {
  const given = args ?? {};
  if (given.include !== undefined) throw outside('include leaves the tenant');
  for (const chosen of Object.values((given.select ?? {}) as Record<string, unknown>))
    if (typeof chosen === 'object') throw outside('selecting a relation leaves the tenant');
  const own = (value: unknown) => {
    const fields = (value ?? {}) as Record<string, unknown>;
    if (fields[key] !== undefined && fields[key] !== organizationId)
      throw outside('it names another organization');
    return { ...fields, [key]: organizationId };
  };
  switch (operation) {
    case 'findUnique':
    case 'findUniqueOrThrow':
    case 'findFirst':
    case 'findFirstOrThrow':
    case 'findMany':
    case 'count':
    case 'aggregate':
    case 'groupBy':
    case 'delete':
    case 'deleteMany':
      return { ...given, where: own(given.where) };
    case 'update':
    case 'updateMany':
    case 'updateManyAndReturn':
      return { ...given, where: own(given.where), data: own(given.data) };
    case 'create':
      return { ...given, data: own(given.data) };
    case 'createMany':
    case 'createManyAndReturn':
      return { ...given, data: Array.isArray(given.data) ? given.data.map(own) : own(given.data) };
    case 'upsert':
      return {
        ...given,
        where: own(given.where),
        create: own(given.create),
        update: own(given.update),
      };
    default:
      throw outside(`${operation} has no tenant form`);
  }
}

const outside = (detail: string) => new CodedError('db/outside-tenant', `query refused: ${detail}`);
