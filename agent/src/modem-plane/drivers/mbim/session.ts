/**
 * An MBIM session with one modem (USB-IF MBIM 1.0, part 9): opens and closes it, sends one command at a time and waits
 * for its answer with a deadline, opens it again when the device has forgotten it or hangs, hands indications on. What
 * commands mean is in the tables; what answers mean for a modem is `driver.ts`.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../../../observe/log';
import type { Command } from './command';
import { proxyConfiguration } from './extensions';
import { DEFAULT_CONTROL_TRANSFER, type MbimMessage } from './frame';
import { ERROR_NOT_OPENED, protocolErrorText, STATUS, statusFault } from './status';
import { TaskQueue } from './task-queue';
import type { MbimTransport } from './transports/transport';
import { MbimWire } from './wire';

const OPEN_DEADLINE_MS = 5_000;
const OPEN_ATTEMPTS = 3;
const CLOSE_DEADLINE_MS = 2_000;
/** After so many commands without an answer in a row the session is taken for hung and opened again. */
const TIMEOUTS_UNTIL_REOPEN = 2;
const MAX_QUEUED = 32;
const PROXY_OPEN_SECONDS = 30;
const MAX_TRANSACTION = 0xffff_ffff;

export type Reply<R> =
  | { state: 'done'; value: R }
  /** `info` may hold the layout of the reply all the same, or nothing. */
  | { state: 'refused'; status: number; info: Buffer };

export interface RawIndication {
  service: string;
  cid: number;
  info: Buffer;
}

export interface SessionOptions {
  transport: MbimTransport;
  clock: Clock;
  log: Log;
  /** Largest frame that the device takes; see `control-size.ts`. */
  maxControlTransfer?: number;
  /** Set when the transport leads to mbim-proxy: the device that it is to open. */
  proxiedDevice?: string;
  onIndication: (indication: RawIndication) => void;
  /** The device was opened again and has forgotten what it was subscribed to. */
  onReopened?: () => void;
  /** Called once, when the transport is lost; never after `close()`. */
  onGone: (reason: string) => void;
}

interface Waiting {
  transaction: number;
  kinds: readonly MbimMessage['kind'][];
  settle: (outcome: { message: MbimMessage } | { error: CodedError }) => void;
}

export class MbimSession {
  readonly #options: SessionOptions;
  readonly #wire: MbimWire;
  readonly #maxControlTransfer: number;
  #transaction = 0;
  #waiting: Waiting | undefined;
  readonly #queue: TaskQueue;
  #indicationExpected = false;
  #opened = false;
  #timeouts = 0;
  #end: CodedError | undefined;

  /** Takes the transport over. Call `open()` before the first command. */
  constructor(options: SessionOptions) {
    this.#options = options;
    this.#maxControlTransfer = options.maxControlTransfer ?? DEFAULT_CONTROL_TRANSFER;
    this.#queue = new TaskQueue(options.transport.name, MAX_QUEUED);
    this.#wire = new MbimWire({
      transport: options.transport,
      clock: options.clock,
      log: options.log,
      maxControlTransfer: this.#maxControlTransfer,
      listener: {
        message: message => this.#received(message),
        broken: (transaction, why) => this.#fail(transaction, new CodedError('mbim/malformed', why)),
        gone: reason => this.#gone(reason),
      },
    });
  }

  get name(): string {
    return this.#wire.name;
  }

  /** Throws `mbim/open-failed`, `mbim/gone`, or `mbim/status-…` as the device or proxy refused. */
  open(): Promise<void> {
    return this.#enqueue(async () => {
      if (this.#options.proxiedDevice !== undefined) await this.#configureProxy(this.#options.proxiedDevice);
      await this.#open(OPEN_ATTEMPTS);
    });
  }

  /**
   * Runs one command after those before it. Throws `mbim/timeout`, `mbim/gone`, `mbim/closed`, `mbim/malformed`,
   * `mbim/function-error`, `mbim/open-failed` or `mbim/queue-full`. A command that was answered with "not opened"
   * did not happen and is sent once more after an OPEN.
   */
  run<Q, R>(command: Command<Q, R>, input: Q): Promise<Reply<R>> {
    return this.#enqueue(async () => {
      if (!this.#opened) await this.#reopen();
      const first = await this.#command(command, input);
      if (first !== 'not-opened') return first;
      await this.#reopen();
      const second = await this.#command(command, input);
      if (second !== 'not-opened') return second;
      throw new CodedError('mbim/open-failed', `${this.name} forgets that it was opened`, {
        retryable: true,
      });
    });
  }

  /** While somebody waits for an indication, a transport that polls does it as fast as for an answer. */
  expectIndication(expected: boolean): void {
    this.#indicationExpected = expected;
    this.#expectBytes();
  }

  /** Says goodbye within 2 s, frees the transport, fails what waits with `mbim/closed`. */
  async close(): Promise<void> {
    if (this.#end === undefined) {
      const closed = new CodedError('mbim/closed', `the session with ${this.name} was closed`);
      this.#end = closed;
      this.#queue.drop(closed);
      this.#fail(undefined, closed);
      await this.#queue.idle();
      if (this.#opened) await this.#sayClose();
    }
    await this.#wire.close();
  }

  async #command<Q, R>(command: Command<Q, R>, input: Q): Promise<Reply<R> | 'not-opened'> {
    const transaction = this.#nextTransaction();
    const answer = await this.#exchange(
      {
        kind: 'command',
        transaction,
        service: command.service,
        cid: command.cid,
        action: command.action,
        info: command.write(input),
      },
      { kinds: ['command-done', 'function-error'], deadlineMs: command.deadlineMs, what: command.name },
    );
    if (answer.kind === 'function-error') {
      if (answer.error === ERROR_NOT_OPENED) {
        this.#opened = false;
        return 'not-opened';
      }
      throw new CodedError('mbim/function-error', `${command.name}: ${protocolErrorText(answer.error)}`);
    }
    if (answer.kind !== 'command-done') throw unexpected(command.name, answer.kind);
    if (answer.service !== command.service || answer.cid !== command.cid)
      throw new CodedError(
        'mbim/malformed',
        `${command.name}: the answer is for command ${answer.cid} of ${answer.service}`,
      );
    if (answer.status !== STATUS.success)
      return { state: 'refused', status: answer.status, info: answer.info };
    return { state: 'done', value: command.read(answer.info) };
  }

  async #configureProxy(devicePath: string): Promise<void> {
    const reply = await this.#command(proxyConfiguration, { devicePath, timeoutSeconds: PROXY_OPEN_SECONDS });
    if (reply === 'not-opened') throw unexpected('proxy configuration', 'function-error');
    if (reply.state === 'refused') throw refusal('mbim-proxy opens the device', reply.status);
  }

  async #reopen(): Promise<void> {
    this.#options.log.info('opening the MBIM session again', { transport: this.name });
    await this.#sayClose();
    try {
      await this.#open(1);
      this.#options.onReopened?.();
    } catch (error) {
      // Those in the queue would each wait as long for the same hung device.
      if (error instanceof CodedError) this.#queue.drop(error);
      throw error;
    }
  }

  async #open(attempts: number): Promise<void> {
    for (let attempt = 1; ; attempt += 1) {
      if (attempt > 1) await this.#sayClose();
      try {
        await this.#openOnce();
        this.#opened = true;
        this.#timeouts = 0;
        return;
      } catch (error) {
        const retryable = codeOf(error) === 'mbim/timeout' || codeOf(error) === `mbim/status-${STATUS.busy}`;
        if (!retryable || this.#end !== undefined) throw error;
        if (attempt >= attempts)
          throw new CodedError('mbim/open-failed', `${this.name} was not opened: ${messageOf(error)}`, {
            retryable: true,
            cause: error,
          });
      }
    }
  }

  async #openOnce(): Promise<void> {
    const answer = await this.#exchange(
      {
        kind: 'open',
        transaction: this.#nextTransaction(),
        maxControlTransfer: this.#maxControlTransfer,
      },
      { kinds: ['open-done', 'function-error'], deadlineMs: OPEN_DEADLINE_MS, what: 'open' },
    );
    if (answer.kind === 'function-error')
      throw new CodedError('mbim/function-error', `open: ${protocolErrorText(answer.error)}`);
    if (answer.kind !== 'open-done') throw unexpected('open', answer.kind);
    if (answer.status !== STATUS.success) throw refusal('open', answer.status);
  }

  /** A device that does not answer is left as it is: the caller opens it anew or lets it go. */
  async #sayClose(): Promise<void> {
    this.#opened = false;
    this.#wire.resync();
    try {
      await this.#exchange(
        { kind: 'close', transaction: this.#nextTransaction() },
        { kinds: ['close-done', 'function-error'], deadlineMs: CLOSE_DEADLINE_MS, what: 'close' },
      );
    } catch (error) {
      this.#options.log.debug('the modem did not confirm the close', { why: messageOf(error) });
    }
  }

  /** Sends and waits. The deadline covers both; a late answer finds nobody waiting and is dropped. */
  async #exchange(
    message: MbimMessage,
    wait: { kinds: Waiting['kinds']; deadlineMs: number; what: string },
  ): Promise<MbimMessage> {
    if (this.#end !== undefined && message.kind !== 'close') throw this.#end;
    let timer: Timer | undefined;
    try {
      return await new Promise<MbimMessage>((resolve, reject) => {
        this.#waiting = {
          transaction: message.transaction,
          kinds: wait.kinds,
          settle: outcome => ('message' in outcome ? resolve(outcome.message) : reject(outcome.error)),
        };
        timer = this.#options.clock.after(wait.deadlineMs, () => {
          this.#timeouts += 1;
          if (this.#timeouts >= TIMEOUTS_UNTIL_REOPEN) this.#opened = false;
          reject(
            new CodedError(
              'mbim/timeout',
              `${wait.what}: no answer from ${this.name} in ${wait.deadlineMs} ms`,
              {
                retryable: true,
              },
            ),
          );
        });
        this.#expectBytes();
        this.#wire.send(message).catch(error => {
          // Half a frame may have gone out.
          this.#opened = false;
          reject(error);
        });
      });
    } finally {
      timer?.cancel();
      this.#waiting = undefined;
      this.#expectBytes();
    }
  }

  #expectBytes(): void {
    this.#wire.expect(this.#waiting !== undefined || this.#indicationExpected);
  }

  #received(message: MbimMessage): void {
    if (message.kind === 'indication') {
      const { service, cid, info } = message;
      if (this.#end === undefined) this.#options.onIndication({ service, cid, info });
      return;
    }
    const waiting = this.#waiting;
    if (waiting?.transaction === message.transaction && waiting.kinds.includes(message.kind)) {
      this.#timeouts = 0;
      waiting.settle({ message });
      return;
    }
    // A device that closes by itself, or says so outside of any transaction, has to be opened again.
    const forgotten = message.kind === 'function-error' && message.error === ERROR_NOT_OPENED;
    if (message.kind === 'close-done' || forgotten) this.#opened = false;
    this.#options.log.debug('an answer that nobody waits for', {
      transport: this.name,
      kind: message.kind,
      transaction: message.transaction,
    });
  }

  /** Fails the command that waits, if it is this one. */
  #fail(transaction: number | undefined, error: CodedError): void {
    const waiting = this.#waiting;
    if (waiting === undefined) return;
    if (transaction === undefined || waiting.transaction === transaction) waiting.settle({ error });
  }

  #gone(reason: string): void {
    if (this.#end !== undefined) return;
    this.#opened = false;
    const gone = new CodedError('mbim/gone', `the modem is gone: ${reason}`, { retryable: true });
    this.#end = gone;
    this.#queue.drop(gone);
    this.#fail(undefined, gone);
    this.#options.onGone(reason);
  }

  #enqueue<T>(work: () => Promise<T>): Promise<T> {
    return this.#end === undefined ? this.#queue.add(work) : Promise.reject(this.#end);
  }

  #nextTransaction(): number {
    this.#transaction = this.#transaction >= MAX_TRANSACTION ? 1 : this.#transaction + 1;
    return this.#transaction;
  }
}

function unexpected(what: string, kind: string): CodedError {
  return new CodedError('mbim/malformed', `${what}: answered with ${kind}`);
}

function refusal(doing: string, status: number): CodedError {
  const { code, message } = statusFault(doing, status);
  return new CodedError(code, message, { retryable: status === STATUS.busy });
}
