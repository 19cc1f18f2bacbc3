/**
 * Live agent connections of this process: authenticates an upgrade before it is accepted, keeps one session a node
 * (the newest), pushes desired states, closes silent peers, asks all to move before a stop.
 */
import type { IncomingMessage } from 'node:http';
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { MAX_FRAGMENTS, MAX_FRAME_BYTES, MAX_FRAME_READS } from '@mastline/shared/wire/limits';
import { type WebSocket, WebSocketServer } from 'ws';
import type { NodeIdentity } from '../fleet/node-reports';
import type { Presence } from '../fleet/presence';
import type { Log } from '../log';
import { Tallies } from '../observe/tallies';
import { type Admissions, ownAdmissions } from './admissions';
import { Arrivals, spreadMs } from './arrivals';
import { type Admission, authenticate } from './authenticate';
import type { FindNode } from './node-finder';
import type { Nonces } from './nonces';
import { ReadGate } from './read-gate';
import { AgentSession, type SessionFrame } from './session';

/** One timer looks at all sessions: none has its own. */
const SWEEP_MS = 1_000;
/** Nobody is asked to come back sooner: the next process needs so long to start. */
const MOVE_AWAY_FIRST_MS = 1_000;
const REPLACED = 'a newer session of this node took over';

export interface GatewayOptions {
  findNode: FindNode;
  nonces: Nonces;
  /** Left out: this process is the only one. */
  admissions?: Admissions;
  presence: Presence;
  clock: Clock;
  log: Log;
  random?: () => number;
  tallies?: Tallies;
  onMessage: SessionFrame['onMessage'];
}

export class Gateway {
  readonly #options: GatewayOptions;
  readonly #tallies: Tallies;
  readonly #server = new WebSocketServer({
    noServer: true,
    maxPayload: MAX_FRAME_BYTES,
    // Deflate costs tens of kilobytes a socket, and what agents send is small.
    perMessageDeflate: false,
    clientTracking: false,
    maxFragments: MAX_FRAGMENTS,
    maxBufferedChunks: MAX_FRAME_READS,
  });
  readonly #sessions = new Map<string, AgentSession>();
  /** Also those that were replaced and are closing. */
  readonly #all = new Set<AgentSession>();
  readonly #sweepTimer: Timer;
  readonly #frame: SessionFrame;
  readonly gate = new ReadGate();
  readonly #admissions: Admissions;
  readonly arrivals: Arrivals;
  /** Those whose greeting is not done yet. */
  readonly #ungreeted = new Set<AgentSession>();
  #sweptMs: number;
  #stopping = false;

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#admissions = options.admissions ?? ownAdmissions();
    this.#tallies = options.tallies ?? new Tallies();
    const { clock, log, presence, random, onMessage } = options;
    this.arrivals = new Arrivals({
      expected: () => presence.expected - this.#sessions.size,
      ...(random === undefined ? {} : { random }),
    });
    this.#frame = {
      clock,
      log,
      gate: this.gate,
      tallies: this.#tallies,
      onMessage: async (session, message) => {
        const { nodeId } = session.node;
        // A replaced session may still have frames in its queue: they are the node's own, and usage is safe to
        // take twice, but only the newest session says what the node is like now.
        if (message.kind !== 'usage-batch' && this.#sessions.get(nodeId) !== session) return;
        if (message.kind !== 'hello') return onMessage(session, message);
        presence.connected(nodeId, session.order);
        await onMessage(session, message);
        this.#arrived(session);
      },
      onClosed: session => {
        const { nodeId } = session.node;
        this.#all.delete(session);
        this.#arrived(session);
        if (this.#sessions.get(nodeId) !== session) return;
        this.#sessions.delete(nodeId);
        presence.disconnected(nodeId);
      },
    };
    this.#sweptMs = clock.monotonicMs();
    this.#sweepTimer = clock.every(SWEEP_MS, () => this.#sweep());
  }

  /** The live session of a node; undefined when it is not connected here. */
  session(nodeId: string): AgentSession | undefined {
    const session = this.#sessions.get(nodeId);
    return session?.greeted === true ? session : undefined;
  }

  /** Another process has a session of this node, with this order: ours is closed if it is the older one. */
  replaced(nodeId: string, order: number): void {
    const session = this.#sessions.get(nodeId);
    if (session !== undefined && session.order < order) session.close(CLOSE.replaced, REPLACED);
  }

  /** Sessions there are, replaced ones included. */
  get size(): number {
    return this.#all.size;
  }

  /** Nobody is let in any more. */
  get stopping(): boolean {
    return this.#stopping;
  }

  /** What waits here, for those who watch. */
  figures() {
    let pausedSockets = 0;
    let unreadBytes = 0;
    for (const session of this.#all) {
      if (session.isPaused) pausedSockets += 1;
      unreadBytes += session.unreadBytes;
    }
    return {
      unreadBytes,
      arriving: this.arrivals.arriving,
      toldToComeLater: this.arrivals.refused,
      sessions: this.#all.size,
      pausedSockets,
      heldSockets: this.gate.held,
      waitingBytes: this.gate.waitingBytes,
      timesHeld: this.gate.timesShut,
    };
  }

  /** Answers an upgrade request for `/agent`. Never rejects: every fault is answered and logged. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { findNode, nonces, log } = this.#options;
    // Without a listener a reset during the wait would end the process.
    const onError = () => socket.destroy();
    socket.on('error', onError);
    if (this.#stopping || !this.arrivals.enter()) {
      this.#refuseForNow(socket, {
        code: 'link/busy',
        message: 'The cloud is busy or about to stop. Come back later.',
      });
      return;
    }
    let admission: Admission;
    try {
      admission = await authenticate(
        { findNode, nonces, admissions: this.#admissions },
        request.headers.authorization,
      );
    } catch (error) {
      this.arrivals.leave();
      log.error({ err: error }, 'an agent could not be authenticated');
      this.#refuseForNow(socket, {
        code: 'link/fault',
        message: 'The cloud cannot check this node now. Come back later.',
      });
      return;
    }
    if (admission.is === 'refused' || socket.destroyed || this.#stopping) {
      this.arrivals.leave();
      if (admission.is !== 'refused') socket.destroy();
      else {
        log.info({ code: admission.code }, 'agent refused');
        this.#tallies.upgrades.add(admission.code);
        refuse(socket, admission.status, admission);
      }
      return;
    }
    socket.off('error', onError);
    const { node, order } = admission;
    // The place is its session's from here on; an upgrade that is not WebSocket's gets no session.
    let accepted = false;
    this.#server.handleUpgrade(request, socket, head, webSocket => {
      accepted = true;
      this.#accept(node, order, webSocket);
    });
    if (!accepted) this.arrivals.leave();
  }

  #refuseForNow(socket: Duplex, refusal: { code: string; message: string }): void {
    this.#tallies.upgrades.add(refusal.code);
    refuse(socket, 503, refusal, this.arrivals.retryAfterSeconds());
  }

  #arrived(session: AgentSession): void {
    if (this.#ungreeted.delete(session)) this.arrivals.leave();
  }

  #accept(node: NodeIdentity, order: number, socket: WebSocket): void {
    this.#tallies.upgrades.add('admitted');
    const session = new AgentSession(node, socket, { order, frame: this.#frame });
    this.#ungreeted.add(session);
    const previous = this.#sessions.get(node.nodeId);
    // Two dials of a node may overtake each other between their admission and here.
    if (previous !== undefined && previous.order > order) {
      this.#all.add(session);
      session.close(CLOSE.replaced, REPLACED);
      return;
    }
    this.#sessions.set(node.nodeId, session);
    this.#all.add(session);
    previous?.close(CLOSE.replaced, REPLACED);
  }

  #sweep(): void {
    const now = this.#options.clock.monotonicMs();
    this.arrivals.noteLag(now - this.#sweptMs - SWEEP_MS);
    this.#sweptMs = now;
    for (const session of this.#all) session.sweep(now);
  }

  /** Asks every agent to move, waits until what has arrived is in the ledger, closes. Done within `deadlineMs`. */
  async close(deadlineMs: number): Promise<void> {
    this.#stopping = true;
    this.#sweepTimer.cancel();
    const { clock, log, random = Math.random } = this.#options;
    const sessions = [...this.#all];
    const spread = spreadMs(sessions.length);
    for (const session of sessions)
      session.send('move-away', { afterMs: Math.round(MOVE_AWAY_FIRST_MS + random() * spread) });
    try {
      await withDeadline(
        Promise.all(sessions.map(each => each.settled())),
        deadlineMs / 2,
        'finishing ingest',
        clock,
      );
    } catch (error) {
      // What was not stored was not acknowledged: the agents send it again.
      log.warn({ err: messageOf(error) }, 'stopping with messages unhandled');
    }
    const gone = this.#allGone(deadlineMs / 2);
    for (const session of sessions) session.close(CLOSE.moveAway, 'the cloud is about to stop');
    await gone;
    for (const session of this.#all) session.terminate();
    this.#server.close();
  }

  #allGone(deadlineMs: number): Promise<void> {
    const { clock } = this.#options;
    return new Promise(resolve => {
      const check = clock.every(20, () => {
        if (this.#all.size === 0) finish();
      });
      const limit = clock.after(deadlineMs, () => finish());
      const finish = () => {
        check.cancel();
        limit.cancel();
        resolve();
      };
    });
  }
}

function refuse(
  socket: Duplex,
  status: number,
  refusal: { code: string; message: string },
  retryAfterSeconds?: number,
): void {
  const body = JSON.stringify({ code: refusal.code, message: refusal.message });
  const reason =
    { 401: 'Unauthorized', 404: 'Not Found', 410: 'Gone', 503: 'Service Unavailable' }[status] ?? 'Error';
  const retry = retryAfterSeconds === undefined ? '' : `Retry-After: ${retryAfterSeconds}\r\n`;
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\n${retry}Content-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
