/**
 * What one lane remembers of flows that are over, of those it refused, and of strangers at its door, until the control
 * thread takes it over every few seconds. Bounded, since customers and strangers decide how much there is: what has no
 * room is counted. A flow costs one object, and none once the ring is full. What becomes of it is
 * control-plane/event-journal.ts; nothing here is billed, and nothing waits for it.
 */
import { DEFAULT_DESTINATION_POLICY, type DestinationPolicy } from '@mastline/shared/domain/flow-summary';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Target } from '@mastline/shared/protocols/target';
import type { FlowNote, LaneNotes, RefusalNote, SourceNote } from '../ports';

/** Flows that one lane remembers between two hand-overs: 800 a second. More is load, and a sample of it is enough. */
export const MAX_FLOW_NOTES = 4_096;
/** Kinds of refusal (whose, why, to where) that are told apart between two hand-overs. */
export const MAX_REFUSAL_NOTES = 128;
/** The same of addresses that came with wrong secrets, or too often. */
export const MAX_SOURCE_NOTES = 64;
/** Ticks between hand-overs: each may become a write to an SD card. */
export const HAND_TICKS = 5;

/** A flow as it ends. */
export interface EndedFlow {
  endpointId: string;
  credentialId: string;
  slot: number;
  imei: string | null;
  protocol: string;
  /** Null for an association, which has many. */
  target: Target | null;
  /** What it resolved to; null behind a chain, where that is the hop's address and nobody's target. */
  address: string | null;
  sourcePort: number;
  tookMs: number;
  upBytes: number;
  downBytes: number;
}

export interface RefusedFlow {
  endpointId: string;
  credentialId: string;
  protocol: string;
  target: Target | null;
}

export interface FlowLogOptions {
  /** Takes over what there is; without it nothing is remembered. */
  hand: ((notes: LaneNotes) => void) | undefined;
  nowMs: () => number;
  /** What may be said of a credential's targets; undefined for one that is not known. */
  policyOf: (credentialId: string) => DestinationPolicy | undefined;
}

export class FlowLog {
  readonly #options: FlowLogOptions;
  #flows: FlowNote[] = [];
  #refusals = new Map<string, RefusalNote>();
  #sources = new Map<string, SourceNote>();
  #dropped = 0;
  #ticks = 0;

  constructor(options: FlowLogOptions) {
    this.#options = options;
  }

  /** False while nothing more would be kept: then nothing need be found out for it either. */
  get hasRoom(): boolean {
    return this.#options.hand !== undefined && this.#flows.length < MAX_FLOW_NOTES;
  }

  /** Called in place of `ended` where there is no room, before anything is made for it. */
  skipped(): void {
    if (this.#options.hand) this.#dropped += 1;
  }

  /** Called once for each flow that ran. */
  ended(flow: EndedFlow, outcome: string): void {
    if (!this.hasRoom) {
      this.skipped();
      return;
    }
    const { target, address, ...rest } = flow;
    const note: FlowNote = { ...rest, outcome, agoMs: this.#options.nowMs() };
    if (target) this.#nameTarget(note, target, address);
    this.#flows.push(note);
  }

  /** Called for each flow that was refused although its client is known. The same again is one note with a count. */
  refused(flow: RefusedFlow, reason: RefusalReason): void {
    if (!this.#options.hand) return;
    const { endpointId, credentialId, protocol, target } = flow;
    const whose = `${credentialId}\n${endpointId}\n${reason}`;
    const exact = target ? `${whose}\n${target.host}\n${target.port}` : whose;
    // Once half of the room is taken, targets are not told apart any more.
    const isTight = this.#refusals.size >= MAX_REFUSAL_NOTES / 2;
    const known = this.#refusals.get(exact) ?? (isTight ? this.#refusals.get(whose) : undefined);
    if (known) {
      known.times += 1;
      known.agoMs = this.#options.nowMs();
      return;
    }
    if (this.#refusals.size >= MAX_REFUSAL_NOTES) {
      this.#dropped += 1;
      return;
    }
    const note: RefusalNote = {
      endpointId,
      credentialId,
      protocol,
      reason,
      times: 1,
      agoMs: this.#options.nowMs(),
    };
    if (target && !isTight) this.#nameTarget(note, target, null);
    this.#refusals.set(isTight ? whose : exact, note);
  }

  /** A stranger: wrong secret, or held off at accept. Must stay cheap, for floods come here. */
  stranger(kind: SourceNote['kind'], source: string): void {
    if (!this.#options.hand) return;
    const key = `${kind} ${source}`;
    const known = this.#sources.get(key) ?? this.#sources.get(kind);
    if (known) {
      known.times += 1;
      return;
    }
    const isOne = this.#sources.size < MAX_SOURCE_NOTES;
    // The rest together, without a name.
    this.#sources.set(isOne ? key : kind, { kind, source: isOne ? source : null, times: 1 });
  }

  /** Called by the lane once a tick. */
  onTick(): void {
    this.#ticks += 1;
    if (this.#ticks % HAND_TICKS === 0) this.flush();
  }

  /** Hands over what there is. */
  flush(): void {
    const { hand, nowMs } = this.#options;
    if (!hand) return;
    if (this.#flows.length + this.#refusals.size + this.#sources.size + this.#dropped === 0) return;
    const notes: LaneNotes = {
      flows: this.#flows,
      refusals: [...this.#refusals.values()],
      sources: [...this.#sources.values()],
      dropped: this.#dropped,
    };
    // Threads have no common zero of their clocks.
    const now = nowMs();
    for (const note of notes.flows) note.agoMs = now - note.agoMs;
    for (const note of notes.refusals) note.agoMs = now - note.agoMs;
    this.#flows = [];
    this.#refusals = new Map();
    this.#sources = new Map();
    this.#dropped = 0;
    hand(notes);
  }

  /** As far as the policy allows: what is not to be known does not leave this thread. */
  #nameTarget(note: FlowNote | RefusalNote, target: Target, address: string | null): void {
    const policy = this.#options.policyOf(note.credentialId) ?? DEFAULT_DESTINATION_POLICY;
    if (policy === 'none') return;
    note.host = target.host;
    if (policy === 'host') return;
    note.port = target.port;
    if (address !== null && address !== target.host) note.address = address;
  }
}
