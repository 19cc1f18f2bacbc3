/**
 * A client's datagrams through a modem: one association, whichever protocol it came by (shadowsocks-packets.ts; SOCKS5
 * UDP ASSOCIATE uses the same). It chooses the modem once, judges every target like TCP, names after resolution too,
 * sends from the slot's address, and counts what the kernel took, per usage.ts. What cannot be carried now (the slot
 * waits for the disk, a limit is reached, the kernel is full) is dropped, as networks do with datagrams.
 *
 * Answers are taken from addresses that the client has spoken to, on any port of theirs, and from nobody else.
 */
import { isIP, isIPv4, SocketAddress } from 'node:net';
import { OUTCOME_OK } from '@mastline/shared/domain/flow-summary';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Target } from '@mastline/shared/protocols/target';
import { judge, judgeAddress } from './gate';
import type { Lane } from './lane';
import type { OwnCount } from './lane-metrics';
import type { LimitedPurse } from './limited-purse';
import type { Lease } from './limiter';
import { ticksOf } from './limits';
import type { Guest } from './login';
import type { Account } from './meter';
import type { NameAnswer } from './name-cache';
import type { GuardedEgress, Policy } from './policy';
import { refusalOf } from './resolver';
import type { SessionRoute } from './session-routes';
import { SlotDatagrams } from './slot-datagrams';
import { familiesOf, sourceFor } from './source-address';

/** Datagrams that wait for one name; a client that resolves through us sends one or two. */
const MAX_WAITING = 8;
/** Names of one association, those that wait for their addresses and those that have one; the oldest is forgotten. */
const MAX_NAMES = 64;
/** Addresses that may answer; the oldest is forgotten. */
const MAX_PEERS = 512;

/** Without a datagram for so long, an association does not hold up an agent that drains. */
const RESTS_AFTER_MS = 2_000;

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
  beganMs: number;
  imei: string | null;
  upBytes: number;
  downBytes: number;
}

/** An address and port that were judged. */
interface Allowed {
  policy: Policy;
  host: string;
  port: number;
  localAddress: string | null;
  /** Where its slot counts datagrams. */
  own: OwnCount;
}

/** A name that was asked for, and the datagrams for it. */
interface Lookup {
  waiting: { port: number; payload: Buffer }[];
  stop: () => void;
}

export class Association {
  readonly endpointId: string;
  readonly credentialId: string;
  readonly #options: AssociationOptions;
  readonly #lane: Lane;
  readonly #sockets = new Map<4 | 6, SlotDatagrams>();
  readonly #lookups = new Map<string, Lookup>();
  /** Address that a name was last sent to: it stays while the name has it, since the other side knows the client. */
  readonly #addresses = new Map<string, string>();
  readonly #peers = new Set<string>();
  /** What the last datagram was allowed by: the next one to the same address is, too, as long as the policy stays. */
  #allowed: Allowed | null = null;
  /** Who was heard last, and the same in one spelling. */
  #heardFrom = '';
  #heardPeer = '';
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

  /** Nothing has passed for a moment: may be closed without harm when the agent drains. */
  get resting(): boolean {
    return this.#idleTick() - this.#deadlineTick >= ticksOf(RESTS_AFTER_MS);
  }

  /** Takes its place before there is a datagram. Says why when policy or a limit refused it. */
  open(): RefusalReason | null {
    if (this.#closed) return 'draining';
    const refused = this.#admit(null);
    if (refused) this.#noteRefusal(null, refused);
    return refused;
  }

  /** Carries a datagram of the client's, or drops it; `payload` is taken over. Says why when policy refused it. */
  send(target: Target, payload: Buffer): RefusalReason | null {
    if (this.#closed) return 'draining';
    const allowed = this.#allowed;
    if (
      allowed &&
      allowed.policy === this.#lane.policy &&
      allowed.host === target.host &&
      allowed.port === target.port
    ) {
      this.#deadlineTick = this.#idleTick();
      this.#carryTo(allowed, payload);
      return null;
    }
    const refused = this.#admit(target);
    if (refused) {
      this.#lane.refused(refused);
      this.#noteRefusal(target, refused);
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

  /** `reason`: it was cut. */
  close(reason: RefusalReason | null = null): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#noteEnd(reason);
    this.#lane.associations.delete(this);
    for (const lookup of this.#lookups.values()) lookup.stop();
    this.#lookups.clear();
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
    if (this.#lane.draining && !this.#carriage) return 'draining';
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
      this.close(reason);
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
      beganMs: this.#lane.nowMs(),
      imei,
      upBytes: 0,
      downBytes: 0,
    };
    return { ok: true };
  }

  #noteRefusal(target: Target | null, reason: RefusalReason): void {
    const { endpointId, credentialId } = this;
    const { protocol } = this.#options;
    this.#lane.flowLog.refused({ endpointId, credentialId, protocol, target }, reason);
  }

  #noteEnd(reason: RefusalReason | null): void {
    const carriage = this.#carriage;
    if (!carriage) return;
    const { endpointId, credentialId } = this;
    const { beganMs, imei, upBytes, downBytes } = carriage;
    this.#lane.flowLog.ended(
      {
        endpointId,
        credentialId,
        slot: this.slot ?? 0,
        imei,
        protocol: this.#options.protocol,
        target: null,
        address: null,
        sourcePort: 0,
        tookMs: Math.round(this.#lane.nowMs() - beganMs),
        upBytes,
        downBytes,
      },
      reason ?? OUTCOME_OK,
    );
  }

  #sendToName({ host, port }: Target, payload: Buffer): void {
    const pending = this.#lookups.get(host);
    if (pending) {
      if (pending.waiting.length < MAX_WAITING) pending.waiting.push({ port, payload });
      return;
    }
    const egress = this.#egressNow();
    if (!egress) return;
    const lookup: Lookup = { waiting: [{ port, payload }], stop: () => undefined };
    this.#lookups.set(host, lookup);
    dropOldest(this.#lookups, MAX_NAMES, old => old.stop());
    const families = familiesOf(egress);
    const answers: NameAnswer[] = [];
    const stop = this.#lane.resolver.lookup(host, { egress, families }, (family, answer) => {
      answers.push(answer);
      // Nobody tells whether a datagram arrived, so there is no race: IPv4, where the name has it.
      const isPreferred = answer.kind === 'found' && family === families[0];
      if (this.#lookups.get(host) !== lookup || (!isPreferred && answers.length < families.length)) return;
      this.#lookups.delete(host);
      for (const { port: to, payload: waited } of lookup.waiting)
        this.#sendToOneOf(answers, host, to, waited);
    });
    lookup.stop = stop;
  }

  /** To the address that the name had before, else to the first that may be reached. */
  #sendToOneOf(answers: readonly NameAnswer[], host: string, port: number, payload: Buffer): void {
    const found = answers.flatMap(answer => (answer.kind === 'found' ? answer.addresses : []));
    const before = this.#addresses.get(host);
    const isThere = before !== undefined && found.includes(before);
    let refused: RefusalReason | null = null;
    for (const address of isThere ? [before, ...found] : found) {
      const reason = this.#refusalOf(address, port);
      if (reason === null) {
        this.#addresses.delete(host);
        this.#addresses.set(host, address);
        dropOldest(this.#addresses, MAX_NAMES);
        this.#carry(address, port, payload);
        return;
      }
      // That policy forbids it says more than that the slot has no such family.
      if (refused === null || reason !== 'network-unreachable') refused = reason;
    }
    this.#lane.refused(refused ?? refusalOf(answers));
  }

  #sendTo(address: string, port: number, payload: Buffer): void {
    const refused = this.#refusalOf(address, port);
    if (refused) this.#lane.refused(refused);
    else this.#carry(address, port, payload);
  }

  /** The slot as the present plan has it. */
  #egressNow(): GuardedEgress | null {
    return (this.#egress && this.#lane.policy.egresses.get(this.#egress.slot)) ?? null;
  }

  #refusalOf(address: string, port: number): RefusalReason | null {
    const { policy } = this.#lane;
    const egress = this.#egressNow();
    if (!egress) return 'no-modem';
    const refused = judgeAddress(address, port, { policy, egress });
    return refused ?? (sourceFor(egress, address).ok ? null : 'network-unreachable');
  }

  /** Sends what was judged. */
  #carry(address: string, port: number, payload: Buffer): void {
    const egress = this.#egressNow();
    const source = egress && sourceFor(egress, address);
    if (!egress || !source?.ok) return;
    const peer = oneSpelling(address);
    this.#peers.delete(peer);
    this.#peers.add(peer);
    dropOldest(this.#peers, MAX_PEERS);
    const { localAddress } = source;
    const own = this.#lane.metrics.own(egress.slot);
    const carried = { policy: this.#lane.policy, host: address, port, localAddress, own };
    this.#allowed = carried;
    this.#carryTo(carried, payload);
  }

  #carryTo({ host: address, port, localAddress, own }: Allowed, payload: Buffer): void {
    const carriage = this.#carriage;
    if (!carriage) return;
    const purse = carriage.up;
    const socket = this.#socket(address.includes(':') ? 6 : 4, localAddress);
    if (!purse.takeWhole(payload.length)) return;
    socket.send({ payload, address, port }, taken => {
      if (!taken) return purse.giveBack(payload.length);
      carriage.upBytes += payload.length;
      purse.countUp(payload.length);
      own.upDatagrams += 1;
    });
  }

  #socket(family: 4 | 6, localAddress: string | null): SlotDatagrams {
    const known = this.#sockets.get(family);
    if (known?.localAddress === localAddress) return known;
    // The slot has another address now.
    known?.close();
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
    const carriage = this.#carriage;
    const purse = carriage?.down;
    if (this.#egress) this.#lane.metrics.own(this.#egress.slot).downDatagrams += 1;
    if (from.host !== this.#heardFrom) {
      this.#heardFrom = from.host;
      this.#heardPeer = oneSpelling(from.host);
    }
    if (this.#closed || !purse || !this.#peers.has(this.#heardPeer)) return;
    this.#deadlineTick = this.#idleTick();
    const bytes = payload.length;
    if (!purse.takeWhole(bytes)) return;
    this.#options.answered(payload, from, taken => {
      if (taken) {
        carriage.downBytes += bytes;
        purse.countDown(bytes);
      } else purse.giveBack(bytes);
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
