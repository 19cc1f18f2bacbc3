/**
 * One modem's transport with the codec on it: messages out, messages in. Cuts and joins fragments, gives up messages
 * whose fragments stop coming, and tells the device what it did wrong. Knows no transactions: `session.ts` does.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../../../observe/log';
import { FragmentJoiner } from './fragments';
import { type MbimMessage, writeMessage } from './frame';
import { FrameSplitter } from './frame-splitter';
import type { MbimTransport } from './transports/transport';

/** Longest time between two fragments of a message (USB-IF MBIM 1.0, part 9.5). */
export const FRAGMENT_GAP_MS = 1_250;
const ERROR_FRAGMENT_TIMEOUT = 1;

export interface WireListener {
  message(message: MbimMessage): void;
  /** A message of this transaction was lost on the way; it may not have been one of ours. */
  broken(transaction: number, why: string): void;
  gone(reason: string): void;
}

export interface WireOptions {
  transport: MbimTransport;
  clock: Clock;
  log: Log;
  /** Largest frame that the device takes, in bytes. */
  maxControlTransfer: number;
  listener: WireListener;
}

export class MbimWire {
  readonly #options: WireOptions;
  readonly #splitter = new FrameSplitter();
  readonly #joiner = new FragmentJoiner();
  #gap: Timer | undefined;
  #droppedBytes = 0;

  constructor(options: WireOptions) {
    this.#options = options;
    options.transport.listen({
      bytes: chunk => this.#read(chunk),
      gone: reason => {
        this.#gap?.cancel();
        options.listener.gone(reason);
      },
    });
  }

  get name(): string {
    return this.#options.transport.name;
  }

  /** Fragments of one message follow each other; the caller sends one message at a time. */
  async send(message: MbimMessage): Promise<void> {
    for (const frame of writeMessage(message, this.#options.maxControlTransfer))
      await this.#options.transport.send(frame);
  }

  expect(answer: boolean): void {
    this.#options.transport.expect(answer);
  }

  /** Forgets everything half received: what comes next begins a frame. */
  resync(): void {
    this.#gap?.cancel();
    this.#splitter.discard();
    this.#joiner.discard();
    this.#noteDropped();
  }

  async close(): Promise<void> {
    this.#gap?.cancel();
    await this.#options.transport.close();
  }

  #read(chunk: Buffer): void {
    const { listener } = this.#options;
    for (const frame of this.#splitter.push(chunk)) {
      const joined = this.#joiner.push(frame);
      if (joined.state === 'whole') listener.message(joined.message);
      if (joined.state === 'broken') this.#complain(joined.transaction, joined.protocolError, joined.why);
    }
    this.#noteDropped();
    this.#gap?.cancel();
    if (this.#joiner.open > 0 || this.#splitter.heldBytes > 0)
      this.#gap = this.#options.clock.after(FRAGMENT_GAP_MS, () => this.#giveUp());
  }

  #giveUp(): void {
    this.#splitter.discard();
    this.#noteDropped();
    for (const transaction of this.#joiner.discard())
      this.#complain(transaction, ERROR_FRAGMENT_TIMEOUT, `no fragment for ${FRAGMENT_GAP_MS} ms`);
  }

  #complain(transaction: number, error: number, why: string): void {
    const { listener, log } = this.#options;
    log.warn('a message from the modem was lost', { transport: this.name, transaction, why });
    // A device that cannot be told will be found out by the next request.
    this.send({ kind: 'host-error', transaction, error }).catch(failure =>
      log.debug('the modem could not be told of its error', { why: messageOf(failure) }),
    );
    listener.broken(transaction, why);
  }

  #noteDropped(): void {
    const dropped = this.#splitter.droppedBytes;
    if (dropped === this.#droppedBytes) return;
    this.#options.log.warn('bytes from the modem that are no MBIM', {
      transport: this.name,
      bytes: dropped - this.#droppedBytes,
    });
    this.#droppedBytes = dropped;
  }
}
