/**
 * Puts the cloud together and takes it down again: database, domains, gateway, HTTP, in that order, and back. One
 * owner of everything that must be freed. Flags, signals and printing are main.ts.
 */
import { createHmac, randomUUID } from 'node:crypto';
import type { Clock } from '@mastline/shared/base/clock';
import { systemClock } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import { noBus } from './cluster/bus';
import { Cluster } from './cluster/cluster';
import { Codec, type NodeOrder } from './cluster/messages';
import { NatsBus } from './cluster/nats-bus';
import type { Config } from './config';
import { EventRate } from './connections/event-rate';
import { type Database, openDatabase } from './db/database';
import { migrate } from './db/migrate';
import { Presence } from './fleet/presence';
import { RotationOrders } from './fleet/rotation-orders';
import { countRecentNodes, SeenNotes } from './fleet/seen-notes';
import { sharedAdmissions } from './gateway/admissions';
import { dispatch } from './gateway/dispatch';
import { Gateway } from './gateway/gateway';
import { nodeFinder } from './gateway/node-finder';
import { Nonces } from './gateway/nonces';
import { createHttpServer, listen } from './http/server';
import { LoginThrottle } from './identity/login-throttle';
import { createSessions } from './identity/sessions';
import { ingestServices } from './ingest/services';
import { LiveFeed } from './insight/live-feed';
import { ProcessReports } from './insight/process-reports';
import { type Job, JobRunner, lastSuccesses } from './jobs/job-runner';
import { schedule } from './jobs/schedule';
import { BatchWriter } from './ledger/batch-writer';
import { IngestWatch } from './ledger/ingest-watch';
import { ensurePartitions } from './ledger/partitions';
import type { Log } from './log';
import { watchEventLoop } from './observe/event-loop';
import { type MetricsServer, openMetricsServer } from './observe/metrics-server';
import { isTracing } from './observe/spans';
import { Tallies } from './observe/tallies';
import { traceQueries } from './observe/traced-queries';
import { QuotaDesk } from './quota/quota-desk';
import { openAlerts } from './reconciliation/reconcile';
import { bringUpToDate, changedSince } from './rollout/publish';
import { loadSigner } from './rollout/signing';
import type { Services } from './rpc/context';
import { loadSecretKey } from './secrets/key-file';
import { secretStore } from './secrets/secret-store';
import { type Demo, readDemoRequest, seedDemo } from './seed';
import { VERSION } from './version';

/** For agents to be told and for what has arrived to be stored, of the 3 seconds that a stop may take. */
const GATEWAY_STOP_MS = 1_500;
const METRICS_QUERY_DEADLINE_MS = 2_000;

export interface Cloud {
  /** Where it listens, such as http://127.0.0.1:8480. */
  url: string;
  /** Where its metrics are; null without. */
  metricsUrl: string | null;
  services: Services;
  gateway: Gateway;
  demo: Demo | null;
  /** Compiles a node's desired state anew and sends it when it changed and the node is connected. */
  pushDesiredState(nodeId: string): Promise<void>;
  close(): Promise<void>;
}

export async function startCloud(config: Config, log: Log, clock: Clock = systemClock): Promise<Cloud> {
  const db = await openDatabase({ databaseUrl: config.databaseUrl, dataDir: config.dataDir, log });
  if (isTracing()) traceQueries(db.pool);
  try {
    return await startOn(db, config, { log, clock });
  } catch (error) {
    await db.close();
    throw error;
  }
}

async function startOn(
  db: Database,
  config: Config,
  { log, clock }: { log: Log; clock: Clock },
): Promise<Cloud> {
  const applied = await migrate(db);
  if (applied.length > 0) log.info({ applied }, 'database migrated');
  await ensurePartitions(db, clock.now());
  const secretKey = loadSecretKey(config.dataDir, config.secretKey);
  const secrets = secretStore(secretKey);
  const presence = new Presence(clock);
  const usage = new BatchWriter({ db, clock, log });
  presence.expect(await countRecentNodes(db));
  const seen = new SeenNotes({ db, clock, log });
  const watch = new IngestWatch({ db, clock, log });
  const rotations = new RotationOrders(clock, (nodeId, body) =>
    cluster.send(nodeId, { kind: 'rotate', body }),
  );
  const quotas = new QuotaDesk({
    db,
    clock,
    callNode: (nodeId, credentialIds) =>
      cluster.tell(nodeId, { kind: 'quota-call', body: { credentialIds } }),
  });
  const signer = await loadSigner(db, secrets, clock.now());
  /** Compiles anew what the node should be, and sends it when it is connected. */
  const push = async (nodeId: string) => {
    const state = await bringUpToDate({ db, secrets, signer }, { nodeId, now: clock.now() });
    gateway.session(nodeId)?.send('desired-state', state);
  };
  const tallies = new Tallies();
  /** What was set is stored: a node that does not get it now gets it with its next greeting. */
  const pushAll = async (nodeIds: readonly string[]) => {
    for (const nodeId of nodeIds)
      try {
        await push(nodeId);
      } catch (error) {
        log.error({ err: error, nodeId }, 'a change of settings could not be sent');
      }
  };
  const pushHere = (nodeIds: readonly string[]) =>
    pushAll(nodeIds.filter(nodeId => gateway.session(nodeId) !== undefined));
  const processId = randomUUID();
  const cluster = new Cluster({
    id: processId,
    bus:
      config.natsUrl === null
        ? noBus
        : new NatsBus({ url: config.natsUrl, name: `mastline-cloud ${processId}`, clock, log }),
    codec: new Codec(keyFor(secretKey, 'cluster')),
    clock,
    log,
    ports: {
      presence,
      deliver: (nodeId, order) => deliver(gateway, nodeId, order),
      replaced: (nodeId, order) => gateway.replaced(nodeId, order),
      push: nodeIds => void pushHere(nodeIds),
      catchUp: ms =>
        void changedSince(db, clock.now() - ms).then(pushHere, error =>
          log.error({ err: error }, 'what was set while NATS was away could not be read'),
        ),
      told: ids => rotations.told(ids),
    },
  });
  const services: Services = {
    db,
    secrets,
    presence,
    usage,
    watch,
    seen,
    eventRate: new EventRate(clock),
    rotations,
    cluster,
    quotas,
    clock,
    log,
    tallies,
    jobs: () => scheduled,
    async settingsChanged(nodeIds) {
      cluster.push(nodeIds);
      await pushAll(nodeIds);
    },
  };
  const demo = config.demoSeed === null ? null : await seedDemo(services, readDemoRequest(config.demoSeed));
  const sessions = createSessions(db, { secure: config.publicUrl?.startsWith('https:') === true });

  const isOneOfMany = config.natsUrl !== null;
  const nonces = new Nonces(clock, isOneOfMany ? keyFor(secretKey, 'link nonces') : undefined);
  const findNode = nodeFinder(db);
  const ingest = ingestServices(services, signer);
  const gateway = new Gateway({
    findNode,
    nonces,
    ...(isOneOfMany ? { admissions: sharedAdmissions(db) } : {}),
    presence,
    clock,
    log,
    tallies,
    onMessage: (session, message) => dispatch(ingest, session, message),
  });
  const feed = new LiveFeed(services, { clock });
  const scheduled: readonly Job[] = schedule({ db, sessions, retention: config.retention, clock, log });
  const jobs = new JobRunner({
    db,
    jobs: scheduled,
    clock,
    log,
    tallies,
    processId,
  });
  const figures = {
    version: VERSION,
    tallies,
    link: () => gateway.figures(),
    writer: () => usage.figures(),
    pool: () => poolFigures(db),
    liveStreams: () => feed.streams,
  };
  const reports = new ProcessReports({
    db,
    clock,
    log,
    processId,
    sources: { ...figures, eventLoop: watchEventLoop() },
  });
  const eventLoop = watchEventLoop();
  let metrics: MetricsServer | undefined;
  const stopParts = async () => {
    feed.close();
    rotations.close();
    const jobsDone = jobs.close();
    await gateway.close(GATEWAY_STOP_MS);
    await cluster.close();
    await seen.close();
    await watch.close();
    await reports.close();
    await jobsDone;
    await metrics?.close();
    eventLoop.close();
  };
  try {
    const server = await createHttpServer({
      services,
      sessions,
      throttle: new LoginThrottle(clock),
      nonces,
      findNode,
      gateway,
      feed,
      onEnrolled: async nodeId => demo?.nodeEnrolled(nodeId),
      publicUrl: config.publicUrl,
      echoUrl: config.echoUrl,
      trustedProxies: config.trustedProxies,
    });
    if (config.metrics !== null)
      metrics = await openMetricsServer(
        config.metrics,
        {
          ...figures,
          eventLoop,
          cluster: () => cluster.figures(),
          now: () => clock.now(),
          jobs: () => toldOrNull(services, 'the age of jobs', lastSuccesses(services.db)),
          alerts: () => toldOrNull(services, 'open alerts', openAlerts(services.db)),
        },
        log,
      );
    const address = await listen(server, config.host, config.port);
    cluster.start();
    const host = address.family === 'IPv6' ? `[${address.address}]` : address.address;
    return {
      url: `http://${host}:${address.port}`,
      metricsUrl: metrics?.url ?? null,
      services,
      gateway,
      demo,
      pushDesiredState: push,
      async close() {
        const closed = new Promise<void>(resolve => server.close(() => resolve()));
        await stopParts();
        server.closeAllConnections();
        await closed;
        await db.close();
      },
    };
  } catch (error) {
    await stopParts();
    throw error;
  }
}

function poolFigures({ pool }: Database) {
  return {
    size: pool.options.max,
    open: pool.totalCount,
    idle: pool.idleCount,
    waiting: pool.waitingCount,
  };
}

/** A scrape must not fail, or hang, because the database does. */
async function toldOrNull<T>(
  { clock, log }: Pick<Services, 'clock' | 'log'>,
  what: string,
  answer: Promise<T>,
): Promise<T | null> {
  try {
    return await withDeadline(answer, METRICS_QUERY_DEADLINE_MS, `asking for ${what}`, clock);
  } catch (error) {
    log.warn({ err: messageOf(error) }, `metrics are served without ${what}`);
    return null;
  }
}

/** A key for one purpose, the same in every process that has the secret key. */
function keyFor(secretKey: Buffer, purpose: string): Buffer {
  return createHmac('sha256', secretKey).update(`mastline ${purpose}`).digest();
}

/** Hands an order to a node's session in this process. */
function deliver(gateway: Gateway, nodeId: string, order: NodeOrder): 'sent' | 'offline' | 'unsupported' {
  const session = gateway.session(nodeId);
  if (session === undefined) return 'offline';
  if (!session.takes(order.kind)) return 'unsupported';
  if (order.kind === 'rotate') session.send('rotate', order.body);
  else session.send('quota-call', order.body);
  return 'sent';
}
