/**
 * The data plane as the rest of the agent sees it: a plan goes in, figures and usage come out. Joins lanes (the
 * threads that carry bytes) with the committer (the way of usage to the spool). Start reading at connection.ts for
 * what happens to a client.
 *
 * Where nothing else is done, the first lane is this thread itself, so that one thread needs no worker and no message,
 * and `threads: n` adds n - 1 workers. A node has modems to drive, and looks at the network, reads files and collects
 * garbage for them: there all lanes are workers (`apart`), and what this thread does is in no flow's way. The first lane
 * opens the ports, the others listen on duplicates of them (duplicate-listener.ts), and the kernel wakes whoever is free.
 */
import { type Clock, systemClock } from '@mastline/shared/base/clock';
import type { CodedError } from '@mastline/shared/base/coded-error';
import { isLoopbackAddress } from '@mastline/shared/domain/ip-range';
import type { SlotFigures } from '@mastline/shared/domain/modem';
import type { Log } from '../observe/log';
import type {
  DataPlane,
  LaneNotes,
  ListenerOutcome,
  RotateSlot,
  ServicePlan,
  UsageDelta,
  UsageSink,
} from '../ports';
import { Committer } from './committer';
import type { Firewall } from './firewall';
import { HostNetworks, type Interfaces } from './host-networks';
import { Lane, type LaneReport } from './lane';
import { LaneThread } from './lane-thread';
import { joinLimits } from './limit-memory';
import { Limiter } from './limiter';
import { LIMITS, type Limits } from './limits';
import type { SlotTotals } from './meter';
import { compilePolicy } from './policy';
import { createSharedMemory } from './shared-memory';
import { UsageWindow } from './usage-window';

/** Between two looks at the host's interfaces; each plan looks as well. */
const HOST_EVERY_MS = 10_000;
/** Time for the last commit when everything else is closed. */
const LAST_COMMIT_MS = 1_500;

export interface DataPlaneOptions {
  sink: UsageSink;
  log: Log;
  clock?: Clock;
  limits?: Partial<Limits>;
  /** Threads that carry bytes; 1 when left out. */
  threads?: number;
  /** None of them is the caller's: for a caller that has other work. */
  apart?: boolean;
  /** Gives a slot another address; left out, customers who ask for one are told that it is not to be had. */
  rotate?: RotateSlot;
  /** Takes over what is remembered of flows, every few seconds; left out, nothing is. */
  note?: (notes: LaneNotes) => void;
  /** A thread died or hangs: what it had counted last is not known, and the process must end. Throws when left out. */
  onFault?: (fault: CodedError) => void;
  /** Holds floods off in the kernel; nothing does when left out. */
  firewall?: Firewall | undefined;
  /** The host's interfaces; the system's when left out. For tests. */
  interfaces?: () => Interfaces;
}

const NO_ROTATION: RotateSlot = async () => ({ kind: 'unavailable', reason: 'nothing here can rotate it' });

/** A data plane that serves nothing until `apply` is called. */
export function createDataPlane(options: DataPlaneOptions): DataPlane {
  const { sink, log, clock = systemClock } = options;
  const limits: Limits = { ...LIMITS, ...options.limits };
  const count = options.threads ?? 1;
  const workers = options.apart ? count : count - 1;
  // This thread has a seat at the limits in any case: it lends quotas and counts flows.
  const memory = createSharedMemory(workers + 1, clock);
  const window = new UsageWindow({ bytes: limits.windowBytes, memory: memory.window });
  const committer: Committer = new Committer({
    sink,
    window,
    clock,
    log,
    released: slots => {
      for (const lane of lanes) lane.released(slots);
    },
  });
  const hand = (deltas: UsageDelta[]) => committer.add(deltas);
  const rotate: RotateSlot = options.rotate ?? NO_ROTATION;
  const own = options.apart
    ? null
    : new Lane({
        ...{ limits, clock, log, memory, first: true, hand, rotate },
        settle: () => committer.settle(),
        note: options.note,
      });
  const limiter = own ? own.limiter : new Limiter(joinLimits(memory.limits, clock), clock);
  const onFault =
    options.onFault ??
    (fault => {
      throw fault;
    });
  const threads = Array.from({ length: workers }, (_, at) => {
    const nth = count - workers + at;
    return new LaneThread({
      ...{ name: `data-plane-${nth + 1}`, first: nth === 0 },
      ...{ limits, memory, clock, log, hand, rotate, onFault, note: options.note },
    });
  });
  const first = firstOf(own, threads);
  const others = threads.filter(thread => thread !== first);
  const lanes = [first, ...others];
  const reports = (): Promise<LaneReport[]> => Promise.all(lanes.map(lane => lane.report()));

  const host = new HostNetworks(options.interfaces);
  const lookAtHost = () => {
    if (host.refresh()) for (const lane of lanes) lane.hostChanged(host.ranges);
  };
  const hostTimer = clock.every(HOST_EVERY_MS, () => {
    try {
      lookAtHost();
    } catch (error) {
      log.warn('the interfaces of this host cannot be listed; the last list is guarded', { error });
    }
  });

  async function applyToAll(plan: ServicePlan): Promise<ListenerOutcome[]> {
    lookAtHost();
    // Rows of limits are made new by this thread before any lane counts in them.
    if (!own) limiter.adopt(compilePolicy(plan, host.ranges));
    await Promise.all(lanes.map(lane => lane.adopt(plan)));
    const { outcomes, ports } = await first.open(plan);
    const shared = await Promise.allSettled(others.map(thread => thread.open(plan, ports)));
    // The port is served all the same, by fewer threads than wanted.
    for (const one of shared)
      if (one.status === 'rejected')
        log.error('a thread could not open its ports; others serve them', { error: one.reason });
    await options.firewall?.protect(reachablePorts(plan, outcomes));
    return outcomes;
  }

  let last = { atMs: clock.monotonicMs(), totals: new Map<number, SlotTotals>() };
  // Plans are applied one after the other: ports may change hands between two of them.
  let applying: Promise<unknown> = Promise.resolve();

  return {
    apply(plan: ServicePlan): Promise<ListenerOutcome[]> {
      const result = applying.then(() => applyToAll(plan));
      applying = result.catch(() => undefined);
      return result;
    },

    async figures(): Promise<SlotFigures[]> {
      const now = { atMs: clock.monotonicMs(), totals: new Map<number, SlotTotals>() };
      for (const { totals } of await reports()) for (const one of totals) addTotals(now.totals, one);
      const seconds = Math.max(0.001, (now.atMs - last.atMs) / 1000);
      const figures = [...now.totals.values()].map(totals => {
        const before = last.totals.get(totals.slot);
        return {
          slot: totals.slot,
          upBytesPerSecond: Math.round((totals.upBytes - (before?.upBytes ?? 0)) / seconds),
          downBytesPerSecond: Math.round((totals.downBytes - (before?.downBytes ?? 0)) / seconds),
          openFlows: totals.openFlows,
        };
      });
      last = now;
      return figures;
    },

    async openFlows(slot: number): Promise<number> {
      await applying;
      return limiter.openFlows(slot);
    },

    lend: loans => limiter.lend(loans),

    lent: credentialIds => credentialIds.map(id => limiter.lent(id)),

    metrics: async () => (await reports()).map(report => report.figures),

    async close(graceMs: number): Promise<void> {
      await applying;
      hostTimer.cancel();
      const closed = await Promise.allSettled(lanes.map(lane => lane.close(graceMs)));
      // One of a lane's own is closed already.
      if (!own) limiter.close();
      await options.firewall?.close();
      await committer.close(LAST_COMMIT_MS);
      for (const one of closed) if (one.status === 'rejected') throw one.reason;
    },
  };
}

/** The lane that opens the ports. */
function firstOf(own: Lane | null, [thread]: readonly LaneThread[]): Lane | LaneThread {
  const first = own ?? thread;
  if (!first) throw new RangeError('threads: must be at least 1');
  return first;
}

/** Ports that are open to others than this box. */
function reachablePorts(plan: ServicePlan, outcomes: readonly ListenerOutcome[]): number[] {
  const listening = new Set(outcomes.filter(one => one.listening).map(one => one.endpointId));
  return plan.endpoints
    .filter(({ id, listen }) => listening.has(id) && !isLoopbackAddress(listen.host))
    .map(({ listen }) => listen.port);
}

function addTotals(sums: Map<number, SlotTotals>, more: SlotTotals): void {
  const sum = sums.get(more.slot);
  if (!sum) {
    sums.set(more.slot, { ...more });
    return;
  }
  sum.upBytes += more.upBytes;
  sum.downBytes += more.downBytes;
  sum.openFlows += more.openFlows;
}
