/** The System page: how the whole installation does. For operators; who may ask is api.ts. */
import { CodedError } from '@mastline/shared/base/coded-error';
import { NodeId } from '@mastline/shared/domain/ids';
import type { Database } from '../db/database';
import { countRecentNodes } from '../fleet/seen-notes';
import {
  type LagCursor,
  readLagSum,
  readLags,
  readMinutes,
  readRefusals,
  UP_TO_DATE,
} from '../ledger/watch-sql';
import type { Services } from '../rpc/context';
import { VERSION } from '../version';
import { readProcesses } from './process-reports';
import type { JobView, MinuteView, NodeLagPage, SystemView } from './system-views';

const MINUTE_MS = 60_000;
const MINUTES = 60;
const WEEK_MS = 7 * 86_400_000;
/** Beyond its period a job may be late by so much: a look is every 15 s, and a run takes its time. */
const JOB_GRACE_MS = 10 * MINUTE_MS;

export async function readSystem(services: Services): Promise<SystemView> {
  const { db, clock } = services;
  const at = clock.now();
  const firstMinute = at - (at % MINUTE_MS) - (MINUTES - 1) * MINUTE_MS;
  // One after the other: the embedded database has one connection, and others wait for it.
  const processes = await readProcesses(db, at);
  const expected = await countRecentNodes(db);
  const lag = await readLagSum(db.pool);
  const minutes = await readMinutes(db.pool, new Date(firstMinute));
  const refusals = await readRefusals(db.pool, new Date(at - WEEK_MS));
  const jobs = await readJobs(services, at);
  const database = await sizesOf(services);
  const sum = (of: (each: (typeof processes)[number]) => number) =>
    processes.reduce((total, each) => total + of(each), 0);
  return {
    at,
    version: VERSION,
    nodes: {
      connected: sum(each => each.sessions),
      expected,
      lagging: lag.lagging,
      recordsBehind: lag.records,
      worstSince: lag.since,
    },
    ingest: {
      recordsPerSecond: sum(each => each.recordsPerSecond),
      batchesPerSecond: sum(each => each.batchesPerSecond),
      minutes: Array.from({ length: MINUTES }, (_, index): MinuteView => {
        const minute = firstMinute + index * MINUTE_MS;
        const found = minutes.find(each => each.at === minute);
        return {
          at: minute,
          stored: found?.stored ?? 0,
          duplicates: found?.duplicates ?? 0,
          gaps: found?.gaps ?? 0,
          refused: found?.refused ?? 0,
        };
      }),
      refusals,
    },
    processes,
    jobs,
    database,
  };
}

export interface LagQuestion {
  search: string;
  /** What an earlier page said in `next`. */
  after: string | null;
  limit: number;
}

export async function readLagPage(services: Services, question: LagQuestion): Promise<NodeLagPage> {
  const at = services.clock.now();
  const after = question.after === null ? null : cursorOf(question.after);
  const rows = await readLags(services.db.pool, {
    search: question.search,
    after,
    limit: question.limit + 1,
    now: at,
  });
  const shown = rows.slice(0, question.limit);
  const last = shown.at(-1);
  return {
    at,
    nodes: shown.map(({ since, ...row }) => ({
      ...row,
      connected: services.presence.isOnline(row.nodeId),
      behindSince: since === UP_TO_DATE ? null : since,
    })),
    next: rows.length > shown.length && last ? `${last.since}.${last.nodeId}` : null,
  };
}

function cursorOf(text: string): LagCursor {
  const [, since, nodeId] = /^(\d{1,16})\.([0-9a-f-]{36})$/.exec(text) ?? [];
  if (since === undefined || nodeId === undefined || !NodeId.safeParse(nodeId).success)
    throw new CodedError('input/invalid', 'a cursor of another kind', {
      userMessage: 'This page of the list does not exist. Begin with the first.',
    });
  return { since: Number(since), nodeId };
}

async function readJobs(services: Services, at: number): Promise<JobView[]> {
  const { rows } = await services.db.pool.query<{
    job: string;
    started_at: Date;
    outcome: 'done' | 'failed' | null;
    detail: string | null;
    attempts: number;
    succeeded_at: Date | null;
  }>(
    `SELECT DISTINCT ON (j.job) j.job, j.started_at, j.outcome, j.detail, j.attempts,
            (SELECT max(s.finished_at) FROM job_runs s WHERE s.job = j.job AND s.outcome = 'done') AS succeeded_at
       FROM job_runs j ORDER BY j.job, j.due_at DESC`,
  );
  return services.jobs().map(({ name, everyMs }) => {
    const run = rows.find(row => row.job === name);
    const succeededAt = run?.succeeded_at?.getTime() ?? null;
    return {
      name,
      everyMs,
      startedAt: run?.started_at.getTime() ?? null,
      outcome: run?.outcome ?? null,
      detail: run?.detail ?? null,
      attempts: run?.attempts ?? 0,
      succeededAt,
      overdue:
        run !== undefined &&
        (run.outcome === 'failed' || at - (succeededAt ?? run.started_at.getTime()) > everyMs + JOB_GRACE_MS),
    };
  });
}

/** Sizes as the database itself counts them; rows are its estimate, null before it has made one. */
/** Asking for sizes looks at every file of the database: the page may ask every few seconds, the answer is this old at most. */
const SIZES_LIFETIME_MS = MINUTE_MS;
const lastSizes = new WeakMap<Database, { readMs: number; sizes: SystemView['database'] }>();

async function sizesOf({ db, clock }: Pick<Services, 'db' | 'clock'>): Promise<SystemView['database']> {
  const last = lastSizes.get(db);
  const now = clock.monotonicMs();
  if (last !== undefined && now - last.readMs < SIZES_LIFETIME_MS) return last.sizes;
  const sizes = await readSizes(db);
  lastSizes.set(db, { readMs: now, sizes });
  return sizes;
}

async function readSizes(db: Database): Promise<SystemView['database']> {
  const { rows } = await db.pool.query<{
    name: string;
    partitions: string;
    bytes: string;
    rows: string | null;
  }>(
    `SELECT p.relname AS name, count(c.oid) AS partitions,
            sum(pg_total_relation_size(c.oid))::bigint AS bytes, CASE WHEN max(c.reltuples) >= 0 THEN sum(greatest(c.reltuples, 0))::bigint END AS rows
       FROM pg_class p JOIN pg_inherits i ON i.inhparent = p.oid JOIN pg_class c ON c.oid = i.inhrelid
      WHERE p.relname IN ('usage_records', 'usage_rollups') AND p.relkind = 'p' AND p.relnamespace = 'public'::regnamespace
      GROUP BY p.relname
      UNION ALL
     SELECT relname, 1, pg_total_relation_size(oid), CASE WHEN reltuples >= 0 THEN reltuples::bigint END
       FROM pg_class WHERE relname = 'usage_rollups_daily' AND relnamespace = 'public'::regnamespace
      ORDER BY name`,
  );
  const size = await db.pool.query<{ bytes: string }>('SELECT pg_database_size(current_database()) AS bytes');
  return {
    kind: db.kind,
    bytes: Number(size.rows[0]?.bytes ?? 0),
    tables: rows.map(row => ({
      name: row.name,
      partitions: Number(row.partitions),
      bytes: Number(row.bytes),
      rows: row.rows === null ? null : Number(row.rows),
    })),
  };
}
