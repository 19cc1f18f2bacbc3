/**
 * The agent's dealings with its cloud, put together: link, usage, desired state, reports. `main.ts` makes one of
 * these from an enrolled identity and hands in what the other planes offer. Serves from disk before and without a
 * cloud; nothing here is waited for by the data plane.
 */
import { type Clock, systemClock } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import type { SlotFigures } from '@mastline/shared/domain/modem';
import type { Downlink } from '@mastline/shared/wire/downlink';
import { METERED_PING_INTERVAL_MS, PING_INTERVAL_MS } from '@mastline/shared/wire/limits';
import type { Log } from '../observe/log';
import type { BeginTrace } from '../observe/trace-parent';
import type { ModemPlane, Reconciliation, Rotations } from '../ports';
import type { DeviceKey, Identity, StateStore } from '../spool/state-store';
import type { NodeSpool } from '../spool/usage-spool';
import type { SpoolPosition } from '../spool/usage-table';
import { type Boot, thisBoot } from './boot';
import { type CloudRoute, STRAIGHT } from './cloud-route';
import type { CloudTime } from './cloud-time';
import { type ApplyState, DesiredStateKeeper } from './desired-state';
import { EventBudget } from './event-budget';
import type { EventJournal } from './event-journal';
import { EVENT_KINDS, EventSync } from './event-sync';
import { Link, type LinkStatus } from './link';
import type { LinkSession } from './link-session';
import { type LinkMoved, LinkTraffic } from './link-traffic';
import { QUOTA_KINDS, type QuotaKeeper } from './quota-keeper';
import { RECONCILE_KINDS, ReconcileLink } from './reconcile-link';
import { Reports } from './reports';
import { RotationLink, TAKEN } from './rotation-link';
import { UplinkSync } from './uplink-sync';

export interface ControlPlaneOptions {
  agentVersion: string;
  identity: Identity;
  deviceKey: DeviceKey;
  store: StateStore;
  spool: NodeSpool;
  /** Makes the data plane serve a state; null for nothing at all. */
  apply: ApplyState;
  modems: Pick<ModemPlane, 'slots' | 'onChange'>;
  rotations: Rotations;
  /** Quota leases; without them the agent says that it takes none. */
  quotas?: QuotaKeeper;
  /** Days of slots for the cloud to compare; without it none are told. */
  reconciliation?: Reconciliation;
  /** What the node remembers; without it the agent says that it remembers nothing. */
  journal?: EventJournal;
  figures(): Promise<SlotFigures[]>;
  /** The clock that the spool uses too (`cloudTime(clock)`); corrected here. */
  time: CloudTime;
  log: Log;
  clock?: Clock;
  boot?: Boot;
  random?: () => number;
  /** How to reach the cloud; straight when left out. */
  route?: CloudRoute;
  /** The link costs SIM data: pings and reports are few. */
  metered?: boolean;
  /** Begins traces for some of the batches; left out for none. */
  beginTrace?: BeginTrace | undefined;
}

export interface ControlPlaneStatus {
  link: LinkStatus;
  /** What serves now; revision 0 for nothing. */
  running: { revision: number; hash: string | null };
  lease: { lapsed: boolean; remainingMs: number };
  clockOffsetMs: number | undefined;
}

export interface ControlPlane {
  /** Serves what is on disk, then keeps the link up. Resolves when the state from disk is applied; never waits for the cloud. */
  start(): Promise<void>;
  status(): ControlPlaneStatus;
  /** What the link has moved since the start, by local address. */
  linkMoved(): LinkMoved[];
  /**
   * Sends what the spool still has, for at most `deadlineMs`, and ends the link. To be called after the data plane
   * has committed its last usage and before the spool closes. What could not be sent stays in the spool.
   */
  close(deadlineMs: number): Promise<{ flushed: boolean }>;
}

export function controlPlane(options: ControlPlaneOptions): ControlPlane {
  const { identity, spool, time, log } = options;
  const clock = options.clock ?? systemClock;
  const random = options.random ?? Math.random;
  const now = time.now;
  const boot = options.boot ?? thisBoot();
  const metered = options.metered ?? false;
  const pingIntervalMs = metered ? METERED_PING_INTERVAL_MS : PING_INTERVAL_MS;
  let session: LinkSession | undefined;
  /** What the last hello announced. */
  let announced: SpoolPosition | undefined;

  const states = new DesiredStateKeeper({
    identity,
    store: options.store,
    apply: options.apply,
    report: report => void session?.send('state-report', report),
    clock,
    boot,
    now,
    log: log.child('desired-state'),
  });
  const uplink = new UplinkSync({
    spool,
    metered,
    clock,
    random,
    log: log.child('uplink'),
    beginTrace: options.beginTrace,
  });
  const events =
    options.journal &&
    new EventSync({
      journal: options.journal,
      isUsageQuiet: () => uplink.isQuiet,
      budget: metered ? new EventBudget(clock) : undefined,
      clock,
      log: log.child('events'),
    });
  const reports = new Reports({
    modems: options.modems,
    figures: options.figures,
    metered,
    clock,
    now,
    log: log.child('reports'),
  });

  const rotations = new RotationLink({
    rotations: options.rotations,
    metered,
    clock,
    log: log.child('rotations'),
  });

  const reconcile =
    options.reconciliation &&
    new ReconcileLink({
      reconciliation: options.reconciliation,
      metered,
      clock,
      now,
      random,
      log: log.child('reconcile'),
    });

  const traffic = new LinkTraffic();
  const link = new Link({
    cloudUrl: identity.cloudUrl,
    route: options.route ?? STRAIGHT,
    nodeId: identity.nodeId,
    sign: bytes => options.deviceKey.sign(bytes),
    hello: async () => {
      announced = await spool.position();
      const { epoch, lastSequence } = announced;
      const running = states.running();
      return {
        agentVersion: options.agentVersion,
        bootId: boot.id,
        now: Math.floor(now()),
        epoch,
        lastSequence,
        running,
        metered,
        pingIntervalMs,
        takes: [
          ...TAKEN,
          ...(options.quotas ? QUOTA_KINDS : []),
          ...(reconcile ? RECONCILE_KINDS : []),
          ...(events ? EVENT_KINDS : []),
        ],
      };
    },
    onUp: (up, welcome, roundTripMs) => {
      session = up;
      const isFirstTime = time.offsetMs() === undefined;
      time.correct(welcome.now, roundTripMs);
      if (isFirstTime) stamp(time.offsetMs() ?? 0);
      if (announced) uplink.begin(up, announced, welcome.mark);
      reports.begin(up, welcome.liveReportMs);
      rotations.begin(up, welcome.takes ?? []);
      options.quotas?.begin(up, welcome.takes ?? []);
      reconcile?.begin(up, welcome.takes ?? []);
      events?.begin(up, welcome.takes ?? []);
      const missed = states.lastReport();
      if (missed) up.send('state-report', missed);
    },
    onMessage: (_up, message) => heard(message),
    onHeard: () => states.contact(),
    onSocket: socket => traffic.follow(socket),
    onDown: () => {
      session = undefined;
      uplink.end();
      reports.end();
      rotations.end();
      options.quotas?.end();
      reconcile?.end();
      events?.end();
    },
    clock,
    random,
    log: log.child('link'),
    pingIntervalMs,
    metered,
  });

  /** From now on minutes are the cloud's; what was committed before is given its minute before any of it is sent. */
  const stamp = (offsetMs: number): void => {
    spool.corrected(offsetMs).catch(error => {
      // Kept as it is, unsealed, until the next start hears the cloud again.
      log.error('usage of the time before the cloud was heard could not be stamped', { error });
    });
  };

  const heard = (message: Downlink): void => {
    switch (message.kind) {
      case 'usage-ack':
        uplink.acknowledged(message.body);
        break;
      case 'usage-refused':
        uplink.refused(message.body);
        break;
      case 'desired-state':
        void states.receive(message.body);
        break;
      case 'rotate':
        rotations.asked(message.body);
        break;
      case 'rotations-noted':
        rotations.noted(message.body);
        break;
      case 'quota-grant':
        options.quotas?.granted(message.body);
        break;
      case 'quota-call':
        options.quotas?.called(message.body);
        break;
      case 'reconcile-noted':
        reconcile?.noted(message.body);
        break;
      case 'event-ack':
        events?.acknowledged(message.body);
        break;
      case 'event-refused':
        events?.refused(message.body);
        break;
      case 'pong':
        time.correct(message.body.now, Math.max(0, clock.monotonicMs() - message.body.at));
        break;
      case 'welcome':
      case 'move-away':
        // The session deals with both.
        break;
    }
  };

  const flush = async (deadlineMs: number): Promise<boolean> => {
    if (!session) return false;
    try {
      await withDeadline(uplink.flushed(), deadlineMs, 'sending the last usage', clock);
      return true;
    } catch (error) {
      if (codeOf(error) !== 'deadline/exceeded') throw error;
      log.warn('not all usage could be sent before the end; it stays in the spool', { deadlineMs });
      return false;
    }
  };

  return {
    async start() {
      await states.start();
      link.start();
    },
    linkMoved: () => traffic.moved(),
    status: () => ({
      link: link.status(),
      running: states.running(),
      lease: states.lease(),
      clockOffsetMs: time.offsetMs(),
    }),
    async close(deadlineMs) {
      const flushed = await flush(deadlineMs);
      await link.close();
      uplink.end();
      reports.end();
      rotations.end();
      options.quotas?.end();
      reconcile?.end();
      events?.end();
      await states.close();
      await options.quotas?.close();
      return { flushed };
    },
  };
}
