/**
 * Sets what an endpoint speaks, whom it serves without a login, and what stands behind its modem. Each function
 * replaces one of them whole; what cannot work is a BadSetting that names the field. Secrets are sealed before they
 * are stored and never come back: a hop keeps its secret as long as it stays the same hop.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import type { ChainHop } from '@mastline/shared/domain/endpoint';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { chainProblems } from '@mastline/shared/protocols/chain-hops';
import { formatShadowsocksLink } from '@mastline/shared/protocols/shadowsocks/link';
import { requireMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import { qrCodeSvg } from '@mastline/shared/protocols/shadowsocks/qr-code';
import { MAX_AEAD_USERS } from '@mastline/shared/protocols/shadowsocks/users';
import { recordAudit } from '../audit/record';
import { Prisma } from '../db/generated/client';
import { type TenantStore, withTenant, withTenantSql } from '../db/tenant';
import type { Viewer } from '../identity/viewer';
import type { Services } from '../rpc/context';
import type { SecretStore } from '../secrets/secret-store';
import { BadSetting, type SettingIssue } from './bad-setting';
import { noSuchCredential, purposeOf } from './credentials';
import type { ChainInput, OpenToInput, ProtocolsInput } from './settings-input';
import { newPortKey, shadowsocksPassword } from './shadowsocks-keys';
import {
  hopPurpose,
  portKeyPurpose,
  readChain,
  readOpenTo,
  readShadowsocks,
  type StoredHop,
  type StoredShadowsocks,
} from './stored-settings';
import type { ShadowsocksAccess } from './views';

type EndpointRow = NonNullable<Awaited<ReturnType<TenantStore['endpoint']['findFirst']>>>;
type Change = Parameters<TenantStore['endpoint']['updateMany']>[0]['data'];

/** Which protocols, with which cipher, inside TLS or not. A new cipher makes a new key of the port. */
export async function setProtocols(services: Services, viewer: Viewer, input: ProtocolsInput): Promise<void> {
  const { protocols, method, tls } = input;
  const certificate = tls === null ? true : await nodeHasCertificate(services, viewer, input.id);
  await change(services, viewer, { id: input.id, action: 'endpoint.protocols' }, async (row, store) => {
    const issues: SettingIssue[] = [];
    const say = (field: string, message: string) => issues.push({ path: [field], message });
    let shadowsocks: StoredShadowsocks | null = null;
    if (protocols.includes('shadowsocks')) {
      if (protocols.length > 1) say('protocols', 'Shadowsocks cannot share a port with another protocol.');
      if (tls !== null) say('tls', 'Shadowsocks is encrypted already: leave TLS off.');
      if (readOpenTo(row.openTo))
        say(
          'protocols',
          'This endpoint serves addresses without a login, which Shadowsocks cannot. Stop that first.',
        );
      if (method === null) say('method', 'Choose a cipher.');
      else {
        const users = await store.credential.count({ where: { deletedAt: null } });
        if (requireMethod(method).edition === 'aead' && users > MAX_AEAD_USERS)
          say(
            'method',
            `This cipher tells at most ${MAX_AEAD_USERS} credentials apart, you have ${users}: choose one of the 2022 edition.`,
          );
        shadowsocks = portKept(row, method) ?? newPort(services.secrets, row.id, method);
      }
    }
    if (!certificate) say('tls', 'The node has no certificate yet: ask its host to set one.');
    if (issues.length > 0) throw new BadSetting(issues);
    return {
      data: { protocols, tls, shadowsocks: shadowsocks ?? Prisma.DbNull },
      details: { protocols, method, tls },
    };
  });
}

function portKept(row: EndpointRow, method: StoredShadowsocks['method']): StoredShadowsocks | null {
  const known = readShadowsocks(row.shadowsocks);
  return known?.method === method ? known : null;
}

function newPort(
  secrets: SecretStore,
  endpointId: string,
  method: StoredShadowsocks['method'],
): StoredShadowsocks {
  const key = newPortKey(method);
  return { method, serverKeySealed: key === null ? null : secrets.seal(key, portKeyPurpose(endpointId)) };
}

/** Of the node that it stands on, which is another organization's: nothing but yes or no is told of it. */
function nodeHasCertificate(services: Services, viewer: Viewer, endpointId: string): Promise<boolean> {
  return withTenantSql(services.db, viewer.active.id, async client => {
    const { rows } = await client.query<{ there: boolean }>(
      `SELECT n.certificate IS NOT NULL AS there FROM endpoints e JOIN nodes n ON n.id = e.node_id
        WHERE e.organization_id = $1 AND e.id = $2`,
      [viewer.active.id, endpointId],
    );
    return rows[0]?.there === true;
  });
}

/** Whom it serves without a login, and as which credential; null: nobody. */
export async function setOpenTo(
  services: Services,
  viewer: Viewer,
  { id, openTo }: OpenToInput,
): Promise<void> {
  await change(services, viewer, { id, action: 'endpoint.open-to' }, async (row, store) => {
    if (openTo !== null) {
      if (row.protocols.includes('shadowsocks'))
        throw new BadSetting([
          { path: ['openTo', 'sourceAddresses'], message: 'Shadowsocks serves nobody without a key.' },
        ]);
      const known = await store.credential.count({ where: { id: openTo.credentialId, deletedAt: null } });
      if (known === 0)
        throw new BadSetting([
          { path: ['openTo', 'credentialId'], message: 'Choose one of your credentials.' },
        ]);
    }
    return { data: { openTo: openTo ?? Prisma.DbNull }, details: { openTo } };
  });
}

/** Upstream proxies behind the modem, the first one nearest to it. */
export async function setChain(services: Services, viewer: Viewer, { id, hops }: ChainInput): Promise<void> {
  await change(services, viewer, { id, action: 'endpoint.chain' }, async row => {
    const stored = readChain(row.chain);
    const issues: SettingIssue[] = [];
    const opened = hops.map((hop, at): ChainHop => {
      const known = stored.find(each => each.id === hop.id);
      if (hop.id !== null && known === undefined)
        issues.push({ path: ['hops', at, 'protocol'], message: 'This hop is gone. Reload the page.' });
      return { ...hop, secret: secretFor(hop, { known, at, endpointId: id }, { services, issues }) };
    });
    for (const { at, field, message } of chainProblems(opened))
      if (!issues.some(each => each.path[1] === at && each.path[2] === field))
        issues.push({ path: ['hops', at, field], message: `${message}.` });
    if (issues.length > 0) throw new BadSetting(issues);
    const chain = opened.map((hop, at): StoredHop => {
      const hopId = hops[at]?.id ?? uuidv7(services.clock.now());
      return {
        id: hopId,
        protocol: hop.protocol,
        host: hop.host,
        port: hop.port,
        username: hop.username ?? null,
        method: hop.method ?? null,
        secretSealed: hop.secret ? services.secrets.seal(hop.secret, hopPurpose(id, hopId)) : null,
      };
    });
    return {
      data: { chain },
      details: { hops: chain.map(({ protocol, host, port }) => `${protocol} ${host}:${port}`) },
    };
  });
}

/** The secret that was typed, else the stored one, which is given to nobody but whom it was typed for. */
function secretFor(
  hop: ChainInput['hops'][number],
  place: { known: StoredHop | undefined; at: number; endpointId: string },
  { services, issues }: { services: Services; issues: SettingIssue[] },
): string | null {
  const { known, at, endpointId } = place;
  if (hop.secret !== null) return hop.secret;
  const wanted = hop.username !== null || hop.protocol === 'shadowsocks';
  if (!wanted || known === undefined || known.secretSealed === null) return null;
  if (known.host !== hop.host || known.port !== hop.port || known.protocol !== hop.protocol) {
    issues.push({
      path: ['hops', at, 'secret'],
      message: 'Type the password again: the stored one was given for another address.',
    });
    return null;
  }
  return services.secrets.open(known.secretSealed, hopPurpose(endpointId, known.id));
}

/** What a Shadowsocks client needs to use the endpoint as this credential. Written into the audit log: it is a secret. */
export function shadowsocksAccess(
  services: Services,
  viewer: Viewer,
  { id, credentialId }: { id: string; credentialId: string },
): Promise<ShadowsocksAccess> {
  const organizationId = viewer.active.id;
  return withTenant(services.db, organizationId, async store => {
    const endpoint = await store.endpoint.findFirst({ where: { id, deletedAt: null } });
    if (endpoint === null) throw noSuchEndpoint(id, organizationId);
    const credential = await store.credential.findFirst({ where: { id: credentialId, deletedAt: null } });
    if (credential === null) throw noSuchCredential(credentialId, organizationId);
    const service = readShadowsocks(endpoint.shadowsocks);
    if (service === null || !endpoint.protocols.includes('shadowsocks'))
      throw new BadSetting([{ path: ['protocols'], message: 'This endpoint does not speak Shadowsocks.' }]);
    const { method, serverKeySealed } = service;
    const own = shadowsocksPassword({
      secret: services.secrets.open(credential.secretSealed, purposeOf(credentialId)),
      endpointId: id,
      credentialId,
      method,
    });
    const portKey = serverKeySealed && services.secrets.open(serverKeySealed, portKeyPurpose(id));
    const password = portKey ? `${portKey}:${own}` : own;
    await recordAudit(store, {
      organizationId,
      at: services.clock.now(),
      actor: { kind: 'user', id: viewer.user.id },
      action: 'credential.reveal',
      subject: { kind: 'credential', id: credentialId },
      details: { endpointId: id, as: 'shadowsocks' },
    });
    const { host, port } = endpoint;
    const link = formatShadowsocksLink({ method, password, host, port, name: endpoint.name });
    return { method, password, link, qrSvg: qrCodeSvg(link) };
  });
}

interface Changed {
  data: Change;
  /** For the audit log. */
  details: Prisma.InputJsonObject;
}

/** Reads the endpoint, writes what `decide` makes of it, and tells its node. */
async function change(
  services: Services,
  viewer: Viewer,
  { id, action }: { id: string; action: string },
  decide: (row: EndpointRow, store: TenantStore) => Promise<Changed>,
): Promise<void> {
  const organizationId = viewer.active.id;
  const nodeId = await withTenant(services.db, organizationId, async store => {
    const row = await store.endpoint.findFirst({ where: { id, deletedAt: null } });
    if (row === null) throw noSuchEndpoint(id, organizationId);
    const { data, details } = await decide(row, store);
    await store.endpoint.updateMany({ where: { id }, data });
    await recordAudit(store, {
      organizationId,
      at: services.clock.now(),
      actor: { kind: 'user', id: viewer.user.id },
      action,
      subject: { kind: 'endpoint', id },
      details,
    });
    return row.nodeId;
  });
  await services.settingsChanged([nodeId]);
}

function noSuchEndpoint(id: string, organizationId: string): CodedError {
  return new CodedError('fleet/no-such-endpoint', `no endpoint ${id} in ${organizationId}`, {
    userMessage: 'There is no such endpoint. It may have been deleted.',
  });
}
