/**
 * A small world in a database: a customer and a rival, their host and a rival host, an operator, a node for each
 * host, endpoints and credentials for each customer. Tests of the cloud's domains start from here.
 */
import { createHash, generateKeyPairSync, type KeyObject } from 'node:crypto';
import { EventRate } from '@mastline/cloud/server/connections/event-rate';
import type { Database } from '@mastline/cloud/server/db/database';
import { Presence } from '@mastline/cloud/server/fleet/presence';
import { RotationOrders } from '@mastline/cloud/server/fleet/rotation-orders';
import { SeenNotes } from '@mastline/cloud/server/fleet/seen-notes';
import type { OrganizationKind, Viewer } from '@mastline/cloud/server/identity/viewer';
import { BatchWriter } from '@mastline/cloud/server/ledger/batch-writer';
import { IngestWatch } from '@mastline/cloud/server/ledger/ingest-watch';
import { Tallies } from '@mastline/cloud/server/observe/tallies';
import { QuotaDesk } from '@mastline/cloud/server/quota/quota-desk';
import { rawPublicKey } from '@mastline/cloud/server/rollout/signing';
import type { Services } from '@mastline/cloud/server/rpc/context';
import { secretStore } from '@mastline/cloud/server/secrets/secret-store';
import type { UsageRecord } from '@mastline/shared/domain/usage';
import { periodStartOf } from '@mastline/shared/domain/usage-period';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { pino } from 'pino';
import { fakeClock } from './clock';

export interface Tenant {
  customer: Viewer;
  host: Viewer;
  node: { id: string; privateKey: KeyObject };
  endpointId: string;
  credentialId: string;
  secret: string;
}

export interface World {
  services: Services & { clock: ReturnType<typeof fakeClock> };
  /** Ids of nodes whose settings were said to have changed, in order. */
  changedNodes: string[];
  acme: Tenant;
  rival: Tenant;
  operator: Viewer;
}

const ALONE = { bus: 'none' as const, awayMs: 0, peers: 0, nodesElsewhere: 0, refused: {} };

export async function cloudWorld(db: Database, startMs = Date.UTC(2026, 10, 23, 12)): Promise<World> {
  const clock = fakeClock(startMs);
  const log = pino({ level: 'silent' });
  const changedNodes: string[] = [];
  const services = {
    db,
    clock,
    secrets: secretStore(Buffer.alloc(32, 7)),
    presence: new Presence(clock),
    usage: new BatchWriter({ db, clock, log }),
    watch: new IngestWatch({ db, clock, log }),
    seen: new SeenNotes({ db, clock, log }),
    eventRate: new EventRate(clock, () => 0),
    // Nobody is connected to a world without a gateway.
    rotations: new RotationOrders(clock, async () => 'offline'),
    // Nor is there another process.
    cluster: { told: () => undefined, figures: () => ALONE },
    // Nor can anybody be called for bytes.
    quotas: new QuotaDesk({ db, clock, callNode: () => undefined }),
    log,
    tallies: new Tallies(),
    jobs: () => [],
    async settingsChanged(nodeIds: readonly string[]) {
      changedNodes.push(...nodeIds);
    },
  };
  return {
    services,
    changedNodes,
    acme: await tenant(services, 'Acme'),
    rival: await tenant(services, 'Rival'),
    operator: await viewer(services, 'Operations', 'operator'),
  };
}

async function tenant(services: World['services'], name: string): Promise<Tenant> {
  const customer = await viewer(services, `${name} Crawl`, 'customer');
  const host = await viewer(services, `${name} Hosts`, 'host');
  const node = await addNode(services, host, `${name} box`);
  const endpointId = await addEndpoint(services, customer, node.id, 1080);
  const { id: credentialId, secret } = await addCredential(services, customer);
  return { customer, host, node, endpointId, credentialId, secret };
}

export async function viewer(
  services: World['services'],
  name: string,
  kind: OrganizationKind,
): Promise<Viewer> {
  const { prisma } = services.db;
  const userId = uuidv7();
  const id = uuidv7();
  await prisma.user.create({
    data: { id: userId, email: `${userId}@example.org`, name: `${name} person`, passwordHash: '-' },
  });
  await prisma.organization.create({ data: { id, name, kinds: [kind] } });
  await prisma.membership.create({ data: { organizationId: id, userId, role: 'owner' } });
  const active = { id, name, kinds: [kind], role: 'owner' as const };
  return {
    user: { id: userId, name: `${name} person`, email: `${userId}@example.org` },
    organizations: [active],
    active,
  };
}

export async function addNode(
  services: World['services'],
  host: Viewer,
  name: string,
): Promise<{ id: string; privateKey: KeyObject }> {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  const id = uuidv7();
  const at = new Date(services.clock.now());
  await services.db.prisma.node.create({
    data: {
      id,
      organizationId: host.active.id,
      name,
      hostname: 'box',
      publicKey: new Uint8Array(rawPublicKey(publicKey)),
      agentVersion: '0.1.0',
      enrolledAt: at,
      consentTextVersion: 'test',
      consentAcceptedBy: 'test',
      consentAt: at,
    },
  });
  return { id, privateKey };
}

export async function addEndpoint(
  services: World['services'],
  customer: Viewer,
  nodeId: string,
  port: number,
): Promise<string> {
  const id = uuidv7();
  await services.db.prisma.endpoint.create({
    data: {
      id,
      organizationId: customer.active.id,
      nodeId,
      name: `${customer.active.name} endpoint ${port}`,
      protocols: ['socks5'],
      reach: 'direct',
      host: '127.0.0.1',
      port,
      slotNumbers: [0],
    },
  });
  return id;
}

export async function addCredential(
  services: World['services'],
  customer: Viewer,
): Promise<{ id: string; secret: string }> {
  const id = uuidv7();
  const secret = `secret of ${customer.active.name}`;
  await services.db.prisma.credential.create({
    data: {
      id,
      organizationId: customer.active.id,
      name: `${customer.active.name} credential`,
      username: `user-${id.slice(-8)}`,
      secretSealed: services.secrets.seal(secret, `credential:${id}`),
      verifier: createHash('sha256').update(secret).digest('hex'),
    },
  });
  return { id, secret };
}

/** A plausible record; `over` changes what matters to the test. */
export function usageRecord(
  of: Pick<Tenant, 'endpointId' | 'credentialId'>,
  sequence: number,
  over: Partial<UsageRecord> & { at?: number } = {},
): UsageRecord {
  const { at = Date.UTC(2026, 10, 23, 12), ...rest } = over;
  return {
    sequence,
    periodStart: periodStartOf(at),
    endpointId: of.endpointId,
    credentialId: of.credentialId,
    slot: 0,
    imei: null,
    upBytes: 100 + sequence,
    downBytes: 1000 + sequence,
    flows: 1,
    ...rest,
  };
}
