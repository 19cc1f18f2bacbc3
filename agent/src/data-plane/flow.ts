/**
 * One open connection to a target and what it counts into: origin socket, outlet toward it, account. Made when the
 * dial succeeded, closed once; what is said over it is the session's business.
 */
import type { Target } from '@mastline/shared/protocols/target';
import type { ChainEnds } from './chain';
import type { Lease } from './limiter';
import type { Guest } from './login';
import type { Account } from './meter';
import { Outlet, type Purse, type Way } from './outlet';
import { SealedOutlet, type SealMemory } from './sealed-outlet';
import type { Wire, WireOwner } from './wire';
import { disown, own } from './wire-owner';

/** What a session hears of its origin. */
export interface OriginListener {
  originEnd(): void;
  /** The origin's socket is closed; `hadError` when it was reset. Not called for a flow that we closed. */
  originClosed(hadError: boolean): void;
  /** Everything sent toward the origin is out: read the client on. */
  originDrained(): void;
}

const EMPTY = Buffer.alloc(0);

/** A way through hops. */
export interface FlowChain {
  ends: ChainEnds;
  /** For what is sealed toward them. */
  memory: SealMemory;
}

export class Flow implements WireOwner {
  readonly origin: Wire;
  readonly up: Way;
  readonly account: Account;
  readonly guest: Guest;
  /** As the client asked for it. */
  readonly target: Target;
  /** What it resolved to, or the first hop of its chain; and the port there. */
  readonly address: string;
  readonly port: number;
  /** First bytes of the target that came with a hop's answer. */
  readonly early: Buffer;
  /** By the lane's clock. */
  readonly beganMs: number;
  /** Of the connection to the target, or to the first hop; 0 when it was not asked for. */
  readonly sourcePort: number;
  /** Its address is a hop's, not the target's. */
  readonly isChained: boolean;
  /** The origin's socket broke, or the client was cut off. */
  broken = false;
  /** Called when the origin is gone, after all else is done. */
  whenGone: (() => void) | null = null;
  readonly #lease: Lease;
  readonly #ends: ChainEnds | null;
  readonly #listener: OriginListener;
  #closed = false;

  constructor(options: {
    origin: Wire;
    account: Account;
    /** The account as bytes toward the origin see it. */
    purse: Purse;
    /** Given back when the flow is over. */
    lease: Lease;
    guest: Guest;
    target: Target;
    address: string;
    port: number;
    beganMs: number;
    sourcePort: number;
    chain: FlowChain | null;
    listener: OriginListener;
  }) {
    const { origin, listener } = options;
    this.origin = origin;
    this.#listener = listener;
    this.#ends = options.chain?.ends ?? null;
    this.account = options.account;
    this.guest = options.guest;
    this.target = options.target;
    this.address = options.address;
    this.port = options.port;
    this.isChained = options.chain !== null;
    this.beganMs = options.beganMs;
    this.sourcePort = options.sourcePort;
    this.early = options.chain?.ends.early ?? EMPTY;
    const events = { drained: () => listener.originDrained(), broken: () => void origin.destroy() };
    const sealing = options.chain?.ends.sealing;
    this.up =
      options.chain && sealing
        ? new SealedOutlet({ socket: origin, direction: 'up', sealing, memory: options.chain.memory }, events)
        : new Outlet(origin, 'up', events);
    this.up.account = options.purse;
    if (options.chain?.ends.unheard && this.up instanceof SealedOutlet) this.up.begin();
    this.#lease = options.lease;
    this.account.flowOpened();
    own(origin, this);
  }

  /** Called by the origin's wire. */
  wireEnded(): void {
    if (this.#closed) return;
    if (this.#ends?.truncated()) this.origin.destroy(new Error('the end came within a sealed chunk'));
    else this.#listener.originEnd();
  }

  /** Called by the origin's wire. */
  wireClosed(hadError: boolean): void {
    if (!this.#closed) {
      // A socket that we destroyed because its peer was gone has no error of its own, but did not end well either.
      const clean = !hadError && this.origin.readableEnded;
      this.broken = !clean;
      this.close();
      this.#listener.originClosed(!clean);
    }
    this.whenGone?.();
  }

  get credentialId(): string {
    return this.guest.credentialId;
  }

  get closed(): boolean {
    return this.#closed;
  }

  /** Ends the flow now. Bytes still in our hands are dropped and not billed. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.up.close();
    if (!this.whenGone) disown(this.origin);
    this.origin.destroy();
    this.account.flowClosed();
    this.#lease.release();
  }
}
