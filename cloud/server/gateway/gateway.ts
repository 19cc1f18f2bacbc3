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
import type { Database } from '../db/database';
import type { NodeIdentity } from '../fleet/node-reports';
import type { Presence } from '../fleet/presence';
import type { Log } from '../log';
import { Tallies } from '../observe/tallies';
import { type Admissions, ownAdmissions } from './admissions';
import { type Admission, authenticate } from './authenticate';
import type { Nonces } from './nonces';
import { ReadGate } from './read-gate';
import { AgentSession, type SessionFrame } from './session';

/** Upgrades that wait for the database at once; more are told to come later. */
const MAX_PENDING_UPGRADES = 200;
/** One timer looks at all sessions: none has its own. */
const SWEEP_MS = 1_000;
/** Agents are asked to come back spread over so long: a restart must not be a stampede. */
export const MOVE_AWAY_SPREAD_MS = 5_000;
const REPLACED = 'a newer session of this node took over';

export interface GatewayOptions {
  db: Database;
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
  #pendingUpgrades = 0;
  #stopping = false;

  constructor(options: GatewayOptions) {
    this.#options = options;
    this.#admissions = options.admissions ?? ownAdmissions();
    const { clock, log, presence, onMessage } = options;
    this.#tallies = options.tallies ?? new Tallies();
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
        if (message.kind === 'hello') presence.connected(nodeId);
        await onMessage(session, message);
      },
      onClosed: session => {
        const { nodeId } = session.node;
        this.#all.delete(session);
        if (this.#sessions.get(nodeId) !== session) return;
        this.#sessions.delete(nodeId);
        presence.disconnected(nodeId);
      },
    };
    this.#sweepTimer = clock.every(SWEEP_MS, () => this.#sweep());
  }

  /** The live session of a node; undefined when it is not connected here. */
  session(nodeId: string): AgentSession | undefined {
    const session = this.#sessions.get(nodeId);
    return session?.greeted === true ? session : undefined;
  }

  /** Sessions there are, replaced ones included. */
  get size(): number {
    return this.#all.size;
  }

  /** What waits here, for those who watch. */
  figures() {
    let pausedSockets = 0;
    for (const session of this.#all) if (session.isPaused) pausedSockets += 1;
    return {
      sessions: this.#all.size,
      pausedSockets,
      heldSockets: this.gate.held,
      waitingBytes: this.gate.waitingBytes,
      timesHeld: this.gate.timesShut,
    };
  }

  /** Answers an upgrade request for `/agent`. Never rejects: every fault is answered and logged. */
  async upgrade(request: IncomingMessage, socket: Duplex, head: Buffer): Promise<void> {
    const { db, nonces, log } = this.#options;
    // Without a listener a reset during the wait would end the process.
    const onError = () => socket.destroy();
    socket.on('error', onError);
    if (this.#stopping || this.#pendingUpgrades >= MAX_PENDING_UPGRADES) {
      this.#tallies.upgrades.add('link/busy');
      refuse(socket, 503, {
        code: 'link/busy',
        message: 'The cloud is busy or about to stop. Come back later.',
      });
      return;
    }
    this.#pendingUpgrades += 1;
    let admission: Admission;
    try {
      admission = await authenticate(
        { db, nonces, admissions: this.#admissions },
        request.headers.authorization,
      );
    } catch (error) {
      log.error({ err: error }, 'an agent could not be authenticated');
      this.#tallies.upgrades.add('link/fault');
      refuse(socket, 503, {
        code: 'link/fault',
        message: 'The cloud cannot check this node now. Come back later.',
      });
      return;
    } finally {
      this.#pendingUpgrades -= 1;
    }
    if (admission.is === 'refused') {
      log.info({ code: admission.code }, 'agent refused');
      this.#tallies.upgrades.add(admission.code);
      refuse(socket, admission.status, admission);
      return;
    }
    if (socket.destroyed || this.#stopping) {
      socket.destroy();
      return;
    }
    socket.off('error', onError);
    const { node, order } = admission;
    this.#server.handleUpgrade(request, socket, head, webSocket => this.#accept(node, order, webSocket));
  }

  #accept(node: NodeIdentity, order: number, socket: WebSocket): void {
    this.#tallies.upgrades.add('admitted');
    const session = new AgentSession(node, socket, { order, frame: this.#frame });
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
    for (const session of this.#all) session.sweep(now);
  }

  /** Asks every agent to move, waits until what has arrived is in the ledger, closes. Done within `deadlineMs`. */
  async close(deadlineMs: number): Promise<void> {
    this.#stopping = true;
    this.#sweepTimer.cancel();
    const { clock, log, random = Math.random } = this.#options;
    const sessions = [...this.#all];
    for (const session of sessions)
      session.send('move-away', { afterMs: Math.round(random() * MOVE_AWAY_SPREAD_MS) });
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

function refuse(socket: Duplex, status: number, refusal: { code: string; message: string }): void {
  const body = JSON.stringify({ code: refusal.code, message: refusal.message });
  const reason =
    { 401: 'Unauthorized', 404: 'Not Found', 410: 'Gone', 503: 'Service Unavailable' }[status] ?? 'Error';
  socket.end(
    `HTTP/1.1 ${status} ${reason}\r\nContent-Type: application/json\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`,
  );
}
