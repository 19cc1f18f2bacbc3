/**
 * The way to a target through hops behind the modem, each SOCKS5, HTTP CONNECT or Shadowsocks. The first hop is dialled
 * like a target; then every hop is asked for the next one, inside what the hops before it carry, and the last for the
 * target. Shadowsocks hops seal all that follows, so the way may have layers; the flow above sees plaintext only.
 * What answers mean, and whether a chain makes sense, is chain-hops.ts.
 */
import { randomFillSync } from 'node:crypto';
import type { ChainHop } from '@mastline/shared/domain/endpoint';
import { HttpConnectClient } from '@mastline/shared/protocols/http-connect-client';
import { openAeadClient } from '@mastline/shared/protocols/shadowsocks/aead-stream';
import { openClient2022 } from '@mastline/shared/protocols/shadowsocks/client-2022';
import { keysFromPassword } from '@mastline/shared/protocols/shadowsocks/keys';
import { requireMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import type { SaltStore } from '@mastline/shared/protocols/shadowsocks/salt-store';
import type { ShadowsocksStream, StreamOpener } from '@mastline/shared/protocols/shadowsocks/stream';
import { Socks5Client } from '@mastline/shared/protocols/socks5-client';
import type { Target } from '@mastline/shared/protocols/target';
import type { OwnTraffic } from '../ports';
import {
  firstHopRefusal,
  type HopRefusal,
  hopRefusal,
  httpFailure,
  isOwnListener,
  socks5Failure,
  targetOf,
} from './chain-hops';
import { type Dial, type DialOptions, type DialOutcome, dial, type OriginReader } from './dialer';
import type { ReadMemory, View } from './read-memory';
import type { Scratch } from './scratch';
import { type Sealing, SealStack } from './sealed-outlet';
import type { Wire } from './wire';

const EMPTY = Buffer.alloc(0);

export interface ChainOptions extends DialOptions {
  hops: readonly ChainHop[];
  scratch: Scratch;
  /** Salts of responses seen, for 2022 hops. */
  salts: () => SaltStore;
  /** Where what the hops cost beside the flow's own bytes is counted. */
  own: Pick<OwnTraffic, 'upBytes' | 'downBytes'>;
}

/** What a flow through a chain has beside its socket. */
export interface ChainEnds {
  /** Seals what goes up; null when no hop is Shadowsocks. */
  sealing: Sealing | null;
  /** The last hop is Shadowsocks and has heard nothing yet: it must, before the target can speak. */
  unheard: boolean;
  /** First bytes of the target, read with the last hop's answer. */
  early: Buffer;
  /** The origin's end came within a sealed chunk: it is none that the target made. */
  truncated(): boolean;
}

/** Begins to dial `options.target` through the hops. `settled` is called once, maybe within this call. */
export function dialChain(options: ChainOptions, settled: (outcome: DialOutcome) => void): Dial {
  const chain = new Chain(options, settled);
  const [first] = options.hops;
  const target = first ? targetOf(first) : options.target;
  const attempt = dial({ ...options, target, reader: chain }, outcome => chain.go(outcome));
  return {
    cancel: () => {
      attempt.cancel();
      chain.timedOut();
    },
  };
}

type Step =
  | { kind: 'more' }
  | { kind: 'send'; bytes: Buffer }
  | { kind: 'connected'; surplus: Buffer }
  | { kind: 'failed'; refusal: HopRefusal };

interface HopTalk {
  feed(bytes: Buffer): void;
  next(): Step;
}

class Chain implements OriginReader, ChainEnds {
  readonly #options: ChainOptions;
  readonly #sealers: Sealing[] = [];
  readonly #openers: StreamOpener[] = [];
  #at = 0;
  #talk: HopTalk | null = null;
  #socket: Wire | null = null;
  #settle: ((outcome: DialOutcome) => void) | null = null;
  readonly #settled: (outcome: DialOutcome) => void;
  #open = false;
  sealing: Sealing | null = null;
  early: Buffer = EMPTY;
  unheard = false;

  constructor(options: ChainOptions, settled: (outcome: DialOutcome) => void) {
    this.#options = options;
    this.#settled = settled;
  }

  get views(): ReadMemory {
    return this.#options.reader.views;
  }

  memory(view: View): Uint8Array {
    return this.#options.reader.memory(view);
  }

  /** Goes on from the first hop's connection. */
  go(dialled: DialOutcome): void {
    const { hops, policy } = this.#options;
    if (!dialled.ok) {
      this.#settled({ ok: false, ...firstHopRefusal(hops, dialled.reason) });
      return;
    }
    const { socket, address } = dialled;
    const port = hops[0]?.port ?? 0;
    if (isOwnListener({ address, port }, policy.endpoints.values())) {
      socket.destroy();
      this.#settled({ ok: false, ...hopRefusal({ hops, at: 0 }, 'chain-invalid', 'is this proxy itself') });
      return;
    }
    this.#socket = socket;
    this.#settle = outcome => {
      this.#settle = null;
      if (!outcome.ok) socket.destroy();
      this.#settled(outcome.ok ? { ...outcome, address } : outcome);
    };
    socket.on('error', () => undefined);
    socket.once('end', () => this.#ended());
    socket.once('close', () => this.#ended());
    this.#talkToNext();
    if (!this.#open) socket.resume();
  }

  /** The deadline has passed; harmless when the way is open or failed already. */
  timedOut(): void {
    this.#fail(hopRefusal(this.#place(), 'hop-timeout', 'did not answer in time'));
  }

  truncated(): boolean {
    return this.#openers.some(opener => opener.bound(0) > 0);
  }

  take(bytes: Buffer): boolean {
    if (this.#open && this.#openers.length === 0) return this.#options.reader.take(bytes);
    const plain = this.#opened(bytes);
    if (plain === null) {
      if (this.#open) this.#socket?.destroy(new Error('sealed bytes of a hop were not authentic'));
      else
        this.#fail(
          hopRefusal(this.#sealedPlace(), 'hop-protocol', 'sent bytes that its password does not open'),
        );
      return false;
    }
    this.#options.own.downBytes += bytes.length - (this.#open ? plain.length : 0);
    if (this.#open) return plain.length === 0 || this.#options.reader.take(plain);
    if (plain.length > 0) this.#talk?.feed(plain);
    this.#advance();
    // Once the way is open, whether to read on is the flow's to say, and it may have said so within this call.
    return true;
  }

  #place() {
    return { hops: this.#options.hops, at: Math.min(this.#at, this.#options.hops.length - 1) };
  }

  /** The Shadowsocks hop nearest before where we are. */
  #sealedPlace() {
    const { hops } = this.#options;
    let at = Math.min(this.#at, hops.length - 1);
    while (at > 0 && hops[at]?.protocol !== 'shadowsocks') at -= 1;
    return { hops, at };
  }

  #ended(): void {
    if (this.#open) return;
    this.#fail(hopRefusal(this.#place(), 'hop-refused', 'closed the connection without an answer'));
  }

  #fail(refusal: HopRefusal): void {
    this.#settle?.({ ok: false, ...refusal });
  }

  /** Plaintext of what came; null when a layer is broken. Valid until the next call. */
  #opened(bytes: Buffer): Buffer | null {
    let plain = bytes;
    for (const [at, opener] of this.#openers.entries()) {
      const out = this.#options.scratch.opened[at % 2 === 0 ? 0 : 1](opener.bound(plain.length));
      const opened = opener.open(plain, out);
      if (opened < 0) return null;
      plain = out.subarray(0, opened);
    }
    return plain;
  }

  /** Begins with the hop at hand: asks it for the next one, or for the target. */
  #talkToNext(): void {
    const { hops, target } = this.#options;
    for (; ; this.#at += 1) {
      const hop = hops[this.#at];
      if (!hop) {
        this.#finish(EMPTY);
        return;
      }
      const following = hops[this.#at + 1];
      const next = following ? targetOf(following) : target;
      if (hop.protocol !== 'shadowsocks') {
        this.#begin(hop, next);
        return;
      }
      // Nothing is answered there: what comes next is told within.
      const stream = this.#seal(hop, next);
      this.#sealers.unshift(stream.sealer);
      this.#openers.push(stream.opener);
      const { layers } = this.#options.scratch;
      const sealing = this.#sealers.length === 1 ? stream.sealer : new SealStack([...this.#sealers], layers);
      this.sealing = counted(sealing, this.#options.own);
    }
  }

  #seal(hop: ChainHop, target: Target): ShadowsocksStream {
    const method = requireMethod(hop.method ?? '');
    const keys = keysFromPassword(hop.secret ?? '', method);
    const random = (into: Buffer) => void randomFillSync(into);
    const { clock, salts } = this.#options;
    if (method.edition === '2022')
      return openClient2022(method, { keys, target }, { clock, random, salts: salts() });
    return openAeadClient(method, { key: keys[0] ?? EMPTY, target }, random);
  }

  #begin(hop: ChainHop, next: Target): void {
    const login = hop.username && hop.secret ? { username: hop.username, secret: hop.secret } : null;
    if (hop.protocol === 'socks5') {
      const client = new Socks5Client(next, login);
      this.#talk = {
        feed: bytes => client.feed(bytes),
        next: () => {
          const step = client.next();
          return step.kind === 'failed'
            ? { kind: 'failed', refusal: socks5Failure(this.#place(), step) }
            : step;
        },
      };
      this.#send(client.greeting());
      return;
    }
    const client = new HttpConnectClient(next, login);
    this.#talk = {
      feed: bytes => client.feed(bytes),
      next: () => {
        const step = client.next();
        return step.kind === 'failed' ? { kind: 'failed', refusal: httpFailure(this.#place(), step) } : step;
      },
    };
    this.#send(client.request());
  }

  #advance(): void {
    while (this.#talk && this.#settle) {
      const step = this.#talk.next();
      switch (step.kind) {
        case 'more':
          return;
        case 'send':
          this.#send(step.bytes);
          break;
        case 'failed':
          this.#fail(step.refusal);
          return;
        case 'connected':
          this.#talk = null;
          this.#at += 1;
          if (this.#at >= this.#options.hops.length) this.#finish(step.surplus);
          else if (step.surplus.length > 0)
            this.#fail(hopRefusal(this.#place(), 'hop-protocol', 'spoke before it was asked'));
          else this.#talkToNext();
          return;
      }
    }
  }

  /** Handshakes are small and rare: copied, and left to the socket's own queue. */
  #send(bytes: Buffer): void {
    const { sealing } = this;
    let wire = bytes;
    if (sealing) {
      const out = this.#options.scratch.sealed(sealing.bound(bytes.length));
      wire = out.subarray(0, sealing.seal(bytes, out));
    }
    // What sealing adds is counted where it is sealed.
    this.#options.own.upBytes += bytes.length;
    this.#socket?.write(Buffer.from(wire), () => undefined);
  }

  #finish(surplus: Buffer): void {
    const socket = this.#socket;
    if (!socket || !this.#settle) return;
    this.#open = true;
    this.early = Buffer.from(surplus);
    // It came with the last hop's answer and was counted as one.
    this.#options.own.downBytes -= surplus.length;
    this.unheard = this.#options.hops.at(-1)?.protocol === 'shadowsocks';
    socket.pause();
    this.#settle({ ok: true, socket, address: '', chain: this });
  }
}

/** Counts what sealing adds to the bytes of the flow. */
function counted(inner: Sealing, own: Pick<OwnTraffic, 'upBytes'>): Sealing {
  return {
    bound: plainBytes => inner.bound(plainBytes),
    payloadWithin: sealedBytes => inner.payloadWithin(sealedBytes),
    seal(plain, out) {
      const sealed = inner.seal(plain, out);
      own.upBytes += sealed - plain.length;
      return sealed;
    },
  };
}
