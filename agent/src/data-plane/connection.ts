/**
 * START HERE: one client connection's life. Handshake (a session reads the protocol) → gate → dial → relay → usage.
 * This file owns the client's socket, the flow and the dial under way, and frees all three; what is said on them is
 * the session's business, and one timer for all connections is the lane's.
 */
import type { SecureContext } from 'node:tls';
import type { Endpoint } from '@mastline/shared/domain/endpoint';
import { OUTCOME_CUT, OUTCOME_OK } from '@mastline/shared/domain/flow-summary';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Target } from '@mastline/shared/protocols/target';
import { firstSession } from './detection';
import type { Stranger } from './entrance';
import type { Flow, OriginListener } from './flow';
import type { Lane } from './lane';
import { ticksOf } from './limits';
import { Lingering } from './lingering';
import type { Guest } from './login';
import { type FlowOutcome, Opening } from './opening';
import { Outlet, type Purse, type Way } from './outlet';
import type { Place } from './roll';
import { SealedOutlet, type Sealing } from './sealed-outlet';
import { secured } from './secure-wire';
import type { Session } from './session';
import { Tunnel } from './tunnel';
import type { Wire, WireOwner } from './wire';
import { disown, own } from './wire-owner';

export class Connection implements Stranger, WireOwner, OriginListener {
  socket: Wire;
  readonly lane: Lane;
  readonly endpointId: string;
  /** The client's address. */
  readonly source: string;
  /** Toward the client. */
  down: Way;
  flow: Flow | null = null;
  /** What lives as long as the connection, other than a flow: an association. */
  attached: { close(): void } | null = null;
  /** The lane's tick at which the session is told that its time is up. */
  deadlineTick: number;
  /** Counted among the open handshakes: it has not proven whose it is. */
  handshaking = true;
  /** Its source's place at the entrance, and its neighbours there. */
  readonly place: number;
  idle = true;
  older: Stranger | null = null;
  younger: Stranger | null = null;
  /** What the client speaks, for metrics; set by whoever found out. */
  protocol = 'unknown';
  /** When the flow's target was reached, until its first byte came; for metrics. */
  #reachedAtMs = 0;
  #session: Session;
  readonly #downEvents = { drained: () => this.#session.clientDrained(), broken: () => this.cut() };
  /** Origins are read in multiples of it. */
  chunk = 1;
  readonly #inRoll: Place<Connection>;
  #opening: Opening | null = null;
  /** A flow that is over and not noted yet: bytes of it may still be on their way to the client. */
  #over: Flow | null = null;
  /** Of `down`, when the flow began. */
  #carriedBefore = 0;
  /** Why the flow ended, where there is a reason. */
  #cutFor: RefusalReason | null = null;
  #ended = false;
  #closed = false;

  constructor(lane: Lane, socket: Wire, endpoint: Endpoint, place: number) {
    this.lane = lane;
    this.place = place;
    this.#inRoll = lane.remember(this);
    this.socket = socket;
    this.endpointId = endpoint.id;
    this.source = socket.remoteAddress ?? '';
    this.deadlineTick = lane.tick + ticksOf(lane.limits.handshakeMs);
    this.down = new Outlet(socket, 'down', this.#downEvents);
    this.#session = firstSession(this, endpoint);
    this.#listen(socket);
  }

  #listen(socket: Wire): void {
    own(socket, this);
    socket.resume();
  }

  /** Called by the client's wire. */
  wireData(bytes: Buffer): void {
    this.#session.clientData(bytes);
  }

  /** Called by the client's wire. */
  wireEnded(): void {
    this.#ended = true;
    this.#session.clientEnd();
  }

  /** What the target sends, on its way to the session. False stops reading it. */
  originData(bytes: Buffer): boolean {
    if (this.#reachedAtMs > 0) this.#firstByte();
    return this.#session.originData(bytes);
  }

  originEnd(): void {
    this.#session.originEnd();
  }

  originClosed(hadError: boolean): void {
    this.#session.originClosed(hadError);
  }

  originDrained(): void {
    this.#session.originDrained();
  }

  /** The client has half-closed. */
  get clientEnded(): boolean {
    return this.#ended;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Hands the connection to another session. */
  become(session: Session): void {
    this.#session = session;
  }

  /** Goes on inside TLS, with `session`; `hello` is what came already. */
  secure(context: SecureContext, hello: Buffer, session: Session): void {
    this.#session = session;
    this.socket = secured(this.socket, hello, context);
    this.down = new Outlet(this.socket, 'down', this.#downEvents);
    this.#listen(this.socket);
  }

  /** Seals what goes to the client from now on, and reads origins in multiples of `chunk` bytes. */
  sealDown(sealing: Sealing, chunk: number): void {
    const { lane, socket } = this;
    this.down = new SealedOutlet(
      { socket, direction: 'down', sealing, memory: lane.scratch.sealed },
      this.#downEvents,
    );
    this.chunk = chunk;
  }

  /** Something moved: the idle deadline starts anew. */
  touch(): void {
    this.deadlineTick = this.lane.tick + this.lane.idleTicks;
  }

  /** The client has proven whose it is. */
  loggedIn(): void {
    if (!this.handshaking) return;
    this.handshaking = false;
    this.lane.entrance.left(this, true);
  }

  /**
   * Asks the gate, dials, and makes a flow of it; `opened` is told how that went, and never within this call. Bytes of
   * the target reach the session once the origin is resumed: in `opened` costs least.
   */
  openFlow(target: Target, guest: Guest, opened: (outcome: FlowOutcome) => void): void {
    this.loggedIn();
    const opening = new Opening(this, { target, guest }, outcome => {
      this.#opening = null;
      opened(outcome);
    });
    this.#opening = opening;
    opening.begin();
  }

  /** Called by opening.ts: the target is reached, and `purse` pays for what it sends. */
  began(flow: Flow, purse: Purse): void {
    this.#noteOver();
    this.flow = flow;
    this.#reachedAtMs = flow.beganMs;
    this.#carriedBefore = this.down.carried;
    this.down.account = purse;
    this.touch();
  }

  /** From now on bytes only pass: `fromClient` were read ahead, `fromOrigin` behind the handshake. */
  tunnel(flow: Flow, ahead: { fromClient: Buffer; fromOrigin?: Buffer }): void {
    const tunnel = new Tunnel(this, flow);
    this.become(tunnel);
    const { fromClient, fromOrigin = flow.early } = ahead;
    if (fromOrigin.length === 0 || tunnel.originData(fromOrigin)) flow.origin.resume();
    if (fromClient.length === 0 || flow.up.send(fromClient)) this.socket.resume();
    else this.socket.pause();
    if (this.#ended) tunnel.clientEnd();
  }

  /** Closes the flow and keeps the client. `reason`: it came to nothing. */
  closeFlow(reason: RefusalReason | null = null): void {
    const { flow } = this;
    if (!flow) return;
    if (reason) this.#cutFor = reason;
    flow.close();
    this.flow = null;
    this.#over = flow;
    if (this.#closed || this.down.idle) this.#noteOver();
  }

  /** A flow of a client that is known was refused. */
  noteRefusal(target: Target | null, guest: Guest, reason: RefusalReason): void {
    const { endpointId, protocol } = this;
    const { credentialId } = guest;
    this.lane.flowLog.refused({ endpointId, credentialId, protocol, target }, reason);
  }

  /** Counts a refusal, and remembers whom it met. */
  noteRefused(reason: RefusalReason): void {
    this.lane.refused(reason);
    if (reason === 'bad-credentials') this.lane.flowLog.stranger('login-refused', this.source);
  }

  /** Says `bytes` as the last thing, and closes when the client has read it. Empty bytes: closes at once. */
  refuse(reason: RefusalReason, bytes: Buffer): void {
    this.noteRefused(reason);
    this.closeFlow();
    if (bytes.length === 0) {
      this.cut();
      return;
    }
    this.down.send(bytes, false);
    this.finish();
  }

  /** Half-closes behind what is still to be sent, and waits a little for the client to do the same. */
  finish(): void {
    this.become(new Lingering(this));
    this.idle = true;
    this.deadlineTick = this.lane.tick + ticksOf(this.lane.limits.lingerMs);
    this.down.finish();
    this.socket.resume();
  }

  /** Nothing is under way. */
  get resting(): boolean {
    return this.#session.resting ?? false;
  }

  /** A flow has been let in, and its target is not reached yet. */
  get dialling(): boolean {
    return this.#opening?.dialling ?? false;
  }

  /** Ends a connection that rests: with an end, since nothing is cut off. */
  leave(): void {
    if (this.#closed) return;
    this.#free();
    this.socket.destroy();
  }

  /** Ends everything now. The client gets a reset, since what it got may be half of something. */
  cut(reason: RefusalReason | null = null): void {
    if (this.#closed) return;
    // One that had ended well before its client was let go is not cut.
    if (this.flow && !this.flow.closed) {
      this.flow.broken = true;
      this.#cutFor = reason;
    }
    this.#free();
    this.socket.resetAndDestroy();
  }

  timedOut(): void {
    if (this.#opening?.dialling) this.#opening.cancel();
    else this.#session.timedOut();
  }

  #noteOver(): void {
    const flow = this.#over;
    if (!flow) return;
    this.#over = null;
    const { lane } = this;
    if (!lane.flowLog.hasRoom) {
      lane.flowLog.skipped();
      this.#cutFor = null;
      return;
    }
    const { endpointId, credentialId, slot, imei } = flow.account.key;
    const ended = {
      endpointId,
      credentialId,
      slot,
      imei,
      protocol: flow.account.path.protocol,
      target: flow.target,
      address: flow.isChained ? null : flow.address,
      sourcePort: flow.sourcePort,
      tookMs: Math.round(lane.nowMs() - flow.beganMs),
      upBytes: flow.up.carried,
      downBytes: this.down.carried - this.#carriedBefore,
    };
    lane.flowLog.ended(ended, this.#cutFor ?? (flow.broken ? OUTCOME_CUT : OUTCOME_OK));
    this.#cutFor = null;
  }

  #firstByte(): void {
    this.flow?.account.path.firstByte.observe(this.lane.nowMs() - this.#reachedAtMs);
    this.#reachedAtMs = 0;
  }

  /** Called by the client's wire. */
  wireClosed(hadError: boolean): void {
    if (this.#closed) return;
    const flow = this.flow;
    if (hadError && flow && !flow.closed) flow.broken = true;
    // Both directions of the client ended well, but its last bytes are still on their way to the target.
    if (!hadError && flow && !flow.closed && flow.up.finishing && !flow.up.idle) {
      flow.whenGone = () => this.#free();
      return;
    }
    this.#free();
  }

  #free(): void {
    if (this.#closed) return;
    this.#closed = true;
    disown(this.socket);
    if (this.handshaking) {
      this.handshaking = false;
      this.lane.entrance.left(this, false);
    }
    this.#opening?.cancel();
    this.down.close();
    this.closeFlow();
    this.#noteOver();
    this.attached?.close();
    this.lane.forget(this.#inRoll);
  }
}
