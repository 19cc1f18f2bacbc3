/**
 * A cloud in memory, as the portal sees one: typed by the real router's caller, so that it cannot drift from it. Its
 * knobs make it fail, be slow, be empty. No test of the cloud's own behaviour belongs here.
 */
import { formatShadowsocksLink } from '@mastline/shared/protocols/shadowsocks/link';
import { qrCodeSvg } from '@mastline/shared/protocols/shadowsocks/qr-code';
import { TRPCError } from '@trpc/server';
import type { CredentialView, EndpointView, NodeView } from '../../../cloud/server/fleet/views';
import type { OrganizationView, Viewer } from '../../../cloud/server/identity/viewer';
import type { ModemView, OverviewView } from '../../../cloud/server/insight/views';
import type { UsageRow, UsageSum, UsageView } from '../../../cloud/server/ledger/views';
import type { PortalContext } from '../../../cloud/server/portal-context';
import { CAUSES } from '../../../cloud/server/reconciliation/judge';
import type { SlotDayView } from '../../../cloud/server/reconciliation/views';
import { FakeConnections } from './fake-connections';
import { FakeRotations } from './fake-rotations';
import { type FakeSystem, fakeSystem, lagPage } from './fake-system';

export const EMAIL = 'ana@acme.example';
export const PASSWORD = 'correct horse battery';
/** A key for the 2022 edition, 16 bytes. */
const KEY_2022 = 'AAECAwQFBgcICQoLDA0ODw==';
export const SECRET = 'k7Qm2xVb9TfZr4LwNs8HdJ5cYp3GuEa6';
const HOUR_MS = 3_600_000;

const id = (n: number) => `01900000-0000-7000-8000-${String(n).padStart(12, '0')}`;

export const ORGANIZATIONS: OrganizationView[] = [
  { id: id(1), name: 'Acme Crawl', kinds: ['customer'], role: 'owner' },
  { id: id(2), name: 'Rooftop Hosts', kinds: ['host'], role: 'owner' },
  { id: id(3), name: 'Mastline Operations', kinds: ['operator'], role: 'viewer' },
];

export interface FakeCloud {
  overview: OverviewView;
  endpoints: EndpointView[];
  credentials: CredentialView[];
  nodes: NodeView[];
  usage: UsageRow[];
  /** Of every modem, newest first. */
  slotDays: SlotDayView[];
  /** Set to make the next call of a procedure throw, by its path. */
  failures: Map<string, Error>;
  /** Paths of procedures called, with their input. */
  calls: { path: string; input: unknown }[];
  logged: unknown[];
  /** Sessions by cookie value; the active organization's id. */
  sessions: Map<string, string>;
  wrongLogIns: number;
  rotations: FakeRotations;
  system: FakeSystem;
  log: FakeConnections;
  /** Subscribers of the live feed. */
  watchers: Set<() => Promise<void>>;
  publish(change: (overview: OverviewView) => void): void;
}

export function fakeCloud(nowMs: number): FakeCloud {
  const cloud: FakeCloud = {
    overview: anOverview(nowMs),
    endpoints: someEndpoints(),
    credentials: someCredentials(nowMs),
    nodes: someNodes(nowMs),
    usage: someUsage(nowMs),
    slotDays: someSlotDays(nowMs),
    failures: new Map(),
    calls: [],
    logged: [],
    sessions: new Map(),
    wrongLogIns: 0,
    rotations: new FakeRotations(),
    system: fakeSystem(nowMs),
    log: new FakeConnections(nowMs, someCredentials(nowMs)),
    watchers: new Set(),
    publish(change) {
      cloud.overview = structuredClone(cloud.overview);
      cloud.overview.at = Math.max(cloud.overview.at + 1, Date.now());
      change(cloud.overview);
      for (const watcher of cloud.watchers) void watcher();
    },
  };
  return cloud;
}

/** Who asks with this session cookie. */
export function viewerOf(cloud: FakeCloud, session: string | undefined): Viewer | null {
  const activeId = session === undefined ? undefined : cloud.sessions.get(session);
  const active = ORGANIZATIONS.find(one => one.id === activeId);
  if (active === undefined) return null;
  return {
    user: { id: id(10), name: 'Ana Marić', email: EMAIL },
    organizations: ORGANIZATIONS,
    active,
  };
}

/** The load context of one request. */
export function portalContext(
  cloud: FakeCloud,
  request: { session: string | undefined; requestId: string; nonce: string },
): PortalContext {
  const viewer = viewerOf(cloud, request.session);
  const called = <T>(path: string, input: unknown, answer: (viewer: Viewer) => T): Promise<T> => {
    cloud.calls.push({ path, input });
    const failure = cloud.failures.get(path);
    cloud.failures.delete(path);
    if (failure) return Promise.reject(failure);
    if (viewer === null) return Promise.reject(new TRPCError({ code: 'UNAUTHORIZED' }));
    return Promise.resolve(structuredClone(answer(viewer)));
  };
  const endpointOf = (wanted: string): EndpointView => {
    const found = cloud.endpoints.find(one => one.id === wanted);
    if (!found) throw new TRPCError({ code: 'NOT_FOUND' });
    return found;
  };
  const isCustomer = (who: Viewer) => who.active.kinds.includes('customer');
  const cookie = (value: string, age: number) =>
    `fake_session=${value}; Path=/; HttpOnly; SameSite=Lax; Max-Age=${age}`;

  return {
    viewer,
    requestId: request.requestId,
    cspNonce: request.nonce,
    echoUrl: 'https://api.ipify.org',
    publicUrl: null,
    logError: error => void cloud.logged.push(error),
    auth: {
      logIn: async ({ email, password }) => {
        if (cloud.wrongLogIns >= 3) return { ok: false, reason: 'throttled', retryAfterSeconds: 30 };
        if (email !== EMAIL || password !== PASSWORD) {
          cloud.wrongLogIns += 1;
          return { ok: false, reason: 'wrong' };
        }
        const session = `s${cloud.sessions.size + 1}`;
        cloud.sessions.set(session, ORGANIZATIONS[0]!.id);
        return { ok: true, setCookie: cookie(session, 3600) };
      },
      logOut: async () => {
        if (request.session !== undefined) cloud.sessions.delete(request.session);
        return { setCookie: cookie('', 0) };
      },
    },
    api: {
      viewer: {
        get: () => called('viewer.get', undefined, who => who),
        switchOrganization: input =>
          called('viewer.switchOrganization', input, who => {
            const next = ORGANIZATIONS.find(one => one.id === input.id);
            if (!next || request.session === undefined) throw new TRPCError({ code: 'FORBIDDEN' });
            cloud.sessions.set(request.session, next.id);
            return { ...who, active: next };
          }),
      },
      overview: {
        get: () =>
          called('overview.get', undefined, who =>
            isCustomer(who) || who.active.kinds.includes('operator')
              ? {
                  ...cloud.overview,
                  modems: cloud.overview.modems.map(one => ({ ...one, own: !isCustomer(who) })),
                }
              : { ...cloud.overview, nodes: { online: 0, total: 0 }, modems: [] },
          ),
      },
      system: {
        get: () => called('system.get', undefined, who => operatorsOnly(who, cloud.system.view)),
        nodes: input =>
          called('system.nodes', input, who => operatorsOnly(who, lagPage(cloud.system, input))),
      },
      profiles: {
        list: () => called('profiles.list', undefined, () => []),
        ship: input => called('profiles.ship', input, () => ({ id: 'vendor/model' })),
        withdraw: input => called('profiles.withdraw', input, () => undefined),
      },
      endpoints: {
        list: () => called('endpoints.list', undefined, who => (isCustomer(who) ? cloud.endpoints : [])),
        setProtocols: input =>
          called('endpoints.setProtocols', input, () => {
            const { protocols, method, tls } = input;
            Object.assign(endpointOf(input.id), { protocols, method, tls });
          }),
        setOpenTo: input =>
          called('endpoints.setOpenTo', input, () => {
            endpointOf(input.id).openTo = input.openTo;
          }),
        setChain: input =>
          called('endpoints.setChain', input, () => {
            endpointOf(input.id).chain = input.hops.map(({ secret, ...hop }, at) => ({
              ...hop,
              id: hop.id ?? id(900 + at),
              hasSecret: secret !== null || hop.id !== null,
            }));
          }),
        shadowsocksAccess: input =>
          called('endpoints.shadowsocksAccess', input, () => {
            const { name, host, port, method } = endpointOf(input.id);
            if (method === null) throw new TRPCError({ code: 'BAD_REQUEST' });
            const password = method.startsWith('2022') ? KEY_2022 : SECRET;
            const link = formatShadowsocksLink({ method, password, host, port, name });
            return { method, password, link, qrSvg: qrCodeSvg(link) };
          }),
      },
      credentials: {
        list: () => called('credentials.list', undefined, who => (isCustomer(who) ? cloud.credentials : [])),
        reveal: input =>
          called('credentials.reveal', input, () => {
            const found = cloud.credentials.find(one => one.id === input.id);
            if (!found) throw new TRPCError({ code: 'NOT_FOUND' });
            return { username: found.username, secret: SECRET };
          }),
        setLimits: input =>
          called('credentials.setLimits', input, () => {
            const found = cloud.credentials.find(one => one.id === input.id);
            if (!found) throw new TRPCError({ code: 'NOT_FOUND' });
            found.limits = input.limits;
          }),
        setQuota: input =>
          called('credentials.setQuota', input, () => {
            const found = cloud.credentials.find(one => one.id === input.id);
            if (!found) throw new TRPCError({ code: 'NOT_FOUND' });
            const used = found.quota ?? {
              used: 0,
              lent: 0,
              periodStart: Date.UTC(2026, 10, 1),
              periodEnd: null,
            };
            found.quota = input.quota && { ...used, ...input.quota };
          }),
      },
      usage: {
        query: input =>
          called('usage.query', input, who => answer(isCustomer(who) ? cloud.usage : [], input)),
        since: input => called('usage.since', input, () => ({ total: sum(cloud.usage), byEndpoint: [] })),
      },
      nodes: {
        list: () => called('nodes.list', undefined, who => (isCustomer(who) ? [] : cloud.nodes)),
        setSlotLimits: input =>
          called('nodes.setSlotLimits', input, () => {
            const slot = cloud.nodes.flatMap(node => node.slots).find(one => one.slotId === input.slotId);
            if (!slot) throw new TRPCError({ code: 'NOT_FOUND' });
            slot.limits = input.limits;
          }),
        setCertificate: input =>
          called('nodes.setCertificate', input, () => {
            const node = cloud.nodes.find(one => one.id === input.nodeId);
            if (!node) throw new TRPCError({ code: 'NOT_FOUND' });
            node.certificate = input.certificate;
          }),
      },
      reconciliation: {
        ofSlot: input =>
          called('reconciliation.ofSlot', input, who => {
            if (isCustomer(who)) throw new TRPCError({ code: 'NOT_FOUND' });
            return cloud.slotDays;
          }),
      },
      ...cloud.log.routers(called),
      ...cloud.rotations.routers(called, slotId => cloud.overview.modems.find(one => one.slotId === slotId)),
    },
  };
}

/** Fourteen days: one under way, one with records to come, one after a crash, one that does not fit. */
function someSlotDays(nowMs: number): SlotDayView[] {
  const today = nowMs - (nowMs % 86_400_000);
  return Array.from({ length: 14 }, (_, at): SlotDayView => {
    const ledger = 41_300_000_000 + ((at * 7_919_000_000) % 23_000_000_000);
    const difference = at === 5 ? 1_240_000_000 : Math.round(ledger * 0.00012 * (at % 3));
    return {
      day: today - at * 86_400_000,
      ledger,
      relayed: ledger + (at === 3 ? 5_400_000 : 0),
      carried: at === 9 ? null : ledger + difference,
      difference: at === 9 ? 0 : difference,
      unattributed: at === 3 ? 7_100_000 : 0,
      own: 6_300_000,
      crashes: at === 3 ? 1 : 0,
      resets: 0,
      state: at === 0 ? 'running' : at === 1 ? 'waiting' : at === 5 ? 'alarm' : 'even',
      cause: at === 5 ? 'other-traffic' : null,
      why: at === 5 ? CAUSES['other-traffic'] : '',
    };
  });
}

function operatorsOnly<T>(who: Viewer, answer: T): T {
  if (!who.active.kinds.includes('operator')) throw new TRPCError({ code: 'NOT_FOUND' });
  return answer;
}

function answer(
  all: UsageRow[],
  input: { from: number; to: number; credentialId?: string | undefined; slotId?: string | undefined },
): UsageView {
  const rows = all.filter(
    row =>
      row.hour >= input.from &&
      row.hour < input.to &&
      (input.credentialId === undefined || row.credentialId === input.credentialId) &&
      (input.slotId === undefined || row.slotId === input.slotId),
  );
  const grouped = <K extends string | number | null>(key: (row: UsageRow) => K) => {
    const groups = new Map<K, UsageRow[]>();
    for (const row of rows) groups.set(key(row), [...(groups.get(key(row)) ?? []), row]);
    return [...groups.values()];
  };
  return {
    series: grouped(row => row.hour).map(group => ({ start: group[0]!.hour, ...sum(group) })),
    byCredential: grouped(row => row.credentialId).map(group => ({
      credentialId: group[0]!.credentialId,
      name: group[0]!.credentialName,
      ...sum(group),
    })),
    byModem: grouped(row => row.slotId).map(group => ({
      slotId: group[0]!.slotId,
      nodeName: group[0]!.nodeName,
      slot: group[0]!.slot,
      model: 'E3372h-320',
      ...sum(group),
    })),
    rows: rows.sort((a, b) => b.hour - a.hour).slice(0, 2000),
    rowsCut: rows.length > 2000,
    total: sum(rows),
  };
}

function sum(rows: UsageSum[]): UsageSum {
  const total = { upBytes: 0, downBytes: 0, flows: 0 };
  for (const row of rows) {
    total.upBytes += row.upBytes;
    total.downBytes += row.downBytes;
    total.flows += row.flows;
  }
  return total;
}

export function aModem(change: Partial<ModemView> & { slot: number }): ModemView {
  return {
    slotId: id(100 + change.slot),
    nodeId: id(50),
    nodeName: 'rooftop-berlin',
    model: 'E3372h-320',
    virtual: true,
    state: 'connected',
    reason: 'Home network, LTE',
    cause: null,
    recovery: null,
    nodeOnline: true,
    exitAddress: `203.0.113.${10 + change.slot}`,
    upBytesPerSecond: 0,
    downBytesPerSecond: 0,
    openFlows: 0,
    lastSeenAt: Date.UTC(2026, 10, 23, 4, 40),
    own: false,
    ...change,
  };
}

function anOverview(nowMs: number): OverviewView {
  return {
    at: nowMs,
    nodes: { online: 1, total: 2 },
    modems: [
      aModem({ slot: 1, downBytesPerSecond: 1_830_000, upBytesPerSecond: 96_000, openFlows: 42 }),
      aModem({ slot: 2, downBytesPerSecond: 640_000, upBytesPerSecond: 31_000, openFlows: 17 }),
      aModem({
        slot: 3,
        model: 'RM520N-GL',
        virtual: false,
        state: 'recovering',
        reason: 'No registration for 4 min; radio is being switched off and on',
        exitAddress: null,
      }),
    ],
    throughput: { downBytesPerSecond: 2_470_000, upBytesPerSecond: 127_000 },
    today: { downBytes: 13_421_772_800, upBytes: 734_003_200, flows: 18_220 },
  };
}

function someEndpoints(): EndpointView[] {
  const slot = (number: number) => ({
    slot: number,
    model: 'E3372h-320',
    exitAddress: `203.0.113.${10 + number}`,
    state: 'connected' as const,
    virtual: true,
  });
  const common = {
    method: null,
    tls: null,
    tlsPossible: true,
    openTo: null,
    chain: [],
    reach: 'direct' as const,
    nodeName: 'rooftop-berlin',
    nodeOnline: true,
    problem: null,
  };
  return [
    {
      ...common,
      id: id(201),
      name: 'Berlin 1',
      protocols: ['socks5'],
      host: '198.51.100.7',
      port: 1081,
      slots: [slot(1)],
    },
    {
      ...common,
      id: id(202),
      name: 'Berlin 1 web',
      protocols: ['http'],
      host: '198.51.100.7',
      port: 8081,
      slots: [slot(1)],
    },
    {
      ...common,
      id: id(203),
      name: 'Berlin pool',
      protocols: ['socks5', 'http'],
      tls: 'optional',
      openTo: { sourceAddresses: ['198.51.100.0/24', '2001:db8:5::/48'], credentialId: id(301) },
      chain: [
        {
          id: id(801),
          protocol: 'socks5',
          host: 'hop.example.net',
          port: 1080,
          username: 'acme',
          method: null,
          hasSecret: true,
        },
      ],
      host: '2001:db8::7',
      port: 1090,
      slots: [slot(1), { ...slot(2), model: 'RM520N-GL', virtual: false }],
    },
    {
      ...common,
      id: id(205),
      name: 'Berlin phones',
      protocols: ['shadowsocks'],
      method: '2022-blake3-aes-128-gcm',
      host: '198.51.100.7',
      port: 8388,
      slots: [slot(2)],
    },
    {
      ...common,
      id: id(204),
      name: 'Attic',
      protocols: ['http'],
      host: '198.51.100.9',
      port: 8082,
      nodeName: 'attic-hamburg',
      nodeOnline: false,
      slots: [{ ...slot(4), exitAddress: null, state: 'absent' }],
      problem: 'The node attic-hamburg is offline since 02:14 UTC. Its host has been told.',
    },
  ];
}

function someCredentials(nowMs: number): CredentialView[] {
  const one = (n: number, name: string, change: Partial<CredentialView> = {}): CredentialView => ({
    id: id(300 + n),
    name,
    username: `acme-${name.toLowerCase().replaceAll(' ', '-')}`,
    suspended: false,
    limits: {},
    quota: null,
    createdAt: nowMs - 40 * 24 * HOUR_MS,
    bytesToday: 0,
    lastUsedAt: null,
    ...change,
  });
  return [
    one(1, 'Price crawler', { bytesToday: 9_663_676_416, lastUsedAt: nowMs - 60_000 }),
    one(2, 'Ad checks', {
      quota: {
        bytes: 50 * 2 ** 30,
        period: { kind: 'monthly', billingDay: 15 },
        used: 31_400_000_000,
        lent: 512 * 2 ** 20,
        periodStart: Date.UTC(2026, 10, 15),
        periodEnd: Date.UTC(2026, 11, 15),
      },
      limits: {
        flowsPerMinute: 600,
        concurrentFlows: 32,
        whenFull: 'close-oldest',
        downBytesPerSecond: 1_250_000,
        upBytesPerSecond: 250_000,
        sourceAddresses: ['198.51.100.0/24'],
        ports: ['443', '8000-8999'],
        expiresAt: Date.UTC(2027, 0, 31, 11, 30),
      },
      bytesToday: 734_003_200,
      lastUsedAt: nowMs - 26 * 60_000,
    }),
    one(3, 'Old scraper', { suspended: true, lastUsedAt: nowMs - 9 * 24 * HOUR_MS }),
    one(4, 'New project'),
  ];
}

function someNodes(nowMs: number): NodeView[] {
  const slot = (number: number): NodeView['slots'][number] => ({
    slotId: id(100 + number),
    slot: number,
    model: 'E3372h-320',
    exitAddress: `203.0.113.${10 + number}`,
    state: 'connected',
    virtual: true,
    reason: '',
    interface: `wwan${number}`,
    sourceAddress: `192.168.8.${100 + number}`,
    imei: null,
    lastSeenAt: nowMs,
    limits: number === 2 ? { downBytesPerSecond: 3_125_000, concurrentFlows: 200 } : {},
  });
  return [
    {
      id: id(401),
      name: 'rooftop-berlin',
      online: true,
      agentVersion: '0.1.0',
      lastSeenAt: nowMs,
      running: { revision: 4, hash: 'a'.repeat(64), outcome: 'applied', problems: [] },
      desiredRevision: 4,
      certificate: { certFile: '/etc/ssl/rooftop/proxy.pem', keyFile: '/etc/ssl/rooftop/proxy.key' },
      own: true,
      slots: [slot(1), slot(2)],
    },
  ];
}

/** Thirty days of two credentials on two modems: a daily wave with a quiet night, the same at every run. */
function someUsage(nowMs: number): UsageRow[] {
  const rows: UsageRow[] = [];
  const last = Math.floor(nowMs / HOUR_MS) * HOUR_MS;
  for (let back = 0; back < 30 * 24; back += 1) {
    const hour = last - back * HOUR_MS;
    const of = (hour / HOUR_MS) % 24;
    const wave = Math.max(0.04, Math.sin(((of - 5) / 24) * 2 * Math.PI) * 0.5 + 0.5);
    const drift = 0.7 + 0.3 * Math.sin(back / 37);
    for (const credential of [1, 2])
      for (const slot of [1, 2]) {
        const part = (credential === 1 ? 0.78 : 0.22) * (slot === 1 ? 0.6 : 0.4);
        const downBytes = Math.round(wave * drift * part * 1_700_000_000);
        rows.push({
          hour,
          credentialId: id(300 + credential),
          credentialName: credential === 1 ? 'Price crawler' : 'Ad checks',
          slotId: id(100 + slot),
          nodeName: 'rooftop-berlin',
          slot,
          endpointName: `Berlin ${slot}`,
          upBytes: Math.round(downBytes * 0.07),
          downBytes,
          flows: Math.round(downBytes / 700_000),
        });
      }
  }
  return rows;
}
