/**
 * A demo to look at: one organization of each kind, one person who owns all three, credentials, endpoints on one node,
 * a claim code while there is no node. Made once; at each later start only what the caller wants differently changes.
 * Secrets leave through one 0600 file that the caller names, and nowhere else.
 */
import { randomBytes } from 'node:crypto';
import { closeSync, fsyncSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { EndpointProtocol, ListenAddress, Reach } from '@mastline/shared/domain/endpoint';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { z } from 'zod';
import { withTenant } from './db/tenant';
import { createClaim, hashCode } from './fleet/claims';
import { createCredential, purposeOf } from './fleet/credentials';
import { checkPassword, hashPassword } from './identity/passwords';
import type { Services } from './rpc/context';

/** What the caller of `--demo-seed FILE` writes into that file. */
export const DemoRequest = z.object({
  /** Where the answer goes; made with mode 0600, kept between starts. */
  output: z.string().min(1),
  nodeName: z.string().min(1).max(80).default('This machine'),
  /** The id that the agent enrolled with; null when it has none and needs a claim code. */
  nodeId: z.uuid().nullable().default(null),
  endpoints: z
    .array(
      z.object({
        name: z.string().min(1).max(80),
        // Shadowsocks needs a cipher, which is set in the portal.
        protocols: z.array(EndpointProtocol.exclude(['shadowsocks'])).min(1),
        listen: ListenAddress,
        slots: z.array(z.int().min(0).max(65_535)).min(1).max(256),
        reach: Reach.default('direct'),
      }),
    )
    .max(256),
});
export type DemoRequest = z.infer<typeof DemoRequest>;

/** What is in the output file. */
export const DemoAnswer = z.object({
  login: z.object({ email: z.string(), password: z.string() }),
  organizations: z.object({ customer: z.string(), host: z.string(), operator: z.string() }),
  credentials: z.array(
    z.object({ id: z.string(), name: z.string(), username: z.string(), secret: z.string() }),
  ),
  /** Null when `nodeId` is enrolled. */
  claimCode: z.string().nullable(),
});
export type DemoAnswer = z.infer<typeof DemoAnswer>;

const EMAIL = 'demo@mastline.localhost';
const NAMES = { customer: 'Acme Crawl', host: 'Rooftop Hosts', operator: 'Mastline Operations' } as const;
const CREDENTIALS = [
  { name: 'Crawler', username: 'acme-crawler' },
  { name: 'Price monitor', username: 'acme-monitor' },
] as const;
const PASSWORD_BYTES = 12;

type DemoServices = Pick<Services, 'db' | 'secrets' | 'clock' | 'log'>;
type Organizations = DemoAnswer['organizations'];

export interface Demo {
  answer: DemoAnswer;
  /** To be called when a node was enrolled: the demo's endpoints are put on it if it is the demo host's. */
  nodeEnrolled(nodeId: string): Promise<void>;
}

export function readDemoRequest(path: string): DemoRequest {
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    throw new CodedError('seed/unreadable', `cannot read ${path}: ${codeOf(error) ?? 'not JSON'}`, {
      userMessage: `The demo file ${path} cannot be read (${codeOf(error) ?? 'it is not JSON'}).`,
      cause: error,
    });
  }
  return parseOrExplain(DemoRequest, json, `The demo file ${path}`, 'seed/invalid');
}

/** Makes or completes the demo and writes the answer. */
export async function seedDemo(services: DemoServices, request: DemoRequest): Promise<Demo> {
  const previous = readAnswer(request.output);
  const { organizations, password, userId } = await ensurePeople(services, previous?.login.password ?? null);
  const credentials = await ensureCredentials(services, organizations.customer);
  const node = request.nodeId === null ? null : await demoNode(services, organizations, request.nodeId);
  if (node !== null) await placeEndpoints(services, { organizations, request, nodeId: node });
  const claimCode =
    node === null
      ? await ensureClaim(services, { organizations, request, userId, known: previous?.claimCode ?? null })
      : null;
  const answer: DemoAnswer = { login: { email: EMAIL, password }, organizations, credentials, claimCode };
  writeAnswer(request.output, answer);
  return {
    answer,
    async nodeEnrolled(nodeId) {
      if ((await demoNode(services, organizations, nodeId)) === null) return;
      await placeEndpoints(services, { organizations, request, nodeId });
    },
  };
}

async function ensurePeople(
  { db, clock }: DemoServices,
  knownPassword: string | null,
): Promise<{ organizations: Organizations; password: string; userId: string }> {
  const existing = await db.prisma.user.findUnique({
    where: { email: EMAIL },
    include: { memberships: { include: { organization: true } } },
  });
  if (existing !== null) {
    const idOf = (name: string) => {
      const found = existing.memberships.find(each => each.organization.name === name);
      if (found === undefined)
        throw new CodedError('seed/changed', `demo organization ${name} is gone`, {
          userMessage: `The demo organization "${name}" is no longer there. Start without --demo-seed, or with a fresh data directory.`,
        });
      return found.organizationId;
    };
    const organizations = {
      customer: idOf(NAMES.customer),
      host: idOf(NAMES.host),
      operator: idOf(NAMES.operator),
    };
    if (knownPassword !== null && (await checkPassword(knownPassword, existing.passwordHash)))
      return { organizations, password: knownPassword, userId: existing.id };
    // The file with the password was lost: nobody knows it, so there is a new one.
    const password = newPassword();
    await db.prisma.user.update({
      where: { id: existing.id },
      data: { passwordHash: await hashPassword(password) },
    });
    return { organizations, password, userId: existing.id };
  }
  const now = clock.now();
  const password = newPassword();
  const passwordHash = await hashPassword(password);
  const userId = uuidv7(now);
  const organizations = { customer: uuidv7(now), host: uuidv7(now), operator: uuidv7(now) };
  await db.prisma.$transaction(async tx => {
    await tx.user.create({ data: { id: userId, email: EMAIL, name: 'Demo', passwordHash } });
    for (const kind of ['customer', 'host', 'operator'] as const) {
      await tx.organization.create({ data: { id: organizations[kind], name: NAMES[kind], kinds: [kind] } });
      await tx.membership.create({ data: { organizationId: organizations[kind], userId, role: 'owner' } });
    }
  });
  return { organizations, password, userId };
}

const newPassword = () => randomBytes(PASSWORD_BYTES).toString('base64url');

function ensureCredentials(
  { db, secrets, clock }: DemoServices,
  organizationId: string,
): Promise<DemoAnswer['credentials']> {
  return withTenant(db, organizationId, async store => {
    const answer: DemoAnswer['credentials'] = [];
    for (const wanted of CREDENTIALS) {
      const row = await store.credential.findFirst({ where: { username: wanted.username, deletedAt: null } });
      if (row !== null)
        answer.push({ id: row.id, ...wanted, secret: secrets.open(row.secretSealed, purposeOf(row.id)) });
      else
        answer.push({
          ...wanted,
          ...(await createCredential(store, secrets, { organizationId, ...wanted, at: clock.now() })),
        });
    }
    return answer;
  });
}

/** The node's id when it is the demo host's and in service. */
function demoNode(
  { db }: DemoServices,
  organizations: Organizations,
  nodeId: string,
): Promise<string | null> {
  return withTenant(db, organizations.host, async store => {
    const node = await store.node.findFirst({ where: { id: nodeId, retiredAt: null } });
    return node?.id ?? null;
  });
}

/** Makes the customer's endpoints what the request says, on this node; others of the demo are taken out of service. */
async function placeEndpoints(
  { db, clock, log }: DemoServices,
  of: { organizations: Organizations; request: DemoRequest; nodeId: string },
): Promise<void> {
  const organizationId = of.organizations.customer;
  const at = clock.now();
  await withTenant(db, organizationId, async store => {
    const present = await store.endpoint.findMany({ where: { deletedAt: null } });
    const kept = new Set<string>();
    for (const wanted of of.request.endpoints) {
      const settings = {
        protocols: wanted.protocols,
        reach: wanted.reach,
        host: wanted.listen.host,
        port: wanted.listen.port,
        slotNumbers: wanted.slots,
      };
      const existing = present.find(each => each.name === wanted.name && each.nodeId === of.nodeId);
      const id = existing?.id ?? uuidv7(at);
      kept.add(id);
      if (existing === undefined)
        await store.endpoint.create({
          data: { id, organizationId, nodeId: of.nodeId, name: wanted.name, ...settings },
        });
      else {
        // What it speaks is set in the portal from then on.
        const { protocols: _set, ...place } = settings;
        await store.endpoint.updateMany({ where: { id }, data: place });
      }
    }
    const gone = present.filter(each => !kept.has(each.id)).map(each => each.id);
    await store.endpoint.updateMany({ where: { id: { in: gone } }, data: { deletedAt: new Date(at) } });
    log.info({ endpoints: kept.size, removed: gone.length }, 'demo endpoints are in place');
  });
}

async function ensureClaim(
  services: DemoServices,
  of: { organizations: Organizations; request: DemoRequest; userId: string; known: string | null },
): Promise<string> {
  if (of.known !== null) {
    const codeHash = hashCode(of.known);
    const open = await withTenant(services.db, of.organizations.host, store =>
      store.claim.findFirst({
        where: { codeHash, usedAt: null, expiresAt: { gt: new Date(services.clock.now()) } },
      }),
    );
    if (open !== null) return of.known;
  }
  const claim = await createClaim(services, {
    organizationId: of.organizations.host,
    nodeName: of.request.nodeName,
    createdById: of.userId,
  });
  return claim.code;
}

/** The answer of an earlier start; undefined when there is none or it does not fit any more. */
function readAnswer(path: string): DemoAnswer | undefined {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return undefined;
    throw new CodedError('seed/output', `cannot read ${path}: ${codeOf(error)}`, { cause: error });
  }
  try {
    return DemoAnswer.safeParse(JSON.parse(text)).data;
  } catch {
    // Half a file or another program's: it is written anew, with a new password.
    return undefined;
  }
}

function writeAnswer(path: string, answer: DemoAnswer): void {
  const draft = `${path}.${process.pid}`;
  try {
    const file = openSync(draft, 'w', 0o600);
    try {
      writeSync(file, `${JSON.stringify(answer, null, 2)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(draft, path);
  } catch (error) {
    throw new CodedError('seed/output', `cannot write ${path}: ${codeOf(error)}`, {
      userMessage: `The demo's answer cannot be written to ${path} (${codeOf(error)}). Check the folder's rights.`,
      cause: error,
    });
  }
}
