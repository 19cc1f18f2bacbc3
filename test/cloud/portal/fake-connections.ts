/** The connection log and the events of a cloud in memory: filters and pages as the real one has them, rows by a pattern. */
import type {
  ConnectionView,
  EventsPage,
  EventView,
  LogSettingsView,
} from '../../../cloud/server/connections/views';
import type { Viewer } from '../../../cloud/server/identity/viewer';

const PAGE = 50;
const id = (n: number) => `01900000-0000-7000-8000-${String(n).padStart(12, '0')}`;

type Called = <T>(path: string, input: unknown, answer: (viewer: Viewer) => T) => Promise<T>;

interface Ask {
  from?: number | undefined;
  to?: number | undefined;
  credentialId?: string | undefined;
  slotId?: string | undefined;
  outcome?: string | undefined;
  after?: string | undefined;
}

export class FakeConnections {
  connections: ConnectionView[];
  events: EventView[];
  dropped: EventsPage['dropped'] = { events: 0, flows: 0 };
  settings: LogSettingsView = { connectionLogDays: 30, eventDays: 90, destinations: 'host-and-port' };

  constructor(nowMs: number, credentials: readonly { id: string; name: string }[]) {
    this.connections = Array.from({ length: 120 }, (_, at) => aConnection(at, nowMs, credentials));
    this.events = someEvents(nowMs);
  }

  routers(called: Called) {
    const find = (ask: Ask) =>
      this.connections.filter(
        row =>
          (ask.from === undefined || row.endedAt >= ask.from) &&
          (ask.to === undefined || row.endedAt < ask.to) &&
          (ask.credentialId === undefined || row.credentialId === ask.credentialId) &&
          (ask.slotId === undefined || row.slotId === ask.slotId) &&
          (ask.outcome === undefined ||
            (ask.outcome === 'refused' ? !['ok', 'cut'].includes(row.outcome) : row.outcome === ask.outcome)),
      );
    const mine = (who: Viewer, rows: ConnectionView[]) => (who.active.kinds.includes('customer') ? rows : []);
    return {
      connections: {
        list: (input: Ask) =>
          called('connections.list', input, who => pageOf(mine(who, find(input)), input.after)),
        export: (input: Ask) =>
          called('connections.export', input, who => ({ rows: mine(who, find(input)), cut: false })),
        carried: (input: unknown) => called('connections.carried', input, () => ({ rows: [], next: null })),
        settings: () => called('connections.settings', undefined, () => this.settings),
        setSettings: (input: LogSettingsView) =>
          called('connections.setSettings', input, () => {
            this.settings = input;
          }),
        trace: (input: unknown) => called('connections.trace', input, () => ({ rows: [], cut: false })),
      },
      events: {
        list: (input: { severities?: string[] | undefined; after?: string | undefined }) =>
          called('events.list', input, () => ({
            ...pageOf(
              this.events.filter(({ severity }) => input.severities?.includes(severity) ?? true),
              input.after,
            ),
            dropped: this.dropped,
          })),
      },
    };
  }
}

function pageOf<Row extends { cursor: string }>(rows: Row[], after: string | undefined) {
  const from = after === undefined ? 0 : rows.findIndex(({ cursor }) => cursor === after) + 1;
  const page = rows.slice(from, from + PAGE);
  return { rows: page, next: from + PAGE < rows.length ? (page.at(-1)?.cursor ?? null) : null };
}

const HOSTS = [
  'shop.example',
  'api.prices.example',
  'a-rather-long-host-name.cdn.somewhere.example',
  'news.example',
];
const OUTCOMES = ['ok', 'ok', 'ok', 'cut', 'ok', 'origin-timeout', 'ok', 'no-modem'];

function aConnection(
  at: number,
  nowMs: number,
  credentials: readonly { id: string; name: string }[],
): ConnectionView {
  const endedAt = nowMs - at * 47_000;
  const outcome = OUTCOMES[at % OUTCOMES.length] ?? 'ok';
  const isRefused = !['ok', 'cut'].includes(outcome);
  const credential = credentials[at % Math.max(1, credentials.length)];
  const slot = outcome === 'no-modem' ? null : 1 + (at % 3);
  return {
    cursor: `${endedAt}-${1_000 - at}`,
    endedAt,
    tookMs: isRefused ? 0 : 320 + at * 97,
    credentialId: credential?.id ?? id(1),
    credentialName: credential?.name ?? 'credential',
    endpointName: 'Berlin mixed',
    nodeName: 'rooftop-berlin',
    slot,
    slotId: slot === null ? null : id(100 + slot),
    model: slot === null ? null : 'E3372h-320',
    protocol: at % 2 === 0 ? 'socks5' : 'http',
    outcome,
    times: outcome === 'no-modem' ? 12 : 1,
    upBytes: isRefused ? 0 : 1_200 + at * 31,
    downBytes: isRefused ? 0 : 48_000 + at * 9_731,
    host: at % 11 === 5 ? null : (HOSTS[at % HOSTS.length] ?? null),
    address: at % 11 === 5 ? null : '203.0.113.9',
    port: at % 11 === 5 ? null : 443,
  };
}

function someEvents(nowMs: number): EventView[] {
  const event = (minutesAgo: number, over: Partial<EventView>): EventView => ({
    cursor: `${nowMs - minutesAgo * 60_000}-${1_000 - minutesAgo}`,
    at: nowMs - minutesAgo * 60_000,
    kind: 'modem-state',
    severity: 'info',
    slot: 1,
    source: null,
    times: 1,
    tookMs: null,
    detail: 'connected: Home network, LTE',
    ...over,
  });
  return [
    event(2, { kind: 'rotation', tookMs: 6_200, detail: 'rotated: 198.51.100.10 → 198.51.100.24' }),
    event(9, {
      kind: 'recovery',
      severity: 'warning',
      slot: 3,
      tookMs: 41_000,
      detail: 'no-registration: not-mended (radio not-mended, restart not-mended)',
    }),
    event(14, {
      severity: 'alarm',
      slot: 3,
      detail: 'failed: sim-out-of-credit, The SIM has no credit left',
    }),
    event(25, {
      kind: 'login-refused',
      severity: 'warning',
      slot: null,
      source: '2001:db8:85a3::8a2e:370:7334',
      times: 412,
      detail: 'wrong user name or password',
    }),
    event(40, { kind: 'private-target', slot: null, times: 3, detail: '192.168.8.1 port 80' }),
    event(90, {
      kind: 'flood',
      severity: 'warning',
      slot: null,
      source: '203.0.113.66',
      times: 18_220,
      detail: 'connects held off before they cost anything',
    }),
    event(120, {}),
  ];
}
