/**
 * A client's datagrams through a modem: one association, whichever protocol it came by (shadowsocks-packets.ts; SOCKS5
 * UDP ASSOCIATE uses the same). It chooses the modem once, judges every target like TCP, names after resolution too,
 * sends from the slot's address, and counts what the kernel took, per usage.ts. What cannot be carried now (the slot
 * waits for the disk, a limit is reached, the kernel is full) is dropped, as networks do with datagrams.
 *
 * Answers are taken from addresses that the client has spoken to, on any port of theirs, and from nobody else.
 */
import { isIP, isIPv4, SocketAddress } from 'node:net';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Target } from '@mastline/shared/protocols/target';
import { judge, judgeAddress } from './gate';
import type { Lane } from './lane';
import type { LimitedPurse } from './limited-purse';
import type { Lease } from './limiter';
import { ticksOf } from './limits';
import type { Guest } from './login';
import type { Account } from './meter';
import type { GuardedEgress } from './policy';
import { type Lookup, resolveName } from './resolver';
import type { SessionRoute } from './session-routes';
import { SlotDatagrams } from './slot-datagrams';
import { sourceFor } from './source-address';

/** Datagrams that wait for one name; a client that resolves through us sends one or two. */
const MAX_WAITING = 8;
/** Names of one association; the oldest is forgotten. */
const MAX_NAMES = 64;
/** Addresses that may answer; the oldest is forgotten. */
const MAX_PEERS = 512;
/** How long an address found for a name is used without asking again. */
const NAME_MS = 30_000;

/** Who asked, and how answers go back. */
export interface AssociationOptions {
  lane: Lane;
  endpointId: string;
  guest: Guest;
  /** The client's address. */
  source: string;
  protocol: string;
  /**
   * An answer for the client. `payload` is valid during the call. Must call `sent` once with whether the kernel took
   * it, which is when it is counted.
   */
  answered: (payload: Buffer, from: Target, sent: (taken: boolean) => void) => void;
  /** It is over: idle, cut by a plan, or closed. */
  closed: () => void;
}

/** What an admitted association counts into and holds. */
interface Carriage {
  account: Account;
  up: LimitedPurse;
  down: LimitedPurse;
  lease: Lease;
  leftSession: (() => void) | null;
}

interface Name {
  address: string | null;
  untilTick: number;
  lookup: Lookup | null;
  waiting: { port: number; payload: Buffer }[];
}

export class Association {
  readonly endpointId: string;
  readonly credentialId: string;
  readonly #options: AssociationOptions;
  readonly #lane: Lane;
  readonly #sockets = new Map<4 | 6, SlotDatagrams>();
  readonly #names = new Map<string, Name>();
  readonly #peers = new Set<string>();
  #egress: GuardedEgress | null = null;
  #carriage: Carriage | null = null;
  #deadlineTick: number;
  #closed = false;

  constructor(options: AssociationOptions) {
    this.#options = options;
    this.#lane = options.lane;
    this.endpointId = options.endpointId;
    this.credentialId = options.guest.credentialId;
    this.#deadlineTick = this.#idleTick();
    this.#lane.associations.add(this);
  }

  get closed(): boolean {
    return this.#closed;
  }

  get guest(): Guest {
    return this.#options.guest;
  }

  /** The client's address. */
  get source(): string {
    return this.#options.source;
  }

  /** Slot that carries it; null before the first datagram. */
  get slot(): number | null {
    return this.#egress?.slot ?? null;
  }

  /** Takes its place before there is a datagram. Says why when policy or a limit refused it. */
  open(): RefusalReason | null {
    return this.#closed ? 'draining' : this.#admit(null);
  }

  /** Carries a datagram of the client's, or drops it; `payload` is taken over. Says why when policy refused it. */
  send(target: Target, payload: Buffer): RefusalReason | null {
    if (this.#closed) return 'draining';
    const refused = this.#admit(target);
    if (refused) {
      this.#lane.refused(refused);
      return refused;
    }
    this.#deadlineTick = this.#idleTick();
    if (isIP(target.host) !== 0) this.#sendTo(target.host, target.port, payload);
    else this.#sendToName(target, payload);
    return null;
  }

  /** Called by the lane once a tick. */
  onTick(tick: number): void {
    if (tick >= this.#deadlineTick) this.close();
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#lane.associations.delete(this);
    for (const name of this.#names.values()) name.lookup?.cancel();
    this.#names.clear();
    for (const socket of this.#sockets.values()) socket.close();
    this.#sockets.clear();
    this.#carriage?.account.flowClosed();
    this.#carriage?.lease.release();
    this.#carriage?.leftSession?.();
    this.#options.closed();
  }

  #idleTick(): number {
    return this.#lane.tick + ticksOf(this.#lane.limits.udpIdleMs);
  }

  /** The gate, for each datagram: limits and standing may have changed since the last. The modem stays. */
  #admit(target: Target | null): RefusalReason | null {
    const { endpointId, credentialId } = this;
    const { limiter } = this.#lane;
    if (this.#lane.draining) return 'draining';
    // Chains are for TCP, and past them nothing goes.
    if (this.#lane.policy.endpoints.get(endpointId)?.chain?.length) return 'command-not-supported';
    const { guest } = this.#options;
    if (guest.problem) return 'bad-parameter';
    // A datagram is not what one waits a minute for; TCP rotates, and associations made then use what came of it.
    if (guest.wish.rotate !== undefined) return 'rotation-unavailable';
    const route = this.#carriage ? null : this.#lane.routes.route(endpointId, guest);
    const ask = { endpointId, credentialId, target, ...(route ? { modem: route.ask } : {}) };
    const verdict = judge(ask, this.#lane.policy);
    if (!verdict.admit) return verdict.reason;
    if (route) {
      const carriage = this.#begin(verdict.egress, route);
      if (!carriage.ok) return carriage.reason;
    }
    const slot = this.#egress?.slot ?? verdict.egress.slot;
    return target === null || limiter.allowsPort(credentialId, slot, target.port) ? null : 'port-denied';
  }

  #begin(egress: GuardedEgress, route: SessionRoute): { ok: true } | { ok: false; reason: RefusalReason } {
    const { endpointId, credentialId } = this;
    const { limiter, meter, metrics } = this.#lane;
    const { source, protocol } = this.#options;
    const { slot, imei } = egress;
    const cut = (reason: RefusalReason) => {
      this.#lane.refused(reason);
      this.close();
    };
    // Its targets are many, so their ports are judged with each datagram.
    const admission = limiter.admit({ credentialId, slot, source, port: null, cut });
    if (!admission.ok) return admission;
    const account = meter.account({ endpointId, credentialId, slot, imei }, metrics.path(slot, protocol));
    account.flowOpened();
    const up = limiter.purse(account, 'up');
    this.#egress = egress;
    this.#carriage = {
      account,
      up,
      down: limiter.purse(account, 'down'),
      lease: admission.lease,
      leftSession: route.began(slot),
    };
    return { ok: true };
  }

  #sendToName(target: Target, payload: Buffer): void {
    const known = this.#names.get(target.host);
    if (known && (known.lookup || this.#lane.tick < known.untilTick)) {
      if (known.address !== null) this.#sendTo(known.address, target.port, payload);
      else if (known.lookup && known.waiting.length < MAX_WAITING)
        known.waiting.push({ port: target.port, payload });
      return;
    }
    void this.#resolve(target, payload);
  }

  async #resolve(target: Target, payload: Buffer): Promise<void> {
    const egress = this.#egress;
    if (!egress) return;
    const lookup = resolveName(target.host, egress);
    const name: Name = { address: null, untilTick: 0, lookup, waiting: [{ port: target.port, payload }] };
    this.#names.delete(target.host);
    this.#names.set(target.host, name);
    dropOldest(this.#names, MAX_NAMES, old => old.lookup?.cancel());
    const resolution = await lookup.result;
    name.lookup = null;
    name.untilTick = this.#lane.tick + ticksOf(NAME_MS);
    const { waiting } = name;
    name.waiting = [];
    if (this.#closed) return;
    const found = resolution.ok ? resolution.addresses : [];
    const address = found.find(one => sourceFor(egress.sourceAddress, one).ok) ?? null;
    name.address = address;
    if (address === null) {
      this.#lane.refused(resolution.ok ? 'network-unreachable' : resolution.reason);
      return;
    }
    for (const { port, payload: waited } of waiting) this.#sendTo(address, port, waited);
  }

  #sendTo(address: string, port: number, payload: Buffer): void {
    const egress = this.#egress && this.#lane.policy.egresses.get(this.#egress.slot);
    const purse = this.#carriage?.up;
    if (!egress || !purse) return;
    const refused = judgeAddress(address, port, { policy: this.#lane.policy, egress });
    const source = sourceFor(egress.sourceAddress, address);
    if (refused || !source.ok) {
      this.#lane.refused(refused ?? 'network-unreachable');
      return;
    }
    const socket = this.#socket(isIPv4(address) ? 4 : 6, source.localAddress);
    const peer = oneSpelling(address);
    this.#peers.delete(peer);
    this.#peers.add(peer);
    dropOldest(this.#peers, MAX_PEERS);
    if (!purse.takeWhole(payload.length)) return;
    socket.send({ payload, address, port }, taken => {
      if (taken) purse.countUp(payload.length);
      else purse.giveBack(payload.length);
    });
  }

  #socket(family: 4 | 6, localAddress: string | null): SlotDatagrams {
    const known = this.#sockets.get(family);
    if (known) return known;
    const socket = new SlotDatagrams({
      family,
      localAddress,
      heard: (payload, from) => this.#answered(payload, { host: from.address, port: from.port }),
      // The modem's address is gone; the next datagram looks again.
      unbound: () => {
        this.#sockets.delete(family);
        this.#lane.refused('modem-failed');
      },
    });
    this.#sockets.set(family, socket);
    return socket;
  }

  #answered(payload: Buffer, from: Target): void {
    const purse = this.#carriage?.down;
    if (this.#closed || !purse || !this.#peers.has(oneSpelling(from.host))) return;
    this.#deadlineTick = this.#idleTick();
    const bytes = payload.length;
    if (!purse.takeWhole(bytes)) return;
    this.#options.answered(payload, from, taken => {
      if (taken) purse.countDown(bytes);
      else purse.giveBack(bytes);
    });
  }
}

/** IPv6 has many spellings of one address. */
function oneSpelling(address: string): string {
  return isIPv4(address) ? address : new SocketAddress({ address, family: 'ipv6' }).address;
}

/** Sets and maps remember the order in which they were filled. */
function dropOldest<T>(
  from: Map<string, T> | Set<string>,
  max: number,
  dropped: (value: T) => void = () => undefined,
): void {
  if (from.size <= max) return;
  const oldest = from.keys().next();
  if (oldest.done) return;
  if (from instanceof Map) {
    const value = from.get(oldest.value);
    if (value !== undefined) dropped(value);
  }
  from.delete(oldest.value);
}
