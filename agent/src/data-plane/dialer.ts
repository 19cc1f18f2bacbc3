/**
 * Opens the connection to the target: resolves its name through the modem, judges every address it got, and dials
 * from the slot's own address. Errors become refusal reasons here. The deadline is the caller's, who calls `cancel`.
 */
import { connect, isIP } from 'node:net';
import { codeOf } from '@mastline/shared/base/coded-error';
import type { RefusalDetail, RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Target } from '@mastline/shared/protocols/target';
import type { ChainEnds } from './chain';
import { judgeAddress } from './gate';
import type { GuardedEgress, Policy } from './policy';
import { type Lookup, type Resolution, resolveName } from './resolver';
import { sourceFor } from './source-address';
import { rawTcp } from './tcp-handle';
import { connectTcp } from './tcp-socket';
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

/** Who gets what the target sends. The bytes are valid during the call only; false stops reading. */
export interface OriginReader {
  originData(bytes: Buffer): boolean;
}

export interface Dial {
  outcome: Promise<DialOutcome>;
  /** Gives up; the outcome is then a refusal with a time-out of the leg that was waited for. */
  cancel(): void;
}

export interface DialOptions {
  target: Target;
  egress: GuardedEgress;
  policy: Policy;
  /** Memory to read into. Asked before each read, so it may change with the flow's pace. */
  readBuffer: () => Uint8Array;
  reader: OriginReader;
}

/** Begins to dial. */
export function dial(options: DialOptions): Dial {
  const attempt = new Attempt(options);
  return { outcome: attempt.run(), cancel: () => attempt.cancel() };
}

class Attempt {
  readonly #options: DialOptions;
  #lookup: Lookup | null = null;
  #giveUp: (() => void) | null = null;
  #cancelled: ((outcome: DialOutcome) => void) | null = null;
  #isCancelled = false;

  constructor(options: DialOptions) {
    this.#options = options;
  }

  run(): Promise<DialOutcome> {
    return new Promise<DialOutcome>((settle, fail) => {
      this.#cancelled = settle;
      this.#dial().then(settle, fail);
    });
  }

  cancel(): void {
    if (this.#isCancelled) return;
    this.#isCancelled = true;
    const reason = this.#lookup ? 'resolver-timeout' : 'origin-timeout';
    this.#lookup?.cancel();
    this.#giveUp?.();
    this.#cancelled?.({ ok: false, reason });
  }

  async #dial(): Promise<DialOutcome> {
    const { target, egress, policy } = this.#options;
    const resolution = await this.#resolve();
    if (!resolution.ok) return resolution;
    let last: RefusalReason = 'name-not-found';
    for (const address of resolution.addresses) {
      if (this.#isCancelled) break;
      const refused = judgeAddress(address, target.port, { policy, egress });
      if (refused) {
        last = refused;
        continue;
      }
      const source = sourceFor(egress.sourceAddress, address);
      if (!source.ok) {
        last = 'network-unreachable';
        continue;
      }
      const outcome = await this.#connect(address, source.localAddress);
      if (outcome.ok) return outcome;
      last = outcome.reason;
    }
    return { ok: false, reason: last };
  }

  async #resolve(): Promise<Resolution> {
    const { target, egress } = this.#options;
    if (isIP(target.host) !== 0) return { ok: true, addresses: [target.host] };
    this.#lookup = resolveName(target.host, egress);
    const resolution = await this.#lookup.result;
    this.#lookup = null;
    return resolution;
  }

  #connect(address: string, localAddress: string | null): Promise<DialOutcome> {
    const { target, readBuffer, reader } = this.#options;
    return new Promise<DialOutcome>(settle => {
      if (rawTcp) {
        const take = (bytes: Buffer) => reader.originData(bytes);
        this.#giveUp = connectTcp(
          { address, port: target.port, localAddress },
          { memory: readBuffer, take },
          outcome => {
            this.#giveUp = null;
            if (typeof outcome === 'string') settle({ ok: false, reason: reasonOf(outcome) });
            else settle({ ok: true, socket: outcome, address });
          },
        );
        return;
      }
      const socket = connect({
        host: address,
        port: target.port,
        noDelay: true,
        allowHalfOpen: true,
        ...(localAddress === null ? {} : { localAddress }),
        onread: {
          buffer: readBuffer,
          callback: (length, memory) =>
            reader.originData(Buffer.from(memory.buffer, memory.byteOffset, length)),
        },
      });
      this.#giveUp = () => socket.destroy();
      const onError = (error: Error) => {
        socket.destroy();
        settle({ ok: false, reason: reasonOf(codeOf(error)) });
      };
      socket.once('error', onError);
      socket.once('connect', () => {
        // Nothing is lost: bytes that arrive before the flow is set up wait in the kernel.
        socket.pause();
        socket.off('error', onError);
        settle({ ok: true, socket, address });
      });
    });
  }
}

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
