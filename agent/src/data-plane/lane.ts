/**
 * One thread's share of the data plane: its listeners, connections, meter and the one timer that all of them share.
 * Runs in the control thread or in a worker (lane-thread.ts), which is data-plane.ts's choice. It knows nothing of the
 * others; what they have in common is shared memory: the usage window and the counts that limits bound.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { giveBackMemory } from '@mastline/shared/base/give-back-memory';
import type { Endpoint } from '@mastline/shared/domain/endpoint';
import type { AddressRange } from '@mastline/shared/domain/ip-range';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import {
  createSaltStore,
  SALT_KEEP_MS,
  type SaltStore,
} from '@mastline/shared/protocols/shadowsocks/salt-store';
import type { Log } from '../observe/log';
import type { LaneFigures, LaneNotes, ListenerOutcome, RotateSlot, ServicePlan, UsageDelta } from '../ports';
import type { Association } from './association';
import { Certificates } from './certificates';
import { chainProblem } from './chain-hops';
import { Connection } from './connection';
import { Entrance, SOURCE_FLOOD } from './entrance';
import { FloodAftermath } from './flood-aftermath';
import { FlowLog } from './flow-log';
import { judgeAddress, standing } from './gate';
import { holdMemory } from './hold-memory';
import type { OpenedPorts, OpenPort } from './lane-messages';
import { LaneMetrics } from './lane-metrics';
import { joinLimits } from './limit-memory';
import { Limiter } from './limiter';
import { type Limits, TICK_MS, ticksOf } from './limits';
import { type Listener, type ListenPlace, listen } from './listener';
import { type Guest, knownBySource } from './login';
import { Meter, type SlotTotals } from './meter';
import { compilePolicy, EMPTY_POLICY, type Policy } from './policy';
import { ReadMemory } from './read-memory';
import { Resolver } from './resolver';
import { type Place, Roll } from './roll';
import { createScratch, type Scratch } from './scratch';
import { SessionRoutes } from './session-routes';
import { SessionTable } from './session-table';
import { listenPackets, type PacketPort } from './shadowsocks-packets';
import { ShadowsocksPorts } from './shadowsocks-ports';
import { LANE_COUNTS, SharedCount } from './shared-count';
import type { SharedMemory } from './shared-memory';
import { SourceGuard } from './source-guard';
import { UsageWindow } from './usage-window';
import type { Wire } from './wire';

/** Flows a minute through 2022 hops whose answers can be told from replays; more are refused. */
const HOP_SALTS = 16_384;

interface OpenListener {
  listener: Listener;
  /** The same port for datagrams, where the protocol has them. */
  packets: PacketPort | null;
  address: string;
}

export interface LaneOptions {
  limits: Limits;
  clock: Clock;
  log: Log;
  memory: SharedMemory;
  /** It does what one has to do for all: opens ports, serves datagrams, lets time forgive strangers. */
  first: boolean;
  /** Takes usage to be committed; the lane must hear `released` when it is. */
  hand: (deltas: UsageDelta[]) => void;
  /** Asks whether what was handed is on disk; `released` follows soon when it is. */
  settle: () => void;
  /** Gives a slot another address. */
  rotate: RotateSlot;
  /** Takes over what the lane remembers of flows; without it nothing is remembered. */
  note?: ((notes: LaneNotes) => void) | undefined;
}

/** What a lane has counted since its start. */
export interface LaneReport {
  totals: SlotTotals[];
  figures: LaneFigures;
}

export class Lane {
  readonly limits: Limits;
  readonly meter: Meter;
  readonly idleTicks: number;
  /** Seconds of this lane's life: deadlines are ticks. */
  tick = 0;
  draining = false;
  policy: Policy = EMPTY_POLICY;
  /** Memory that all flows of this lane read into, one after the other. */
  readonly reads: ReadMemory;
  readonly scratch: Scratch = createScratch();
  readonly shadowsocks: ShadowsocksPorts;
  readonly routes: SessionRoutes;
  readonly certificates: Certificates;
  readonly limiter: Limiter;
  readonly resolver: Resolver;
  /** Those that send datagrams; each adds and removes itself. */
  readonly associations = new Set<Association>();
  readonly clock: Clock;
  #hopSalts: SaltStore | null = null;
  readonly #log: Log;
  readonly #timer: Timer;
  readonly #connections = new Roll<Connection>();
  readonly #listeners = new Map<string, OpenListener>();
  readonly metrics = new LaneMetrics();
  readonly entrance: Entrance;
  readonly flowLog: FlowLog;
  /** Of all lanes together. */
  readonly #openConnections: SharedCount;
  readonly #guard: SourceGuard;
  readonly #aftermath: FloodAftermath;
  /** Of the connection that is just coming in. */
  #place = 0;
  readonly #first: boolean;
  #whenEmpty: (() => void) | null = null;

  constructor(options: LaneOptions) {
    this.limits = options.limits;
    this.idleTicks = ticksOf(options.limits.idleMs);
    this.clock = options.clock;
    this.#log = options.log;
    this.meter = new Meter({
      window: new UsageWindow({ bytes: options.limits.windowBytes, memory: options.memory.window }),
      commitBytes: options.limits.commitBytes,
      hand: options.hand,
      waits: slot => {
        this.metrics.windowWaits += 1;
        this.reads.rest(slot);
      },
      settle: options.settle,
    });
    this.#openConnections = new SharedCount(options.memory.counts, LANE_COUNTS.connections);
    this.#guard = new SourceGuard(options.memory.sources, options.limits);
    this.#first = options.first;
    const lastHandshake = ticksOf(options.limits.handshakeMs + options.limits.lingerMs);
    this.#aftermath = new FloodAftermath(lastHandshake, giveBackMemory);
    this.entrance = new Entrance({
      limits: options.limits,
      guard: this.#guard,
      connections: this.#openConnections,
      handshakes: new SharedCount(options.memory.counts, LANE_COUNTS.handshakes),
      evicted: () => this.metrics.refused('handshake-evicted'),
    });
    this.flowLog = new FlowLog({
      hand: options.note,
      nowMs: () => this.clock.monotonicMs(),
      policyOf: credentialId => this.policy.credentials.get(credentialId)?.destinations,
    });
    this.limiter = new Limiter(joinLimits(options.memory.limits, options.clock), options.clock);
    this.routes = new SessionRoutes(new SessionTable(options.memory.sessions, options.clock), options.rotate);
    this.certificates = new Certificates(options.log);
    this.resolver = new Resolver(options.clock, slot => this.metrics.own(slot));
    this.shadowsocks = new ShadowsocksPorts(options.memory.salts, options.clock);
    this.reads = new ReadMemory(options.limits.readBytes, holdMemory);
    this.#timer = options.clock.every(TICK_MS, () => this.#onTick());
  }

  /**
   * Serves by `plan` from now on and closes the listeners that it does not want. All lanes do this before any opens
   * what is new, since a port is free only when the last of them has let go of it.
   */
  async adopt(plan: ServicePlan): Promise<void> {
    this.policy = compilePolicy(plan, this.policy.hostRanges);
    this.shadowsocks.adopt(plan.endpoints);
    this.certificates.adopt(plan.endpoints);
    this.limiter.adopt(this.policy);
    this.resolver.adopt(plan.egresses);
    this.#cutWhatMayNotStay();
    await this.#closeUnwanted();
  }

  /** Opens what `plan` wants and is not open. `places` says where, other than where the endpoint says. */
  async open(plan: ServicePlan, places?: ReadonlyMap<string, ListenPlace>): Promise<OpenedPorts> {
    const outcomes: ListenerOutcome[] = [];
    for (const endpoint of plan.endpoints)
      outcomes.push(await this.#listen(endpoint, places?.get(endpoint.id)));
    return { outcomes, ports: this.#ports() };
  }

  listensOn(endpointId: string): boolean {
    return this.#listeners.has(endpointId);
  }

  /** The host is in these networks now: interfaces come and go. What leads into one of them does not go on. */
  hostChanged(hostRanges: readonly AddressRange[]): void {
    this.policy = { ...this.policy, hostRanges };
    this.#cutWhatMayNotStay();
  }

  released(slots: readonly number[]): void {
    this.meter.released(slots);
    for (const slot of slots) this.reads.wake(slot);
  }

  report(): LaneReport {
    const open = { connections: this.#connections.size, handshakes: this.entrance.strangers };
    return { totals: this.meter.allTotals(), figures: this.metrics.figures(open) };
  }

  get connections(): number {
    return this.#connections.size;
  }

  /** Refuses what is new, leaves what rests, waits up to `graceMs` for what runs, cuts the rest. Usage is handed on to the last byte. */
  async close(graceMs: number): Promise<void> {
    this.draining = true;
    await Promise.all([...this.#listeners.values()].map(({ listener }) => listener.close()));
    this.#leaveResting();
    for (const connection of [...this.#connections])
      if (!connection.flow && !connection.attached && !connection.dialling) connection.cut();
    if (!this.#empty && graceMs > 0)
      await new Promise<void>(resolve => {
        const timer = this.clock.after(graceMs, resolve);
        this.#whenEmpty = () => {
          timer.cancel();
          resolve();
        };
      });
    for (const connection of [...this.#connections]) connection.cut();
    for (const { packets } of this.#listeners.values()) packets?.close();
    for (const association of this.associations) association.close();
    this.#listeners.clear();
    this.#timer.cancel();
    this.limiter.close();
    this.resolver.close();
    this.meter.flush();
    this.flowLog.flush();
  }

  /** Salts of responses from 2022 hops of chains; made when there is the first. */
  hopSalts(): SaltStore {
    this.#hopSalts ??= createSaltStore({ capacity: HOP_SALTS, keepMs: SALT_KEEP_MS, clock: this.clock });
    return this.#hopSalts;
  }

  /** For durations. */
  nowMs(): number {
    return this.clock.monotonicMs();
  }

  /** Called by connections, once each; what it gives is for `forget`. */
  remember(connection: Connection): Place<Connection> {
    return this.#connections.add(connection);
  }

  /** Called by connections. */
  forget(place: Place<Connection>): void {
    if (!this.#connections.remove(place)) return;
    this.#openConnections.giveBack();
    if (this.#empty) this.#whenEmpty?.();
  }

  /** Called by connections. */
  refused(reason: RefusalReason): void {
    this.metrics.refused(reason);
  }

  /** Called by listeners before a connection has cost anything: what is not admitted they close with a reset. */
  admit(address: string, endpointId: string): boolean {
    this.metrics.accepted += 1;
    if (this.draining || !this.policy.endpoints.has(endpointId)) {
      this.refused('draining');
      return false;
    }
    this.#place = this.entrance.admit(address);
    if (this.#place >= 0) return true;
    this.metrics.refused(this.#place === SOURCE_FLOOD ? 'source-flood' : 'too-many-flows');
    if (this.#place === SOURCE_FLOOD) this.flowLog.stranger('flood', address);
    return false;
  }

  /** Called by listeners right after `admit`. */
  accept(socket: Wire, endpointId: string): void {
    const endpoint = this.policy.endpoints.get(endpointId);
    if (!endpoint) throw new Error(`no endpoint ${endpointId} although it was admitted to`);
    const connection = new Connection(this, socket, endpoint, this.#place);
    this.entrance.entered(connection);
  }

  async #listen(endpoint: Endpoint, place: ListenPlace | undefined): Promise<ListenerOutcome> {
    const endpointId = endpoint.id;
    if (this.#listeners.has(endpointId)) return { endpointId, listening: true, problem: null };
    const unservable = this.#problem(endpointId);
    if (unservable) return this.#notListening(endpointId, unservable);
    const { host, port } = endpoint.listen;
    const outcome = await listen(place ?? { host, port }, {
      reads: this.reads,
      admit: address => this.admit(address, endpointId),
      accepted: socket => this.accept(socket, endpointId),
    });
    if (!outcome.ok) return this.#notListening(endpointId, outcome.problem);
    // Datagrams are one thread's business: the one that opens ports itself.
    const packets =
      !place && this.shadowsocks.codec(endpointId)
        ? await listenPackets(this, endpointId, { host, port })
        : null;
    if (packets && !packets.ok) {
      await outcome.listener.close();
      return this.#notListening(endpointId, packets.problem);
    }
    this.#listeners.set(endpointId, {
      listener: outcome.listener,
      packets: packets?.port ?? null,
      address: addressOf(endpoint),
    });
    return { endpointId, listening: true, problem: null };
  }

  #ports(): OpenPort[] {
    return [...this.#listeners].flatMap(([endpointId, { listener }]): OpenPort[] =>
      listener.fd === null ? [] : [[endpointId, listener.fd]],
    );
  }

  #problem(endpointId: string): NonNullable<ListenerOutcome['problem']> | null {
    const endpoint = this.policy.endpoints.get(endpointId);
    return (
      this.shadowsocks.problem(endpointId) ??
      this.certificates.problem(endpointId) ??
      (endpoint ? chainProblem(endpoint) : null)
    );
  }

  #notListening(endpointId: string, problem: NonNullable<ListenerOutcome['problem']>): ListenerOutcome {
    this.#log.warn(problem.message, { code: problem.code, endpointId });
    return { endpointId, listening: false, problem };
  }

  /** Closes all that the plan does not want before any is opened, since ports may change hands within one plan. */
  async #closeUnwanted(): Promise<void> {
    for (const [endpointId, open] of this.#listeners) {
      const endpoint = this.policy.endpoints.get(endpointId);
      const servable = endpoint && !this.#problem(endpointId);
      if (servable && addressOf(endpoint) === open.address) continue;
      this.#listeners.delete(endpointId);
      open.packets?.close();
      await open.listener.close();
    }
  }

  /** Running flows go on only while the new plan would still admit them through the same slot. */
  #cutWhatMayNotStay(): void {
    for (const connection of [...this.#connections]) {
      const { flow } = connection;
      if (!flow) {
        // One that an association hangs on is judged with it, below.
        if (!connection.attached && !this.policy.endpoints.has(connection.endpointId)) connection.cut();
        continue;
      }
      const { slot } = flow.account.key;
      const egress = this.policy.egresses.get(slot) ?? null;
      const reason =
        this.#whyNotStay({
          endpointId: connection.endpointId,
          source: connection.source,
          guest: flow.guest,
          slot,
        }) ?? judgeAddress(flow.address, flow.port, { policy: this.policy, egress });
      if (!reason) continue;
      this.refused(reason);
      connection.cut(reason);
    }
    // Their targets are judged with each datagram.
    for (const association of this.associations) {
      const reason = this.#whyNotStay(association);
      if (!reason) continue;
      this.refused(reason);
      association.close(reason);
    }
  }

  #whyNotStay(flow: {
    endpointId: string;
    source: string;
    guest: Guest;
    slot: number | null;
  }): RefusalReason | null {
    const { endpointId, source, guest, slot } = flow;
    const { credentialId } = guest;
    const endpoint = this.policy.endpoints.get(endpointId);
    const reason = standing(endpoint, this.policy.credentials.get(credentialId));
    if (reason) return reason;
    if (guest.bySource && knownBySource(this.policy, endpointId, source)?.credentialId !== credentialId)
      return 'credentials-required';
    if (slot !== null && !(this.policy.egresses.has(slot) && endpoint?.slots.includes(slot)))
      return 'no-modem';
    return this.shadowsocks.hasKey(endpointId, credentialId) ? null : 'bad-credentials';
  }

  get #empty(): boolean {
    return this.#connections.size === 0 && this.associations.size === 0;
  }

  /** Nobody waits for what only rests. */
  #leaveResting(): void {
    for (const connection of [...this.#connections]) if (connection.resting) connection.leave();
    for (const association of this.associations) if (association.resting) association.close();
    if (this.#empty) this.#whenEmpty?.();
  }

  #onTick(): void {
    this.tick += 1;
    if (this.draining) this.#leaveResting();
    this.certificates.onTick(this.tick);
    this.meter.flush();
    this.flowLog.onTick();
    this.reads.wakeAll();
    this.limiter.onTick();
    if (this.#first) this.#guard.onTick();
    this.#aftermath.onTick(this.entrance.turnedAway);
    const late: Connection[] = [];
    for (const connection of this.#connections)
      if (this.tick >= connection.deadlineTick) late.push(connection);
    for (const connection of late) connection.timedOut();
    for (const association of this.associations) association.onTick(this.tick);
  }
}

/** What a listener is made for: Shadowsocks has a port for datagrams beside it. */
const addressOf = ({ listen: { host, port }, protocols }: Endpoint) =>
  `${host} ${port}${protocols.includes('shadowsocks') ? ' with datagrams' : ''}`;
