/**
 * This process among the processes of one cloud: tells the others which nodes it holds, hears what they hold, sends what
 * is for a node to the process that has its socket, and closes a session when a newer one of its node is elsewhere.
 * Nothing here is exact, all of it heals: a beat every 2 s says what a process holds as a digest, and whoever has missed
 * something asks for the whole. Marks, leases, jobs and the order of sessions are the database's. By a bus (bus.ts);
 * without one, every method does what a single process needs, which is little.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { SlotFigures } from '@mastline/shared/domain/modem';
import type { Presence } from '../fleet/presence';
import type { Delivery } from '../fleet/rotation-orders';
import type { Log } from '../log';
import type { Bus, BusState } from './bus';
import {
  type Body,
  type Codec,
  type Held,
  MAX_FIGURED_EACH,
  MAX_NODES_EACH,
  MAX_SLOTS_EACH,
  type Message,
  type NodeOrder,
} from './messages';
import { came, left, type Peer, Peers } from './peers';

export const BEAT_MS = 2_000;
/** A process that was not heard for so long is gone, and its nodes are offline until they are somewhere else. */
export const SILENT_MS = 7_000;
/** While the bus is away what was known last holds for so long: a restart of NATS is shorter. */
export const BELIEVED_MS = 60_000;
/** Moves are gathered for so long: ten thousand nodes that come back are a few messages. */
const MOVES_MS = 20;
/** Figures and notices of change go out so often at most, and only while somebody looks. */
const LIVE_MS = 1_000;
/** Nodes whose figures go out at a time; the rest waits for the next. */
const MAX_FIGURES_A_TIME = 1_000;
/** The whole is told so often at most, however many ask. */
const WHOLE_GAP_MS = 250;
const ORDER_DEADLINE_MS = 2_000;
/** Settings are told a little after they were made, by clocks that may differ. */
const MISSED_MARGIN_MS = 60_000;

export interface ClusterPorts {
  presence: Presence;
  /** Hands an order to a session of this process. */
  deliver(nodeId: string, order: NodeOrder): Exclude<Delivery, 'unreachable'>;
  /** A session of this process whose order is lower than this is closed as replaced. */
  replaced(nodeId: string, order: number): void;
  /** Sends the desired state to those of these nodes that are connected here. */
  push(nodeIds: readonly string[]): void;
  /** Sends what was set for nodes of this process in the last so many milliseconds: it may not have been told. */
  catchUp(ms: number): void;
  /** Rotations have ended. */
  told(ids: readonly string[]): void;
}

export interface ClusterFigures {
  bus: BusState;
  awayMs: number;
  /** Other processes, and the nodes that they hold. */
  peers: number;
  nodesElsewhere: number;
  /** Messages that were not understood, by reason. */
  refused: Readonly<Record<string, number>>;
}

export class Cluster {
  readonly #id: string;
  readonly #bus: Bus;
  readonly #codec: Codec;
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #ports: ClusterPorts;
  readonly #peers = new Peers();
  readonly #mine: Pick<Peer, 'nodes' | 'digest'> = { nodes: new Map(), digest: 0 };
  /** Nodes that came or left and of which the others were not told yet. */
  readonly #moved = new Set<string>();
  #movesTimer: Timer | undefined;
  /** Nodes with figures that the others have not seen. */
  readonly #reported = new Set<string>();
  readonly #refused: Record<string, number> = {};
  readonly #timers: Timer[] = [];
  readonly #stopListening: (() => void)[] = [];
  #changed = false;
  /** What is heard makes changes here that are nothing to tell. */
  #hearing = false;
  #looked = false;
  #serial = 0;
  #wholeMs = Number.NEGATIVE_INFINITY;

  constructor(options: { id: string; bus: Bus; codec: Codec; clock: Clock; log: Log; ports: ClusterPorts }) {
    this.#id = options.id;
    this.#bus = options.bus;
    this.#codec = options.codec;
    this.#clock = options.clock;
    this.#log = options.log;
    this.#ports = options.ports;
    if (this.#bus.state === 'none') return;
    const { presence } = options.ports;
    this.#stopListening.push(
      presence.onMove((nodeId, order) => this.#move(nodeId, order)),
      presence.onReport(nodeId => {
        if (this.#peers.someoneLooks) this.#reported.add(nodeId);
      }),
      presence.onChange(() => {
        if (!this.#hearing) this.#changed = true;
      }),
    );
    for (const subject of [this.#codec.toAll, this.#codec.to(this.#id)])
      this.#bus.listen(subject, (bytes, answer) => this.#hear(subject, bytes, answer));
    this.#timers.push(
      this.#clock.every(BEAT_MS, () => this.#beat()),
      this.#clock.every(LIVE_MS, () => this.#tellLive()),
    );
  }

  /** Begins to look for the others. */
  start(): void {
    this.#bus.start({ up: awayMs => this.#cameUp(awayMs), away: () => this.#ports.presence.changed() });
  }

  figures(): ClusterFigures {
    return {
      bus: this.#bus.state,
      awayMs: this.#bus.awayMs,
      peers: this.#peers.size,
      nodesElsewhere: this.#peers.nodes,
      refused: this.#refused,
    };
  }

  /** Hands an order to the node's session, wherever it is. */
  async send(nodeId: string, order: NodeOrder): Promise<Delivery> {
    const here = this.#ports.deliver(nodeId, order);
    if (here !== 'offline' || this.#bus.state === 'none') return here;
    if (this.#bus.state === 'away') return 'unreachable';
    const process = this.#peers.holderOf(nodeId);
    if (process === undefined) return 'offline';
    const subject = this.#codec.to(process);
    const question = this.#write(subject, { is: 'order', nodeId, order });
    const reply = await this.#bus.ask(subject, question, ORDER_DEADLINE_MS);
    switch (reply.is) {
      case 'answer': {
        const opened = this.#codec.open(subject, reply.bytes);
        if (opened.is === 'message' && opened.message.body.is === 'delivered')
          return opened.message.body.delivery;
        return 'unreachable';
      }
      case 'nobody':
        this.#forget(process, 'nobody listens for it any more');
        return 'offline';
      case 'away':
        return 'unreachable';
      case 'late':
        // It may have been heard: what came of it is told by the node, or never.
        return 'sent';
    }
  }

  /** The same without an answer, for what is no loss when it is lost. */
  tell(nodeId: string, order: NodeOrder): void {
    if (this.#ports.deliver(nodeId, order) !== 'offline') return;
    const process = this.#peers.holderOf(nodeId);
    if (process !== undefined) this.#say(this.#codec.to(process), { is: 'order', nodeId, order });
  }

  /**
   * Nodes have become something else. Told to all, not to whom holds them: a node may be on its way. Who cannot hear it
   * now looks for what it missed when it is back.
   */
  push(nodeIds: readonly string[]): void {
    for (const some of inParts(nodeIds, MAX_NODES_EACH))
      this.#say(this.#codec.toAll, { is: 'push', nodeIds: some });
  }

  /** Nodes of this process have told what came of these rotations. */
  told(ids: readonly string[]): void {
    if (ids.length > 0) this.#say(this.#codec.toAll, { is: 'told', ids: [...ids] });
  }

  /** Tells the others to forget this process and leaves the bus. */
  async close(): Promise<void> {
    for (const timer of this.#timers) timer.cancel();
    this.#movesTimer?.cancel();
    for (const stop of this.#stopListening) stop();
    this.#say(this.#codec.toAll, { is: 'bye' });
    await this.#bus.close();
  }

  #cameUp(awayMs: number): void {
    // While it was away nobody could be heard.
    this.#peers.excuse(this.#clock.monotonicMs());
    this.#say(this.#codec.toAll, { is: 'tell', who: null });
    this.#tellAll();
    this.#ports.catchUp(awayMs + MISSED_MARGIN_MS);
  }

  #move(nodeId: string, order: number | null): void {
    if (order === null) left(this.#mine, nodeId);
    else came(this.#mine, [nodeId, order]);
    this.#moved.add(nodeId);
    this.#movesTimer ??= this.#clock.after(MOVES_MS, () => this.#tellMoves());
  }

  #tellMoves(): void {
    this.#movesTimer?.cancel();
    this.#movesTimer = undefined;
    const moved = [...this.#moved];
    this.#moved.clear();
    for (const some of inParts(moved, MAX_NODES_EACH)) {
      const cameHere: Held[] = [];
      const leftHere: string[] = [];
      for (const nodeId of some) {
        const order = this.#mine.nodes.get(nodeId);
        if (order === undefined) leftHere.push(nodeId);
        else cameHere.push([nodeId, order]);
      }
      this.#say(this.#codec.toAll, { is: 'moves', came: cameHere, left: leftHere });
    }
  }

  #tellAll(): void {
    this.#wholeMs = this.#clock.monotonicMs();
    // Whatever has moved is in it.
    this.#movesTimer?.cancel();
    this.#movesTimer = undefined;
    this.#moved.clear();
    const whole = inParts([...this.#mine.nodes], MAX_NODES_EACH);
    const parts = Math.max(1, whole.length);
    for (let part = 1; part <= parts; part += 1)
      this.#say(this.#codec.toAll, { is: 'holds', part, parts, nodes: whole[part - 1] ?? [] });
    this.#beat();
  }

  #beat(): void {
    this.#forgetSilent();
    if (this.#moved.size > 0) this.#tellMoves();
    this.#looked = this.#ports.presence.looksElsewhere;
    const { nodes, digest } = this.#mine;
    this.#say(this.#codec.toAll, { is: 'beat', count: nodes.size, digest, looks: this.#looked });
  }

  #forgetSilent(): void {
    if (this.#bus.state === 'away' && this.#bus.awayMs < BELIEVED_MS) return;
    for (const process of this.#peers.silentSince(this.#clock.monotonicMs() - SILENT_MS))
      this.#forget(process, 'it is silent');
  }

  #forget(process: string, why: string): void {
    if (!this.#peers.forget(process)) return;
    this.#log.warn({ process, why }, 'another process of this cloud is gone');
    this.#ports.presence.elsewhere(process, new Set());
  }

  #tellLive(): void {
    // Whoever begins to look shall not wait for a beat.
    if (!this.#looked && this.#ports.presence.looksElsewhere) this.#beat();
    if (!this.#peers.someoneLooks) {
      this.#reported.clear();
      return;
    }
    const now = [...this.#reported].slice(0, MAX_FIGURES_A_TIME);
    for (const nodeId of now) this.#reported.delete(nodeId);
    let nodes: Extract<Body, { is: 'figures' }>['nodes'] = [];
    let slotsSoFar = 0;
    const tell = () => {
      if (nodes.length > 0) this.#say(this.#codec.toAll, { is: 'figures', nodes });
      nodes = [];
      slotsSoFar = 0;
    };
    for (const nodeId of now) {
      const said = this.#ports.presence.said(nodeId);
      if (said === undefined) continue;
      const slots = said.figures.slice(0, MAX_SLOTS_EACH).map(plain);
      if (slotsSoFar + slots.length > MAX_SLOTS_EACH) tell();
      nodes.push({ nodeId, everyMs: said.everyMs, slots });
      slotsSoFar += slots.length;
      if (nodes.length >= MAX_FIGURED_EACH) tell();
    }
    tell();
    if (this.#changed) this.#say(this.#codec.toAll, { is: 'changed' });
    this.#changed = false;
  }

  #write(subject: string, body: Body): Uint8Array {
    this.#serial += 1;
    return this.#codec.write(subject, { from: this.#id, serial: this.#serial, body });
  }

  #say(subject: string, body: Body): boolean {
    return this.#bus.state === 'up' && this.#bus.publish(subject, this.#write(subject, body));
  }

  #hear(subject: string, bytes: Uint8Array, answer: ((bytes: Uint8Array) => void) | undefined): void {
    const opened = this.#codec.open(subject, bytes);
    if (opened.is === 'refused') {
      this.#refused[opened.why] = (this.#refused[opened.why] ?? 0) + 1;
      // Loud once: whoever writes such things may write many.
      if (this.#refused[opened.why] === 1)
        this.#log.warn(
          { why: opened.why, subject },
          'a message of NATS was not understood; more are counted only',
        );
      return;
    }
    const { message } = opened;
    if (message.from === this.#id) return;
    const at = { subject, serial: message.serial, nowMs: this.#clock.monotonicMs() };
    const peer = this.#peers.heard(message.from, at);
    if (peer === undefined) {
      this.#refused.repeated = (this.#refused.repeated ?? 0) + 1;
      return;
    }
    this.#hearing = true;
    try {
      this.#take(peer, message, body => answer?.(this.#write(subject, body)));
    } finally {
      this.#hearing = false;
    }
  }

  #take(peer: Peer, { from, body }: Message, answer: (body: Body) => void): void {
    const { presence } = this.#ports;
    switch (body.is) {
      case 'holds':
        this.#takeWhole(peer, from, body);
        return;
      case 'moves':
        for (const nodeId of body.left) {
          left(peer, nodeId);
          presence.movedElsewhere(from, nodeId, false);
        }
        for (const held of body.came) {
          came(peer, held);
          presence.movedElsewhere(from, held[0], true);
          this.#ports.replaced(...held);
        }
        return;
      case 'beat':
        peer.looks = body.looks;
        if (peer.nodes.size !== body.count || peer.digest !== body.digest)
          this.#say(this.#codec.toAll, { is: 'tell', who: from });
        return;
      case 'tell':
        // Who is not answered now misses it at the next beat and asks again.
        if (this.#clock.monotonicMs() - this.#wholeMs < WHOLE_GAP_MS) return;
        if (body.who === null || body.who === this.#id) this.#tellAll();
        return;
      case 'bye':
        this.#forget(from, 'it said good-bye');
        return;
      case 'figures':
        for (const { nodeId, everyMs, slots } of body.nodes) presence.reportElsewhere(nodeId, everyMs, slots);
        return;
      case 'changed':
        presence.changed();
        return;
      case 'push':
        this.#ports.push(body.nodeIds);
        return;
      case 'told':
        this.#ports.told(body.ids);
        return;
      case 'order':
        answer({ is: 'delivered', delivery: this.#ports.deliver(body.nodeId, body.order) });
        return;
      case 'delivered':
        return;
      default:
        body satisfies never;
    }
  }

  #takeWhole(peer: Peer, from: string, body: Extract<Body, { is: 'holds' }>): void {
    if (body.part === 1) peer.parts = [];
    // A part is missing: the next beat's digest asks for the whole again.
    else if (body.part !== peer.part + 1) return;
    peer.part = body.part;
    peer.parts.push(...body.nodes);
    if (body.part < body.parts) return;
    peer.nodes = new Map();
    peer.digest = 0;
    for (const held of peer.parts) came(peer, held);
    peer.parts = [];
    this.#ports.presence.elsewhere(from, new Set(peer.nodes.keys()));
    for (const [nodeId, order] of peer.nodes) this.#ports.replaced(nodeId, order);
  }
}

/** Only what is meant to be there: a node's own words may have more. */
function plain({ slot, upBytesPerSecond, downBytesPerSecond, openFlows }: SlotFigures): SlotFigures {
  return { slot, upBytesPerSecond, downBytesPerSecond, openFlows };
}

function inParts<T>(all: readonly T[], most: number): T[][] {
  const parts: T[][] = [];
  for (let at = 0; at < all.length; at += most) parts.push(all.slice(at, at + most));
  return parts;
}
