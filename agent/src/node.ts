/**
 * A node: the composition root of an agent that belongs to a cloud. Opens the parts in order, joins them by their
 * ports, and takes them down in reverse. Holds no rules of its own; each part's are in its folder.
 */
import { mkdirSync } from 'node:fs';
import { availableParallelism, hostname, networkInterfaces, totalmem } from 'node:os';
import { join } from 'node:path';
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import { systemClock } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { NodeConfig } from './config';
import { thisBoot } from './control-plane/boot';
import { cloudAddress } from './control-plane/cloud-request';
import { type CloudRoute, cloudRoute, STRAIGHT, shownProxy } from './control-plane/cloud-route';
import { cloudTime } from './control-plane/cloud-time';
import { controlPlane } from './control-plane/control-plane';
import { storedState } from './control-plane/desired-state';
import { enrol } from './control-plane/enrolment';
import { EventJournal } from './control-plane/event-journal';
import { watchNode } from './control-plane/node-watch';
import { quotaBook } from './control-plane/quota-book';
import { QuotaKeeper } from './control-plane/quota-keeper';
import { createDataPlane } from './data-plane/data-plane';
import { Firewall } from './data-plane/firewall';
import { threadCount } from './data-plane/thread-count';
import { giveWay, helperThreads } from './give-way';
import { Discovery } from './modem-plane/discovery/discovery';
import { runTool } from './modem-plane/discovery/run-tool';
import { SlotBook } from './modem-plane/discovery/slot-book';
import { discoveredSlots } from './modem-plane/discovery/slot-source';
import { writeAttribute } from './modem-plane/discovery/sysfs';
import { SYSTEM_ROOTS } from './modem-plane/discovery/system-roots';
import { cycleUsb } from './modem-plane/discovery/usb-power';
import { LeakGuard } from './modem-plane/leak-guard';
import { createModemPlane } from './modem-plane/modem-plane';
import { ProfileShelf } from './modem-plane/profile-shelf';
import { toldToCustomer } from './modem-plane/rotation-office';
import type { SlotConfig } from './modem-plane/slot-config';
import type { SlotSource } from './modem-plane/slot-source';
import { VirtualSlots } from './modem-plane/virtual-slots';
import { createLog, type Log } from './observe/log';
import { logLevel } from './observe/log-level';
import { openMetricsServer } from './observe/metrics-server';
import { openStatusPage } from './observe/status-page';
import { beginTrace } from './observe/trace-parent';
import { usageTally } from './observe/usage-tally';
import { PlanKeeper } from './plan-keeper';
import type { DataPlane, LaneFigures, SlotTraffic } from './ports';
import { linkShare } from './reconcile/link-share';
import { Reconciler } from './reconcile/reconciler';
import { rotateAction } from './rotate-command';
import { speedTestAction } from './speedtest-command';
import { lockDataDir } from './spool/data-dir-lock';
import { eventStore } from './spool/event-store';
import { type StateStore, stateStore } from './spool/state-store';
import { openUsageSpool } from './spool/usage-spool';
import { onHangUp, stopSignal } from './stop-signal';
import { AGENT_VERSION } from './version';

/** Running flows have this long after SIGTERM. */
const GRACE_MS = 3_000;
/** Then the last usage has this long to reach the cloud; what does not is sent after the next start. */
const FLUSH_MS = 500;
const REBOOT_DEADLINE_MS = 20_000;

export interface Claim {
  code: string;
  /** Who agreed to the consent text. */
  acceptedBy: string;
}

/** Serves until told to stop; enrols first when a claim is given. Throws a sentence when a part cannot be opened. */
export async function runNode(config: NodeConfig, claim: Claim | undefined): Promise<void> {
  // From here on a signal is a wish to stop, also while parts are still being opened.
  const stopped = stopSignal();
  const helpers = helperThreads();
  const log = createLog({ level: logLevel() });
  onHangUp(() => log.warn('the configuration of a node is read at its start only: restart it'));
  const opened: (() => Promise<void>)[] = [];
  const closeWith = (close: () => Promise<void>) => void opened.push(close);
  try {
    await open(config, claim, { log, helpers, closeWith });
    log.info('stopping', { reason: await stopped });
  } finally {
    for (const close of opened.reverse())
      try {
        await close();
      } catch (error) {
        log.error('a part did not close well', { error });
        process.exitCode = 1;
      }
  }
  process.exit();
}

async function open(
  config: NodeConfig,
  claim: Claim | undefined,
  frame: { log: Log; helpers: readonly number[]; closeWith(close: () => Promise<void>): void },
): Promise<void> {
  const { log, helpers, closeWith } = frame;
  const lock = lockDataDir(config.dataDir);
  closeWith(async () => lock.release());
  const store = stateStore(config.dataDir, log.child('state'));
  const route = cloudRoute(config.cloud);
  const identity = await identityOf(config, claim, { store, route, log });
  const time = cloudTime(systemClock);

  const spool = await openUsageSpool({
    path: join(config.dataDir, 'spool.db'),
    now: time.now,
    awaitsCorrection: true,
    log: log.child('spool'),
    onFault: fault => {
      // Whether the last commit is on disk is not known: nothing may be committed again by this process.
      log.error('the spool is gone, stopping', { error: fault });
      process.exit(1);
    },
  });
  closeWith(() => spool.close());
  const tally = usageTally(spool);
  const boot = thisBoot();
  // Before anything goes through a slot: what went through before is of the run before.
  const reconciler = await Reconciler.open({
    dataDir: config.dataDir,
    spool,
    bootId: boot.id,
    clock: systemClock,
    now: time.now,
    roots: SYSTEM_ROOTS,
    log: log.child('reconcile'),
  });
  const journal = new EventJournal({
    store: eventStore(join(config.dataDir, 'events.db'), systemClock),
    time,
    metered: config.cloud.metered,
    clock: systemClock,
    log: log.child('events'),
  });
  closeWith(() => journal.close());

  const slots = config.slots.filter(slot => slot !== 'discover');
  const profiles = new ProfileShelf({ own: loadCatalogue, log: log.child('profiles') });
  // Slots of the configuration may name one that came from the cloud.
  profiles.adopt((await storedState(store, identity))?.profiles ?? []);
  // There before the first plan is applied, hence before anything can ask for a rotation.
  let flowCounter: Pick<DataPlane, 'openFlows' | 'metrics'> | undefined;
  const modems = createModemPlane({
    slots,
    sources: [
      ...(config.slots.includes('discover')
        ? [discoveryOf({ dataDir: config.dataDir, slots, profiles, log })]
        : []),
      new VirtualSlots({
        stateDir: config.virtual ?? join(config.dataDir, 'virtual'),
        clock: systemClock,
        log: log.child('virtual'),
      }),
    ],
    profiles,
    echoUrls: config.echoUrls,
    dataDir: config.dataDir,
    clock: systemClock,
    log: log.child('modems'),
    guard: config.firewall ? new LeakGuard({ clock: systemClock, log: log.child('leak-guard') }) : undefined,
    openFlows: async slot => flowCounter?.openFlows(slot) ?? 0,
    ownEchoUrl: cloudAddress(config.cloud.url, '/echo').href,
    now: time.now,
    traffic: async () => trafficOf((await flowCounter?.metrics()) ?? []),
    metered: config.cloud.metered,
    sims: config.sims,
    speedTest: config.speedTest,
    recovery: {
      cycleUsb: (usbPath, request) =>
        cycleUsb(usbPath, request, {
          roots: SYSTEM_ROOTS,
          clock: systemClock,
          write: writeAttribute,
          runTool,
        }),
      cutNeighbours: config.recovery.cutNeighbours,
      ...(config.recovery.hostReboot ? { rebootHost } : {}),
    },
  });
  closeWith(() => modems.close());

  let note: ReturnType<typeof watchNode> | undefined;

  // The control plane's last flush comes after the data plane's last commit, hence is opened (and closed) around it.
  let control: ReturnType<typeof controlPlane> | undefined;
  closeWith(async () => {
    const end = await control?.close(FLUSH_MS);
    if (end && !end.flushed) log.warn('usage that the cloud has not confirmed stays in the spool');
  });

  // Closed when the data plane has committed its last usage.
  closeWith(() => reconciler.close());
  const dataPlane = createDataPlane({
    sink: tally.sink,
    log: log.child('data-plane'),
    note: notes => note?.(notes),
    firewall: config.firewall ? new Firewall({ log: log.child('firewall') }) : undefined,
    threads: threadCount(config.threads, { parallelism: availableParallelism(), memoryBytes: totalmem() }),
    // Driving modems is in no flow's way.
    apart: true,
    rotate: async ({ slot, credentialId }) =>
      toldToCustomer(await modems.rotations.rotate(slot, { askedFor: `credential ${credentialId}` })),
    onFault: fault => {
      // What the dead thread had counted last is not known: start anew rather than serve and guess.
      log.error('a thread of the data plane is gone, stopping', { error: fault });
      process.exit(1);
    },
  });
  closeWith(() => dataPlane.close(GRACE_MS));
  flowCounter = dataPlane;
  // The threads that carry bytes and the spool's keep their priority; the tools that modems need come after.
  giveWay(helpers, log);
  await modems.start();
  note = watchNode({ journal, modems, rotations: modems.rotations, spool });
  reconciler.begin({
    slots: () => modems.slots(),
    onChange: listener => modems.onChange(listener),
    traffic: async () => trafficOf(await dataPlane.metrics()),
    own: async () => [
      ...(await dataPlane.metrics()).flatMap(lane => lane.own),
      ...modems.ownTraffic(),
      ...linkShare(control?.linkMoved() ?? [], modems.slots(), networkInterfaces()),
    ],
  });

  const plans = new PlanKeeper({
    egresses: () => modems.egresses(),
    dataPlane,
    allowTargets: config.allowTargets,
    log,
  });
  modems.onChange(() => plans.modemsChanged());

  const quotas = new QuotaKeeper({
    spool,
    dataPlane,
    book: quotaBook(config.dataDir, log.child('quotas')),
    metered: config.cloud.metered,
    clock: systemClock,
    boot,
    now: time.now,
    log: log.child('quotas'),
  });

  control = controlPlane({
    agentVersion: AGENT_VERSION,
    identity,
    deviceKey: await store.deviceKey(),
    store,
    spool,
    quotas,
    journal,
    apply: async next => {
      await quotas.adopt(next);
      // Without a state (the lease has run out) modems are driven on as they were.
      if (next !== null) profiles.adopt(next.profiles ?? []);
      modems.rotations.schedule(next?.rotations ?? []);
      return plans.serve(next);
    },
    modems,
    rotations: modems.rotations,
    reconciliation: reconciler,
    figures: () => dataPlane.figures(),
    time,
    route,
    metered: config.cloud.metered,
    beginTrace: beginTrace(),
    log,
  });
  await control.start();

  const parts = control;
  const page = await openStatusPage(
    config.dataDir,
    () => {
      const { link, running, lease, clockOffsetMs } = parts.status();
      return {
        version: AGENT_VERSION,
        nodeId: identity.nodeId,
        cloud: {
          url: config.cloud.url,
          proxy: shownProxy(route) ?? null,
          metered: config.cloud.metered,
          ...link,
        },
        running,
        lease,
        clockOffsetMs: clockOffsetMs ?? null,
        slots: modems.slots(),
        ways: modems.egresses().map(({ slot, sourceAddress, dnsServers, ready }) => ({
          ...{ slot, sourceAddress, dnsServers, ready },
        })),
        health: modems.health(),
        rotations: modems.slots().map(({ slot }) => ({
          slot,
          last: modems.rotations.history(slot).at(-1) ?? null,
          nextAt: modems.rotations.due(slot),
        })),
        rotationMethods: modems.rotations.figures(),
        listeners: plans.listeners,
        quotas: quotas.status(),
        usage: tally.totals(),
        droppedEvents: journal.dropped(),
      };
    },
    {
      metrics: () => dataPlane.metrics(),
      actions: {
        rotate: rotateAction(modems.rotations),
        speedtest: speedTestAction(modems),
        reconcile: () => reconciler.report({ finished: false }),
      },
    },
  );
  closeWith(() => page.close());
  if (config.metrics) {
    const server = await openMetricsServer(config.metrics, () => dataPlane.metrics());
    closeWith(() => server.close());
  }
  console.log(JSON.stringify({ ready: true, nodeId: identity.nodeId, statusSocket: page.socketPath }));
}

/** Resolves when the system has taken the order; it ends us as any other program. */
async function rebootHost(): Promise<void> {
  await runTool('systemctl', ['reboot'], REBOOT_DEADLINE_MS);
}

/** What all threads and protocols have moved, by slot. */
function trafficOf(lanes: readonly LaneFigures[]): SlotTraffic[] {
  const sums = new Map<number, SlotTraffic>();
  for (const { slot, openFlows, upBytes, downBytes } of lanes.flatMap(lane => lane.paths)) {
    const sum = sums.get(slot) ?? { slot, openFlows: 0, upBytes: 0, downBytes: 0 };
    sums.set(slot, {
      slot,
      openFlows: sum.openFlows + openFlows,
      upBytes: sum.upBytes + upBytes,
      downBytes: sum.downBytes + downBytes,
    });
  }
  return [...sums.values()];
}

/** Finds the modems on USB; numbers that the configuration gives out stay free. */
function discoveryOf(frame: {
  dataDir: string;
  slots: readonly SlotConfig[];
  profiles: ProfileShelf;
  log: Log;
}): SlotSource {
  const { dataDir, slots, profiles, log } = frame;
  const discovery = new Discovery({
    profiles: () => profiles.all(),
    book: new SlotBook({ dataDir, reserved: new Set(slots.map(slot => slot.slot)) }),
    clock: systemClock,
    log: log.child('discovery'),
  });
  return discoveredSlots(discovery, {
    get profiles() {
      return profiles.all();
    },
    dev: SYSTEM_ROOTS.dev,
  });
}

interface EnrolFrame {
  store: StateStore;
  route: CloudRoute;
  log: Log;
}

async function identityOf(config: NodeConfig, claim: Claim | undefined, frame: EnrolFrame) {
  if (claim) return (await enrolWith(config.cloud.url, claim, frame)).identity;
  const identity = await frame.store.identity();
  if (identity) return identity;
  throw new CodedError('enrol/missing', `${config.dataDir} holds no identity`, {
    userMessage: `This box is not enrolled. Make a claim code in the portal, then start once with --claim CODE --consent-by NAME, or run: npm run agent -- enrol --cloud ${config.cloud.url} --claim CODE --consent-by NAME --data-dir ${config.dataDir}`,
  });
}

function enrolWith(cloudUrl: string, claim: Claim, { store, route, log }: EnrolFrame) {
  return enrol({
    cloudUrl,
    route,
    claimCode: claim.code,
    agentVersion: AGENT_VERSION,
    hostname: hostname(),
    acceptedBy: claim.acceptedBy,
    store,
    log: log.child('enrolment'),
  });
}

/** The command `enrol`: resolves with the node's id, also when the box was enrolled before. */
export async function enrolNode(options: {
  cloudUrl: string;
  dataDir: string;
  claim: Claim;
}): Promise<string> {
  const log = createLog({ level: logLevel() });
  mkdirSync(options.dataDir, { recursive: true, mode: 0o700 });
  const lock = lockDataDir(options.dataDir);
  try {
    const store = stateStore(options.dataDir, log.child('state'));
    const frame = { store, route: STRAIGHT, log };
    return (await enrolWith(options.cloudUrl, options.claim, frame)).identity.nodeId;
  } finally {
    lock.release();
  }
}
