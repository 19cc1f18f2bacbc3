/**
 * One flow being opened: gate → another address first, where that is asked for → a place among the limits → dial →
 * judged anew, when the plan changed meanwhile. By callbacks and not by promises, since this is most of what a short
 * connection makes us do, and a target that was reached is read from at once. What is said before and after is the
 * session's business.
 */
import type { RefusalDetail, RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Target } from '@mastline/shared/protocols/target';
import { dialChain } from './chain';
import type { Connection } from './connection';
import { type Dial, type DialOutcome, dial, type OriginReader } from './dialer';
import { Flow } from './flow';
import { judge, judgeAddress, type ProxyAsk } from './gate';
import type { LimitedPurse } from './limited-purse';
import type { Lease } from './limiter';
import { ticksOf } from './limits';
import type { Guest } from './login';
import type { Account } from './meter';
import type { GuardedEgress, Policy } from './policy';
import type { ReadMemory, View } from './read-memory';
import type { SessionRoute } from './session-routes';
import { TcpSocket } from './tcp-socket';

export type FlowOutcome =
  | { ok: true; flow: Flow }
  | { ok: false; reason: RefusalReason; detail?: RefusalDetail | undefined };

/** What a flow holds and counts into, from the moment it was let in. */
interface Admitted {
  egress: GuardedEgress;
  /** By which it was judged. */
  policy: Policy;
  lease: Lease;
  account: Account;
  purse: LimitedPurse;
  /** Port that is dialled: the target's, or the first hop's. */
  port: number;
  beganMs: number;
}

export class Opening {
  readonly #connection: Connection;
  readonly #target: Target;
  readonly #guest: Guest;
  readonly #route: SessionRoute;
  readonly #ask: ProxyAsk;
  readonly #opened: (outcome: FlowOutcome) => void;
  #admitted: Admitted | null = null;
  #dial: Dial | null = null;
  #hasReturned = false;

  /** `opened` is told once how it went, and never within `begin`. */
  constructor(
    connection: Connection,
    wanted: { target: Target; guest: Guest },
    opened: (outcome: FlowOutcome) => void,
  ) {
    const { endpointId } = connection;
    const { target, guest } = wanted;
    this.#connection = connection;
    this.#target = target;
    this.#guest = guest;
    this.#opened = opened;
    this.#route = connection.lane.routes.route(endpointId, guest);
    this.#ask = { endpointId, credentialId: guest.credentialId, target, modem: this.#route.ask };
  }

  begin(): void {
    const { lane } = this.#connection;
    const { problem, wish } = this.#guest;
    if (problem) this.#refuse('bad-parameter', problem);
    else if (lane.draining) this.#refuse('draining');
    else if (wish.rotate === undefined) this.#enter();
    else void this.#rotate();
    this.#hasReturned = true;
  }

  /** It was let in, and its target is not reached yet. */
  get dialling(): boolean {
    return this.#dial !== null;
  }

  /** Gives up the dial under way; that is then a refusal with a time-out. */
  cancel(): void {
    this.#dial?.cancel();
  }

  async #rotate(): Promise<void> {
    const connection = this.#connection;
    const { lane, endpointId } = connection;
    const verdict = judge(this.#ask, lane.policy);
    if (!verdict.admit) {
      this.#refuse(verdict.reason);
      return;
    }
    connection.deadlineTick = lane.tick + ticksOf(lane.limits.rotateMs);
    const refusal = await lane.routes.rotate(endpointId, this.#guest, verdict.egress.slot);
    if (refusal) this.#refuse(refusal.reason, refusal.detail);
    else if (connection.closed || lane.draining) this.#refuse('draining');
    else this.#enter();
  }

  /** Takes a place and begins to dial. After a rotation too: the modem went away and came back meanwhile. */
  #enter(): void {
    const connection = this.#connection;
    const { lane, endpointId, source } = connection;
    const { policy } = lane;
    const verdict = judge(this.#ask, policy);
    if (!verdict.admit) {
      this.#refuse(verdict.reason);
      return;
    }
    const { egress } = verdict;
    const { slot, imei } = egress;
    const { credentialId } = this.#guest;
    const admission = lane.limiter.admit({
      credentialId,
      slot,
      source,
      port: this.#target.port,
      cut: reason => {
        lane.refused(reason);
        connection.cut(reason);
      },
    });
    if (!admission.ok) {
      this.#refuse(admission.reason);
      return;
    }
    const ended = this.#route.began(slot);
    const lease = ended ? releasing(admission.lease, ended) : admission.lease;
    connection.deadlineTick = lane.tick + ticksOf(lane.limits.dialMs);
    const path = lane.metrics.path(slot, connection.protocol);
    const account = lane.meter.account({ endpointId, credentialId, slot, imei }, path);
    const purse = lane.limiter.purse(account, 'down');
    const port = policy.endpoints.get(endpointId)?.chain?.[0]?.port ?? this.#target.port;
    this.#admitted = { egress, policy, lease, account, purse, port, beganMs: lane.nowMs() };
    this.#dialOut(this.#admitted);
  }

  #dialOut({ egress, policy, purse, account }: Admitted): void {
    const connection = this.#connection;
    const { lane } = connection;
    const { resolver, clock, scratch } = lane;
    const reader = new FlowReader(connection, purse);
    const options = { target: this.#target, egress, policy, resolver, clock, reader };
    let isSettled = false;
    const settled = (outcome: DialOutcome) => {
      isSettled = true;
      this.#dial = null;
      this.#dialled(outcome);
    };
    const hops = policy.endpoints.get(connection.endpointId)?.chain ?? [];
    const own = () => lane.metrics.own(account.key.slot);
    const begun =
      hops.length === 0
        ? dial(options, settled)
        : dialChain({ ...options, hops, scratch, salts: () => lane.hopSalts(), own: own() }, settled);
    if (!isSettled) this.#dial = begun;
  }

  #dialled(outcome: DialOutcome): void {
    const admitted = this.#admitted;
    if (!admitted) return;
    if (!outcome.ok) {
      admitted.lease.release();
      this.#settle(outcome);
      return;
    }
    const reason = this.#whyNot(outcome.address, admitted);
    if (reason) {
      outcome.socket.destroy();
      admitted.lease.release();
      this.#refuse(reason);
      return;
    }
    this.#settle({ ok: true, flow: this.#flow(outcome, admitted) });
  }

  /** While we dialled the client may have gone, or a new plan come. A drain lets it be: it was let in before. */
  #whyNot(address: string, { policy: before, port, egress }: Admitted): RefusalReason | null {
    const { closed, lane } = this.#connection;
    if (closed) return 'draining';
    const { policy } = lane;
    if (policy === before) return null;
    const verdict = judge(this.#ask, policy);
    if (!verdict.admit) return verdict.reason;
    return judgeAddress(address, port, { policy, egress: policy.egresses.get(egress.slot) ?? null });
  }

  #flow(reached: DialOutcome & { ok: true }, { lease, account, purse, port, beganMs }: Admitted): Flow {
    const connection = this.#connection;
    const { lane } = connection;
    const { socket: origin, address, chain } = reached;
    const reachedAtMs = lane.nowMs();
    account.path.dial.observe(reachedAtMs - beganMs);
    const flow = new Flow({
      origin,
      account,
      purse: lane.limiter.purse(account, 'up'),
      lease,
      guest: this.#guest,
      target: this.#target,
      address,
      port,
      beganMs: reachedAtMs,
      sourcePort: lane.flowLog.hasRoom ? (origin.localPort ?? 0) : 0,
      chain: chain ? { ends: chain, memory: lane.scratch.sealed } : null,
      listener: connection,
    });
    const { slot } = account.key;
    for (const wire of [connection.socket, origin]) if (wire instanceof TcpSocket) wire.slot = slot;
    connection.began(flow, purse);
    return flow;
  }

  #refuse(reason: RefusalReason, detail?: RefusalDetail): void {
    this.#settle({ ok: false, reason, detail });
  }

  /** Whoever asked is in the middle of something as long as `begin` has not returned. */
  #settle(outcome: FlowOutcome): void {
    if (this.#hasReturned) this.#opened(outcome);
    else queueMicrotask(() => this.#opened(outcome));
  }
}

/** How the origin of a flow is read: no more at once than its limits let pass on soon. */
class FlowReader implements OriginReader {
  readonly views: ReadMemory;
  readonly #connection: Connection;
  readonly #purse: LimitedPurse;

  constructor(connection: Connection, purse: LimitedPurse) {
    this.views = connection.lane.reads;
    this.#connection = connection;
    this.#purse = purse;
  }

  memory(view: View): Buffer {
    const memory = this.views.view(view, this.#connection.chunk);
    const { readBytes } = this.#purse;
    return readBytes < memory.length ? memory.subarray(0, readBytes) : memory;
  }

  take(bytes: Buffer): boolean {
    return this.#connection.originData(bytes);
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
