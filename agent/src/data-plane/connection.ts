/**
 * START HERE: one client connection's life. Handshake (a session reads the protocol) → gate → dial → relay → usage.
 * This file owns the client's socket, the flow and the dial under way, and frees all three; what is said on them is
 * the session's business, and one timer for all connections is the lane's.
 */
import type { SecureContext } from 'node:tls';
import type { Endpoint } from '@mastline/shared/domain/endpoint';
import { OUTCOME_CUT, OUTCOME_OK } from '@mastline/shared/domain/flow-summary';
import type { RefusalDetail, RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Target } from '@mastline/shared/protocols/target';
import { dialChain } from './chain';
import { firstSession } from './detection';
import { type Dial, dial } from './dialer';
import type { Stranger } from './entrance';
import { Flow } from './flow';
import { judge, judgeAddress, type ProxyAsk } from './gate';
import type { Lane } from './lane';
import type { Lease } from './limiter';
import { ticksOf } from './limits';
import { Lingering } from './lingering';
import type { Guest } from './login';
import { Outlet, type Way } from './outlet';
import type { View } from './read-memory';
import type { Place } from './roll';
import { SealedOutlet, type Sealing } from './sealed-outlet';
import { secured } from './secure-wire';
import type { Session } from './session';
import { TcpSocket } from './tcp-socket';
import { Tunnel } from './tunnel';
import type { Wire } from './wire';

export type FlowOutcome =
  | { ok: true; flow: Flow }
  | { ok: false; reason: RefusalReason; detail?: RefusalDetail | undefined };

export class Connection implements Stranger {
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
  #chunk = 1;
  readonly #inRoll: Place<Connection>;
  #dial: Dial | null = null;
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
    socket.on('data', bytes => this.#session.clientData(bytes));
    socket.once('end', () => {
      this.#ended = true;
      this.#session.clientEnd();
    });
    // "close" follows and says whether there was an error; which one does not matter to anybody here.
    socket.on('error', () => undefined);
    socket.once('close', hadError => this.#clientClosed(hadError));
    socket.resume();
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
    this.#chunk = chunk;
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

  /** Asks the gate, dials, and makes a flow of it. Bytes of the target reach the session once the origin is resumed. */
  async openFlow(target: Target, guest: Guest): Promise<FlowOutcome> {
    const { lane, endpointId } = this;
    const { credentialId } = guest;
    this.loggedIn();
    if (guest.problem) return { ok: false, reason: 'bad-parameter', detail: guest.problem };
    if (lane.draining) return { ok: false, reason: 'draining' };
    const route = lane.routes.route(endpointId, guest);
    const ask = { endpointId, credentialId, target, modem: route.ask };
    let verdict = judge(ask, lane.policy);
    if (!verdict.admit) return { ok: false, reason: verdict.reason };
    if (guest.wish.rotate !== undefined) {
      this.deadlineTick = lane.tick + ticksOf(lane.limits.rotateMs);
      const refusal = await lane.routes.rotate(endpointId, guest, verdict.egress.slot);
      if (refusal) return { ok: false, ...refusal };
      if (this.#closed || lane.draining) return { ok: false, reason: 'draining' };
      // The modem went away and came back meanwhile.
      verdict = judge(ask, lane.policy);
      if (!verdict.admit) return { ok: false, reason: verdict.reason };
    }
    const { egress } = verdict;
    const { slot, imei } = egress;
    const admission = lane.limiter.admit({
      credentialId,
      slot,
      source: this.source,
      port: target.port,
      cut: reason => {
        lane.refused(reason);
        this.cut(reason);
      },
    });
    if (!admission.ok) return admission;
    const ended = route.began(slot);
    const lease = ended ? releasing(admission.lease, ended) : admission.lease;
    this.deadlineTick = lane.tick + ticksOf(lane.limits.dialMs);
    const path = lane.metrics.path(slot, this.protocol);
    const account = lane.meter.account({ endpointId, credentialId, slot, imei }, path);
    const purse = lane.limiter.purse(account, 'down');
    const beganMs = lane.nowMs();
    const hops = lane.policy.endpoints.get(endpointId)?.chain ?? [];
    const options = {
      target,
      egress,
      policy: lane.policy,
      resolver: lane.resolver,
      clock: lane.clock,
      memory: (view: View) => {
        const memory = lane.reads.view(view, this.#chunk);
        return purse.readBytes < memory.length ? memory.subarray(0, purse.readBytes) : memory;
      },
      views: lane.reads,
      reader: {
        originData: (bytes: Buffer) => {
          if (this.#reachedAtMs > 0) this.#firstByte();
          return this.#session.originData(bytes);
        },
      },
    };
    const { scratch } = lane;
    this.#dial =
      hops.length === 0
        ? dial(options)
        : dialChain({ ...options, hops, scratch, salts: () => lane.hopSalts(), own: lane.metrics.own(slot) });
    const outcome = await this.#dial.outcome;
    this.#dial = null;
    if (!outcome.ok) {
      lease.release();
      return outcome;
    }
    // While we dialled the client may have gone, or a new plan may have come. A drain lets it be: it was let in before.
    if (this.#closed) {
      outcome.socket.destroy();
      lease.release();
      return { ok: false, reason: 'draining' };
    }
    const port = hops[0]?.port ?? target.port;
    const refused =
      lane.policy === options.policy ? null : this.#judgeAnew(ask, { address: outcome.address, port, slot });
    if (refused) {
      outcome.socket.destroy();
      lease.release();
      return { ok: false, reason: refused };
    }
    this.#reachedAtMs = lane.nowMs();
    path.dial.observe(this.#reachedAtMs - beganMs);
    this.#noteOver();
    this.#carriedBefore = this.down.carried;
    this.flow = new Flow({
      origin: outcome.socket,
      account,
      purse: lane.limiter.purse(account, 'up'),
      lease,
      guest,
      target,
      address: outcome.address,
      port,
      beganMs: this.#reachedAtMs,
      sourcePort: lane.flowLog.hasRoom ? (outcome.socket.localPort ?? 0) : 0,
      chain: outcome.chain ? { ends: outcome.chain, memory: scratch.sealed } : null,
      listener: () => this.#session,
    });
    this.down.account = purse;
    for (const wire of [this.socket, outcome.socket]) if (wire instanceof TcpSocket) wire.slot = slot;
    this.touch();
    return { ok: true, flow: this.flow };
  }

  /** What was dialled by another policy than the present one is judged by this, too. */
  #judgeAnew(ask: ProxyAsk, reached: { address: string; port: number; slot: number }): RefusalReason | null {
    const { policy } = this.lane;
    const verdict = judge(ask, policy);
    if (!verdict.admit) return verdict.reason;
    const { address, port, slot } = reached;
    return judgeAddress(address, port, { policy, egress: policy.egresses.get(slot) ?? null });
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
    return this.#dial !== null;
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
    if (this.#dial) this.#dial.cancel();
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

  #clientClosed(hadError: boolean): void {
    if (this.#closed) return;
    const flow = this.flow;
    if (hadError && flow && !flow.closed) flow.broken = true;
    // Both directions of the client ended well, but its last bytes are still on their way to the target.
    if (!hadError && flow && !flow.closed && flow.up.finishing && !flow.up.idle) {
      flow.origin.once('close', () => this.#free());
      return;
    }
    this.#free();
  }

  #free(): void {
    if (this.#closed) return;
    this.#closed = true;
    if (this.handshaking) {
      this.handshaking = false;
      this.lane.entrance.left(this, false);
    }
    this.#dial?.cancel();
    this.down.close();
    this.closeFlow();
    this.#noteOver();
    this.attached?.close();
    this.lane.forget(this.#inRoll);
  }
}

function releasing(lease: Lease, more: () => void): Lease {
  return {
    release: () => {
      lease.release();
      more();
    },
  };
}
