/** An agent's control plane against the fake cloud, over real sockets and a real spool. */
import { join } from 'node:path';
import type { CloudRoute } from '@mastline/agent/control-plane/cloud-route';
import { cloudTime } from '@mastline/agent/control-plane/cloud-time';
import { type ControlPlane, controlPlane } from '@mastline/agent/control-plane/control-plane';
import type { ApplyState } from '@mastline/agent/control-plane/desired-state';
import { enrol } from '@mastline/agent/control-plane/enrolment';
import type { EventJournal } from '@mastline/agent/control-plane/event-journal';
import { createLog, type Log, type LogFields } from '@mastline/agent/observe/log';
import type { ListenerOutcome, RotationRequest, Rotations } from '@mastline/agent/ports';
import { type StateStore, stateStore } from '@mastline/agent/spool/state-store';
import { type NodeSpool, openUsageSpool } from '@mastline/agent/spool/usage-spool';
import { type Clock, systemClock } from '@mastline/shared/base/clock';
import type { DesiredState } from '@mastline/shared/domain/desired-state';
import type { SlotFigures, SlotReport } from '@mastline/shared/domain/modem';
import type { RotationRecord, SlotSchedule } from '@mastline/shared/domain/rotation';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { FakeCloud } from '../../simulators/fake-cloud';
import { agentBuilt } from '../../support/build-agent';
import { tempDir } from '../../support/temp';

export const CLAIM = 'CLAIM-CODE-1';

export interface RigOptions {
  clock?: Clock;
  /** An https:// cloud. */
  tls?: { key: string; cert: string };
  route?: CloudRoute;
  metered?: boolean;
  /** Remembers events and tells them; none does when left out. */
  journal?: EventJournal;
  /** For a cloud that is not the fake one. */
  claim?: string;
}

/** Rotations that end when the test says so, and are kept until noted, as the modem plane keeps them. */
export class ScriptedRotations implements Rotations {
  readonly asked: { slot: number; request: RotationRequest }[] = [];
  scheduled: readonly SlotSchedule[] = [];
  kept: RotationRecord[] = [];
  /** Called after each change by the agent. */
  changed: () => void = () => {};
  #listeners: ((record: RotationRecord) => void)[] = [];
  readonly #waiting = new Map<string, (record: RotationRecord) => void>();

  rotate(slot: number, request: RotationRequest): Promise<RotationRecord> {
    this.asked.push({ slot, request });
    this.changed();
    const known = this.kept.find(one => one.id === request.id);
    if (known) return Promise.resolve(known);
    return new Promise(resolve => this.#waiting.set(request.id ?? '', resolve));
  }

  /** One has ended; it need not have been asked for by the cloud. */
  end(record: RotationRecord): void {
    if (record.outcome !== 'unavailable') {
      this.kept.push(record);
      for (const listener of this.#listeners) listener(record);
    }
    this.#waiting.get(record.id)?.(record);
  }

  unnoted = () => [...this.kept];
  note = (ids: readonly string[]) => {
    this.kept = this.kept.filter(one => !ids.includes(one.id));
    this.changed();
  };
  onEnd = (listener: (record: RotationRecord) => void) => void this.#listeners.push(listener);
  schedule = (slots: readonly SlotSchedule[]) => {
    this.scheduled = slots;
  };
}

export class AgentRig {
  readonly cloud: FakeCloud;
  readonly lines: LogFields[] = [];
  readonly log: Log = createLog({
    level: 'debug',
    write: line => {
      this.lines.push(JSON.parse(line));
      this.#look();
    },
  });
  /** What the data plane was told to serve, in order; null for nothing. */
  readonly applied: (DesiredState | null)[] = [];
  /** Thrown when this revision is applied. */
  applyFault: { revision: number; error: Error } | undefined;
  outcomes: ListenerOutcome[] = [];
  /** Applying waits for this. */
  applyGate: Promise<void> = Promise.resolve();
  applying = false;
  slots: SlotReport[] = [];
  figures: SlotFigures[] = [];
  readonly rotations = new ScriptedRotations();
  changed: () => void = () => {};
  spool!: NodeSpool;
  store!: StateStore;
  plane!: ControlPlane;
  nodeId = '';
  readonly clock: Clock;
  #folder!: Awaited<ReturnType<typeof tempDir>>;
  #watchers: { holds: () => boolean; resolve: () => void }[] = [];

  readonly #options: RigOptions;

  constructor(options: RigOptions = {}) {
    this.#options = options;
    this.cloud = new FakeCloud(options.tls);
    this.clock = options.clock ?? systemClock;
    this.rotations.changed = () => this.#look();
  }

  /** Where the agent thinks the cloud is; set before `start` to put something in between. */
  cloudUrl: string | undefined;

  async start(): Promise<void> {
    await agentBuilt();
    this.#folder = await tempDir('control');
    await this.cloud.listen();
    this.cloud.claims.set(CLAIM, 'open');
    this.store = stateStore(this.#folder.path, this.log);
    await this.boot();
  }

  /** What the agent does at each start of its process. */
  async boot(): Promise<void> {
    const { identity } = await enrol({
      cloudUrl: this.cloudUrl ?? this.cloud.url,
      ...(this.#options.route ? { route: this.#options.route } : {}),
      claimCode: this.#options.claim ?? CLAIM,
      agentVersion: '0.1.0',
      hostname: 'box',
      acceptedBy: 'Ada',
      store: this.store,
      log: this.log,
    });
    this.nodeId = identity.nodeId;
    const time = cloudTime(this.clock);
    this.spool = await openUsageSpool({
      path: join(this.#folder.path, 'spool.db'),
      now: time.now,
      awaitsCorrection: true,
      log: this.log,
      onFault: fault => this.log.error('spool fault', { error: fault }),
    });
    const apply: ApplyState = async state => {
      if (state && state.revision === this.applyFault?.revision) throw this.applyFault.error;
      this.applying = true;
      this.#look();
      await this.applyGate;
      this.applying = false;
      this.applied.push(state);
      this.#look();
      return state ? this.outcomes : [];
    };
    this.plane = controlPlane({
      agentVersion: '0.1.0',
      identity,
      deviceKey: await this.store.deviceKey(),
      store: this.store,
      spool: this.spool,
      apply,
      modems: {
        slots: () => this.slots,
        onChange: listener => {
          this.changed = listener;
        },
      },
      rotations: this.rotations,
      figures: async () => this.figures,
      time,
      log: this.log,
      clock: this.clock,
      boot: { id: 'boot-1', uptimeMs: () => this.clock.monotonicMs() },
      random: () => 0,
      ...(this.#options.route ? { route: this.#options.route } : {}),
      metered: this.#options.metered ?? false,
      ...(this.#options.journal ? { journal: this.#options.journal } : {}),
    });
    await this.plane.start();
  }

  /** Resolves when `holds`, looked at after each log line and each apply. */
  until(holds: () => boolean): Promise<void> {
    return new Promise(resolve => {
      this.#watchers.push({ holds, resolve });
      this.#look();
    });
  }

  /** Resolves when a line with this message has been logged (since `from` lines). */
  said(message: string, from = 0): Promise<void> {
    return this.until(() => this.lines.slice(from).some(line => line.msg === message));
  }

  up(): Promise<void> {
    return this.until(() => this.plane.status().link.phase === 'up');
  }

  state(revision: number, changes: Partial<DesiredState> = {}): DesiredState {
    return {
      format: 1,
      nodeId: this.nodeId,
      revision,
      issuedAt: 0,
      leaseSeconds: 3600,
      endpoints: [],
      credentials: [],
      ...changes,
    };
  }

  async shutDown(): Promise<void> {
    await this.plane.close(500);
    await this.spool.close();
  }

  async stop(): Promise<void> {
    await this.shutDown();
    await this.cloud.stop();
    await this.#folder.remove();
  }

  #look(): void {
    const holding = this.#watchers.filter(({ holds }) => holds());
    this.#watchers = this.#watchers.filter(watcher => !holding.includes(watcher));
    for (const { resolve } of holding) resolve();
  }
}

/** Runs `body` with a started rig and cleans up. */
export async function withAgent(
  body: (rig: AgentRig) => Promise<void>,
  options: RigOptions = {},
): Promise<void> {
  const rig = new AgentRig(options);
  await rig.start();
  try {
    await body(rig);
  } finally {
    await rig.stop();
  }
}

/** A rotation that went well. */
export function rotationRecord(over: Partial<RotationRecord> = {}): RotationRecord {
  return {
    id: uuidv7(),
    slot: 1,
    askedFor: 'schedule',
    endedAt: Date.UTC(2026, 10, 23),
    outcome: 'rotated',
    reason: '',
    method: 'data-switch',
    oldAddress: '198.18.1.10',
    newAddress: '198.18.1.11',
    tookMs: 6200,
    attempts: 1,
    carrier: null,
    connected: true,
    retryAfterMs: null,
    ...over,
  };
}
