/**
 * The seams by which the agent's planes meet. Only types: no plane imports another, `main.ts` joins them.
 * Everything that crosses is a plain value that structured clone can carry, since data-plane threads and the
 * spool thread sit on the other side.
 */
import type { Credential, Endpoint } from '@mastline/shared/domain/endpoint';
import type { FlowLimits, QuotaLease } from '@mastline/shared/domain/flow-limits';
import type { SlotFigures, SlotReport } from '@mastline/shared/domain/modem';
import type { SlotDay } from '@mastline/shared/domain/reconciliation';
import type { RotationRecord, SlotSchedule } from '@mastline/shared/domain/rotation';
import type { UsageRecord } from '@mastline/shared/domain/usage';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';

/** How flows leave through one slot. Made by the modem plane (or the standalone file), used by the dialer. */
export interface Egress {
  slot: number;
  /** Local address to dial from; null lets the kernel choose (direct). A 127.x address serves loopback targets only. */
  sourceAddress: string | null;
  /** IPv6 address of the same modem, beside an IPv4 `sourceAddress`; flows of both families then leave through it. */
  sourceAddress6?: string | null;
  /** Name servers to ask from that address; empty means the system's resolver. */
  dnsServers: string[];
  /** False while the modem cannot carry: new flows go to a sibling or are refused. */
  ready: boolean;
  imei: string | null;
  /** Name of the carrier and country of the network (ISO 3166-1 alpha-2), where known: customers may ask for them. */
  carrier?: string | null;
  country?: string | null;
  /** Addresses never to be reached through this slot: the modem's own web UI, the subnet it hands out. */
  guarded: string[];
  /** The modem's own limits, whoever uses it. */
  limits?: FlowLimits | undefined;
}

/** What the data plane serves. Handed over whole at each change; running flows keep going where they still may. */
export interface ServicePlan {
  endpoints: Endpoint[];
  credentials: Credential[];
  egresses: Egress[];
  /** `CIDR` or `CIDR:port` exceptions to the private-target rule; set on the node only. */
  allowTargets: string[];
}

/** What a credential with a leased quota may use. */
export interface QuotaLoan extends QuotaLease {
  credentialId: string;
}

export interface LoanState {
  /** Bytes; below zero when they were called back too late. */
  left: number;
  /** Flows stand still for want of them. */
  isWaitedFor: boolean;
}

/** What came of one endpoint's listener when a plan was applied. */
export interface ListenerOutcome {
  endpointId: string;
  listening: boolean;
  /** `listener/port-taken`, `listener/not-permitted`, … and a sentence; null when listening. */
  problem: { code: string; message: string } | null;
}

/** What came of asking for another address of a slot. Only a changed address is `rotated`. */
export type RotateOutcome =
  | { kind: 'rotated' }
  /** It reconnected and got the same address again. */
  | { kind: 'collision' }
  /** `reason`: a piece of a sentence, for the customer. */
  | { kind: 'failed'; reason: string }
  /** Nothing was tried: the slot cannot be rotated, or may not be now. */
  | { kind: 'unavailable'; reason: string };

/** Gives a slot another address. Made by the modem plane, which has its own deadlines; asked by the data plane. */
export type RotateSlot = (request: { slot: number; credentialId: string }) => Promise<RotateOutcome>;

export interface RotationRequest {
  /** The asker's own, by which the same request is known again; made here when left out. */
  id?: string | undefined;
  /** Who asked, for the history. */
  askedFor: string;
  /** To be over by then, but for the way back; the node's own deadline when left out or shorter. */
  deadlineMs?: number | undefined;
}

/** Rotations as command line and cloud ask for them, and what came of them. Made by the modem plane. */
export interface Rotations {
  /** Never rejects, and has deadlines of its own. */
  rotate(slot: number, request: RotationRequest): Promise<RotationRecord>;
  /** Those that ended and that the cloud has not said that it has, oldest first. */
  unnoted(): RotationRecord[];
  /** The cloud has them. */
  note(ids: readonly string[]): void;
  /** Called after each that was tried, whoever asked. */
  onEnd(listener: (record: RotationRecord) => void): void;
  /** What the cloud wants rotated by itself; a slot that is not named goes by its configuration. */
  schedule(slots: readonly SlotSchedule[]): void;
}

/** Bytes that the kernel accepted since the last delta of the same key. */
export interface UsageDelta {
  endpointId: string;
  credentialId: string;
  slot: number;
  imei: string | null;
  upBytes: number;
  downBytes: number;
  /** Flows that began. */
  flows: number;
}

/** Where metered usage goes. The data plane holds back a slot whose deltas are not committed (design: 8 MiB). */
export interface UsageSink {
  /** Resolves when the deltas are on disk; rejects when they are not, and then none of them is. */
  commit(deltas: readonly UsageDelta[]): Promise<void>;
  /**
   * Settles a commit that is on disk already, whose word has not reached this thread's event loop yet. Cheap, and
   * meant to be called between two writes of a flow that keeps the loop busy. Left out where there is nothing to ask.
   */
  settle?(): void;
}

/** Durations in milliseconds, counted by bucket; the bounds stand in observe/latency-bounds.ts. */
export interface LatencyFigures {
  counts: number[];
  sumMs: number;
}

/** Flows of one protocol through one slot, since the start. */
export interface PathFigures {
  slot: number;
  protocol: string;
  flows: number;
  openFlows: number;
  upBytes: number;
  downBytes: number;
  dial: LatencyFigures;
  firstByte: LatencyFigures;
}

/** What has gone through one slot since the data plane began, for its health; not what is billed. */
export interface SlotTraffic {
  slot: number;
  openFlows: number;
  upBytes: number;
  downBytes: number;
}

/**
 * What the agent itself sent and received through one slot since the start, without headers of IP, TCP and UDP, and how
 * many UDP datagrams went through it, customers' ones included.
 */
export interface OwnTraffic {
  slot: number;
  upBytes: number;
  downBytes: number;
  upDatagrams: number;
  downDatagrams: number;
}

/** Told of each piece of the agent's own traffic through a slot, in bytes without headers of IP, TCP and UDP. */
export type CountOwn = (moved: Omit<OwnTraffic, 'slot'>) => void;

/** Days of slots as this node counted them, and what the cloud has noted of them. */
export interface Reconciliation {
  /** With `finished`, only days that are over and whose usage is all acknowledged. */
  report(which: { finished: boolean }): Promise<{ oldestPending: number | null; days: SlotDay[] }>;
  /** The cloud has these; those that were final are told no more. */
  noted(told: { oldestPending: number | null; at: number; days: readonly SlotDay[] }): void;
}

/** What one thread of the data plane has counted since the start, for metrics; not what is billed. */
export interface LaneFigures {
  /** Connections that came, refused ones included. */
  accepted: number;
  connections: number;
  handshakes: number;
  /** Times that a flow stood still because its slot waited for the disk. */
  windowWaits: number;
  refusals: Record<string, number>;
  paths: PathFigures[];
  own: OwnTraffic[];
}

/** A flow that is over, as the connection log shall have it. Targets as far as the credential's policy allows. */
export interface FlowNote {
  endpointId: string;
  credentialId: string;
  slot: number;
  imei: string | null;
  protocol: string;
  outcome: string;
  /** How long ago it ended, when it is handed over. */
  agoMs: number;
  tookMs: number;
  upBytes: number;
  downBytes: number;
  /** 0 when it is not known. */
  sourcePort: number;
  host?: string;
  address?: string;
  port?: number;
}

/** Flows of one credential that were refused for one reason. */
export interface RefusalNote {
  endpointId: string;
  credentialId: string;
  protocol: string;
  reason: RefusalReason;
  times: number;
  /** How long ago the last one was. */
  agoMs: number;
  host?: string;
  address?: string;
  port?: number;
}

/** Clients that nobody knows: log-ins that failed, connects held off before they cost anything. */
export interface SourceNote {
  kind: 'login-refused' | 'flood';
  /** Null for the rest of many. */
  source: string | null;
  times: number;
}

/** What one thread of the data plane remembers of a few seconds. */
export interface LaneNotes {
  flows: FlowNote[];
  refusals: RefusalNote[];
  sources: SourceNote[];
  /** Flows and refusals that there was no room for. */
  dropped: number;
}

export interface DataPlane {
  /** Serves `plan` from now on. Endpoints that did not change keep their listener and their flows. */
  apply(plan: ServicePlan): Promise<ListenerOutcome[]>;
  /** Figures since the last call, per slot. */
  figures(): Promise<SlotFigures[]>;
  /** What credentials with leased quotas may use; holds through plans that come later, until it is said anew. */
  lend(loans: readonly QuotaLoan[]): void;
  /** How each loan stands at this moment; null for a credential that no plan in force leases to. */
  lent(credentialIds: readonly string[]): (LoanState | null)[];
  /** One entry for each thread. */
  metrics(): Promise<LaneFigures[]>;
  /**
   * Flows admitted to a slot and not over, those still being dialled included, once every plan that was handed over
   * before is in force: after a plan that closes the slot, none is added to them.
   */
  openFlows(slot: number): Promise<number>;
  /** Refuses new flows, waits up to `graceMs` for running ones, cuts the rest, commits all usage, frees all. */
  close(graceMs: number): Promise<void>;
}

/** The radios. Knows slots and modems, nothing of customers. */
export interface ModemPlane {
  /** Brings every configured slot up; returns when each is up or has a reason why not. */
  start(): Promise<void>;
  egresses(): Egress[];
  slots(): SlotReport[];
  /** Called after any change of `egresses()` or `slots()`. */
  onChange(listener: () => void): void;
  /** Takes down what it set up: addresses, rules, routes. */
  close(): Promise<void>;
}

/** The spool as the uplink and the meter see it (it runs in a thread of its own). */
export interface UsageSpool extends UsageSink {
  /** Epoch of this spool file and the last sequence given out. */
  position(): Promise<{ epoch: string; lastSequence: number }>;
  /**
   * Seals what has been committed into numbered records and returns up to `limit` of those after `sequence`, in
   * order. Sealed records never change.
   */
  recordsAfter(sequence: number, limit: number): Promise<UsageRecord[]>;
  /** Forgets records up to `mark`; the cloud has them. */
  acknowledge(mark: number): Promise<void>;
  close(): Promise<void>;
}
