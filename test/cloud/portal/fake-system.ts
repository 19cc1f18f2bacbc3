/** An installation to look at: nodes that lag and nodes that do not, an hour of ingest, jobs of every kind. */
import { TRPCError } from '@trpc/server';
import type { NodeLagPage, NodeLagView, SystemView } from '../../../cloud/server/insight/system-views';

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;

export interface FakeSystem {
  view: SystemView;
  nodes: NodeLagView[];
}

export function fakeSystem(nowMs: number): FakeSystem {
  const nodes = Array.from({ length: 120 }, (_, n) => aNode(n, nowMs));
  const firstMinute = nowMs - (nowMs % MINUTE_MS) - 59 * MINUTE_MS;
  return {
    nodes,
    view: {
      at: nowMs,
      version: '0.1.0',
      nodes: {
        connected: 117,
        expected: 120,
        lagging: 3,
        recordsBehind: 18_434,
        worstSince: nowMs - 3 * HOUR_MS,
      },
      ingest: {
        recordsPerSecond: 1_284.4,
        batchesPerSecond: 61.2,
        minutes: Array.from({ length: 60 }, (_, index) => ({
          at: firstMinute + index * MINUTE_MS,
          stored: index === 59 ? 31_000 : Math.round(70_000 + 22_000 * Math.sin(index / 7)),
          duplicates: index % 13 === 0 ? 240 : 0,
          gaps: index === 31 ? 2 : 0,
          refused: index === 44 ? 1 : 0,
        })),
        refusals: [
          { code: 'ledger/gap', batches: 41 },
          { code: 'ledger/not-consecutive', batches: 1 },
        ],
      },
      processes: [0, 1].map(n => ({
        id: `01900000-0000-7000-8000-0000000007${n}0`,
        version: '0.1.0',
        startedAt: nowMs - (n + 2) * HOUR_MS,
        reportedAt: nowMs - 1_000,
        sessions: 58 + n,
        recordsPerSecond: 642,
        batchesPerSecond: 30,
        waitingRecords: n * 340,
        waitingBatches: n * 12,
        oldestWaitingMs: n * 90,
        retries: 0,
        waitingBytes: 18_400 * (n + 1),
        pausedSockets: 0,
        heldSockets: 0,
        timesHeld: n,
        databaseInUse: 2,
        databaseMax: 10,
        databaseWaiting: 0,
        liveStreams: 3,
        eventLoopP99Ms: 4.2,
        rssBytes: 310 * 1024 ** 2,
      })),
      jobs: [
        aJob('partitions', nowMs, {}),
        aJob('sessions', nowMs, {}),
        aJob('retention', nowMs, {
          everyMs: DAY_MS,
          outcome: 'failed',
          attempts: 3,
          overdue: true,
          detail: 'canceling statement due to statement timeout',
          succeededAt: nowMs - 2 * DAY_MS,
        }),
        aJob('rotations', nowMs, { overdue: true, succeededAt: nowMs - 5 * HOUR_MS }),
        aJob('order-rollups', nowMs, { everyMs: DAY_MS, startedAt: null, outcome: null, succeededAt: null }),
      ],
      database: {
        kind: 'server',
        bytes: 24.4 * 1024 ** 3,
        tables: [
          { name: 'usage_records', partitions: 5, bytes: 19.2 * 1024 ** 3, rows: 100_008_000 },
          { name: 'usage_rollups', partitions: 9, bytes: 4.1 * 1024 ** 3, rows: 8_120_400 },
          { name: 'usage_rollups_daily', partitions: 1, bytes: 190 * 1024 ** 2, rows: 420_100 },
        ],
      },
    },
  };
}

function aNode(n: number, nowMs: number): NodeLagView {
  const behind = [18_240, 190, 4][n] ?? 0;
  const lagMs = [3 * HOUR_MS, 12 * MINUTE_MS, 40_000][n];
  return {
    nodeId: `01900000-0000-7000-8000-${String(5_000 + n).padStart(12, '0')}`,
    name: n === 0 ? 'attic-hamburg' : `rooftop-${String(n).padStart(3, '0')}`,
    organization: n % 3 === 0 ? 'Northern Antennas GmbH & Co. KG' : 'Rooftop Hosts',
    connected: n !== 0 && n !== 7,
    lastSeenAt: n === 7 ? null : nowMs - (n === 0 ? 3 * HOUR_MS : 20_000),
    behind,
    behindSince: lagMs === undefined ? null : nowMs - lagMs,
    lastPeriodStart: n === 7 ? null : nowMs - (lagMs ?? 60_000),
    duplicates: n % 11 === 0 ? 120 : 0,
    gaps: n === 1 ? 2 : 0,
    refused: n === 2 ? 1 : 0,
  };
}

function aJob(
  name: string,
  nowMs: number,
  change: Partial<SystemView['jobs'][number]>,
): SystemView['jobs'][number] {
  return {
    name,
    everyMs: HOUR_MS,
    startedAt: nowMs - 20 * MINUTE_MS,
    outcome: 'done',
    detail: 'nothing to do',
    attempts: 1,
    succeededAt: nowMs - 20 * MINUTE_MS,
    overdue: false,
    ...change,
  };
}

/** As the real one pages: by place, which here is the number in the cursor. */
export function lagPage(
  system: FakeSystem,
  question: { search?: string | undefined; after?: string | null | undefined; limit?: number | undefined },
): NodeLagPage {
  const { search = '', after = null, limit = 50 } = question;
  if (after !== null && !/^\d+$/.test(after)) throw new TRPCError({ code: 'BAD_REQUEST' });
  const wanted = search.toLowerCase();
  const found = system.nodes.filter(
    node => node.name.includes(wanted) || node.organization.toLowerCase().includes(wanted),
  );
  const from = Number(after ?? 0);
  return {
    at: system.view.at,
    nodes: found.slice(from, from + limit),
    next: from + limit < found.length ? String(from + limit) : null,
  };
}

/** What a cloud looks like on its first day. */
export function emptySystem(system: FakeSystem): void {
  system.nodes = [];
  system.view.nodes = { connected: 0, expected: 0, lagging: 0, recordsBehind: 0, worstSince: null };
  system.view.processes = [];
  Object.assign(system.view.ingest, {
    recordsPerSecond: 0,
    batchesPerSecond: 0,
    refusals: [],
    minutes: system.view.ingest.minutes.map(({ at }) => ({
      at,
      stored: 0,
      duplicates: 0,
      gaps: 0,
      refused: 0,
    })),
  });
}
