/**
 * What the other processes hold, as far as they have told: by process, node → order of its session, with the digest by
 * which a beat shows whether all of it was heard. No time but what is handed in, no bus: cluster.ts has both.
 */
import type { Held } from './messages';

/** Processes of one cloud; more are not heard. */
export const MAX_PEERS = 64;

export interface Peer {
  nodes: Map<string, number>;
  digest: number;
  heardMs: number;
  looks: boolean;
  /** Highest serial heard, by subject: what is older is a copy. */
  serials: Map<string, number>;
  /** Parts of a whole that is on its way. */
  parts: Held[];
  part: number;
}

export class Peers {
  readonly #peers = new Map<string, Peer>();

  get size(): number {
    return this.#peers.size;
  }

  get nodes(): number {
    let sum = 0;
    for (const { nodes } of this.#peers.values()) sum += nodes.size;
    return sum;
  }

  get someoneLooks(): boolean {
    for (const { looks } of this.#peers.values()) if (looks) return true;
    return false;
  }

  /** The process, known from now on; undefined when there are too many, or when this was heard before. */
  heard(process: string, at: { subject: string; serial: number; nowMs: number }): Peer | undefined {
    let peer = this.#peers.get(process);
    if (peer === undefined) {
      if (this.#peers.size >= MAX_PEERS) return undefined;
      peer = {
        nodes: new Map(),
        digest: 0,
        heardMs: at.nowMs,
        looks: false,
        serials: new Map(),
        parts: [],
        part: 0,
      };
      this.#peers.set(process, peer);
    }
    if (at.serial <= (peer.serials.get(at.subject) ?? 0)) return undefined;
    peer.serials.set(at.subject, at.serial);
    peer.heardMs = at.nowMs;
    return peer;
  }

  /** The process with the newest session of a node. */
  holderOf(nodeId: string): string | undefined {
    let holder: string | undefined;
    let newest = -1;
    for (const [process, { nodes }] of this.#peers) {
      const order = nodes.get(nodeId);
      if (order === undefined || order <= newest) continue;
      newest = order;
      holder = process;
    }
    return holder;
  }

  forget(process: string): boolean {
    return this.#peers.delete(process);
  }

  /** Processes that have not been heard since `sinceMs`. */
  silentSince(sinceMs: number): string[] {
    return [...this.#peers].filter(([, peer]) => peer.heardMs < sinceMs).map(([process]) => process);
  }

  /** Their silence begins now: until now nobody could be heard. */
  excuse(nowMs: number): void {
    for (const peer of this.#peers.values()) peer.heardMs = nowMs;
  }
}

export function came(peer: Pick<Peer, 'nodes' | 'digest'>, [nodeId, order]: Held): void {
  left(peer, nodeId);
  peer.nodes.set(nodeId, order);
  peer.digest ^= digestOf(nodeId, order);
}

export function left(peer: Pick<Peer, 'nodes' | 'digest'>, nodeId: string): void {
  const order = peer.nodes.get(nodeId);
  if (order === undefined) return;
  peer.nodes.delete(nodeId);
  peer.digest ^= digestOf(nodeId, order);
}

/** 32 bits, FNV-1a. Against loss, not against malice: messages are authenticated. */
function digestOf(nodeId: string, order: number): number {
  const text = `${nodeId} ${order}`;
  let hash = 0x811c9dc5;
  for (let at = 0; at < text.length; at += 1) hash = Math.imul(hash ^ text.charCodeAt(at), 0x01000193);
  return hash | 0;
}
