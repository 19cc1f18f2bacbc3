/** What the origin counted: raw bytes of each connection, as its kernel delivered and accepted them. */

/** Closed connections that are remembered; the oldest are forgotten first. */
export const MAX_REMEMBERED = 20_000;
/** Tags (`?id=`) remembered for one connection. */
const MAX_TAGS = 64;

export interface ConnectionReport {
  connection: number;
  /** Peer as the origin's kernel saw it. */
  remoteAddress: string;
  remotePort: number;
  openedAt: number;
  closedAt: number | null;
  /** Raw bytes read from the connection: heads, bodies, framing, everything. */
  bytesReceived: number;
  /** Raw bytes that the kernel accepted for sending. */
  bytesSent: number;
  requests: number;
}

export interface OriginReport {
  id: string | null;
  connections: ConnectionReport[];
}

/** Every connection's figures, found again by the connection's number or by the `id` its requests carried. */
export class ConnectionBook {
  readonly #all = new Map<number, { figures: ConnectionReport; tags: Set<string> }>();
  #last = 0;

  open(remote: { address: string; port: number }): ConnectionReport {
    this.#last += 1;
    const figures: ConnectionReport = {
      connection: this.#last,
      remoteAddress: remote.address,
      remotePort: remote.port,
      openedAt: Date.now(),
      closedAt: null,
      bytesReceived: 0,
      bytesSent: 0,
      requests: 0,
    };
    this.#all.set(figures.connection, { figures, tags: new Set() });
    if (this.#all.size > MAX_REMEMBERED)
      for (const [number, one] of this.#all)
        if (one.figures.closedAt !== null) {
          this.#all.delete(number);
          break;
        }
    return figures;
  }

  /** Ties the connection to the `id` of one of its requests. */
  tag(connection: number, id: string): void {
    const tags = this.#all.get(connection)?.tags;
    if (tags && tags.size < MAX_TAGS) tags.add(id);
  }

  /** All connections, or those of one tag (or, as a number, of one connection). */
  report(id: string | null): OriginReport {
    const connections: ConnectionReport[] = [];
    for (const { figures, tags } of this.#all.values())
      if (id === null || tags.has(id) || String(figures.connection) === id) connections.push({ ...figures });
    return { id, connections };
  }
}
