/**
 * Opens the connection to the target: resolves its name through the modem, judges every address before it is used, and
 * dials from the slot's own address of its family. Which address of a name comes when is address-race.ts. Errors
 * become refusal reasons here. The deadline is the caller's, who calls `cancel`.
 */
import { connect, isIP } from 'node:net';
import type { Clock } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import type { RefusalDetail, RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Target } from '@mastline/shared/protocols/target';
import { AddressRace, type AttemptOutcome } from './address-race';
import type { ChainEnds } from './chain';
import { judgeAddress } from './gate';
import type { GuardedEgress, Policy } from './policy';
import { MIDDLE, type ReadMemory } from './read-memory';
import type { Resolver } from './resolver';
import { type Family, familiesOf, sourceFor } from './source-address';
import { connectTcp } from './tcp-connect';
import { rawTcp } from './tcp-handle';
import type { TcpReader } from './tcp-socket';
import type { Wire } from './wire';

export type DialOutcome =
  | {
      ok: true;
      socket: Wire;
      /** What the target, or the first hop, resolved to. */
      address: string;
      chain?: ChainEnds;
    }
  | { ok: false; reason: RefusalReason; detail?: RefusalDetail };

/** Who reads what the target sends, and into what memory. */
export interface OriginReader extends TcpReader {
  views: ReadMemory;
  take(bytes: Buffer): boolean;
}

/** A dial under way. */
export interface Dial {
  /** Gives up, if it is not settled; the outcome is then a refusal with a time-out of the leg that was waited for. */
  cancel(): void;
}

export interface DialOptions {
  target: Target;
  egress: GuardedEgress;
  policy: Policy;
  resolver: Resolver;
  clock: Clock;
  reader: OriginReader;
}

/** Begins to dial. `settled` is called once, maybe within this call. */
export function dial(options: DialOptions, settled: (outcome: DialOutcome) => void): Dial {
  const isAddress = isIP(options.target.host) !== 0;
  return isAddress ? new AddressDial(options, settled) : new NameDial(options, settled);
}

type Connected = AttemptOutcome<{ socket: Wire; address: string }>;

/** The target is an address: one attempt. */
class AddressDial implements Dial {
  readonly #giveUp: () => void;
  #settled: ((outcome: DialOutcome) => void) | null;

  constructor(options: DialOptions, settled: (outcome: DialOutcome) => void) {
    this.#settled = settled;
    this.#giveUp = attempt(options, options.target.host, outcome => this.#settle(dialled(outcome)));
  }

  cancel(): void {
    if (!this.#settled) return;
    this.#giveUp();
    this.#settle({ ok: false, reason: 'origin-timeout' });
  }

  #settle(outcome: DialOutcome): void {
    const settled = this.#settled;
    this.#settled = null;
    settled?.(outcome);
  }
}

/** IPv6 is asked for first (RFC 8305 section 3). */
const BOTH: readonly Family[] = [6, 4];

class NameDial implements Dial {
  readonly #race: AddressRace<{ socket: Wire; address: string }>;
  readonly #stopAsking: () => void;
  readonly #settled: (outcome: DialOutcome) => void;

  constructor(options: DialOptions, settled: (outcome: DialOutcome) => void) {
    const { target, egress, resolver, clock } = options;
    this.#settled = settled;
    const own = familiesOf(egress);
    const families = own.length === 2 ? BOTH : own;
    const race = new AddressRace<{ socket: Wire; address: string }>({
      clock,
      families,
      attempt: (address, settled) => attempt(options, address, settled),
      over: outcome => this.#settled(dialled(outcome)),
    });
    this.#race = race;
    this.#stopAsking = resolver.lookup(target.host, { egress, families }, (family, answer) =>
      race.answered(family, answer),
    );
  }

  cancel(): void {
    this.#stopAsking();
    const reason = this.#race.giveUp();
    if (reason) this.#settled({ ok: false, reason });
  }
}

const dialled = (outcome: Connected): DialOutcome =>
  outcome.ok ? { ok: true, ...outcome.won } : { ok: false, reason: outcome.reason };

/** Judges one address and connects to it. `settled` may be called within this call; what comes back gives up. */
function attempt(options: DialOptions, address: string, settled: (outcome: Connected) => void): () => void {
  const { target, egress, policy, reader } = options;
  const { port } = target;
  const refused = judgeAddress(address, port, { policy, egress });
  const source = sourceFor(egress, address);
  if (refused || !source.ok) {
    settled({ ok: false, reason: refused ?? 'network-unreachable' });
    return NOTHING;
  }
  const { localAddress } = source;
  const won = (socket: Wire): Connected => ({ ok: true, won: { socket, address } });
  if (rawTcp) {
    return connectTcp({ address, port, localAddress }, reader, outcome =>
      settled(typeof outcome === 'string' ? { ok: false, reason: reasonOf(outcome) } : won(outcome)),
    );
  }
  const socket = connect({
    host: address,
    port,
    noDelay: true,
    allowHalfOpen: true,
    ...(localAddress === null ? {} : { localAddress }),
    onread: {
      buffer: () => reader.memory(MIDDLE),
      callback: (length, bytes) => reader.take(Buffer.from(bytes.buffer, bytes.byteOffset, length)),
    },
  });
  const onError = (error: Error) => {
    socket.destroy();
    settled({ ok: false, reason: reasonOf(codeOf(error)) });
  };
  socket.once('error', onError);
  socket.once('connect', () => {
    // Nothing is lost: bytes that arrive before the flow is set up wait in the kernel.
    socket.pause();
    socket.off('error', onError);
    settled(won(socket));
  });
  return () => void socket.destroy();
}

const NOTHING = () => undefined;

function reasonOf(code: string | undefined): RefusalReason {
  switch (code) {
    case 'ECONNREFUSED':
      return 'origin-refused';
    case 'EHOSTUNREACH':
    case 'ECONNRESET':
      return 'origin-unreachable';
    case 'ENETUNREACH':
      return 'network-unreachable';
    case 'ETIMEDOUT':
      return 'origin-timeout';
    // No such local address, no free port on it, no permission, no descriptors: this side's fault, not the target's.
    default:
      return 'modem-failed';
  }
}
