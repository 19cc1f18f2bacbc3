/**
 * One AT port: sends one command at a time, gives each its deadline, tells its reply from echo, noise and what the
 * modem says unasked (V.250 part 5). Knows nothing of what commands mean: that is commands.ts and driver.ts.
 *
 * After a command that got no answer the channel is in doubt: the answer may still come and would be taken for that of
 * the next command. So before the next one it asks `AT+CMEE?`, whose answer cannot be mistaken, until the line is
 * clean; a modem that does not answer that either is silent.
 */
import type { Duplex } from 'node:stream';
import { type Clock, sleep, type Timer } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { type AtError, readFinalError } from './errors';
import { Lexer, type Token } from './lexer';
import { isReply, readUrc, type Urc } from './urcs';

/** Commands that may wait at once; a caller that asks for more has lost its way. */
const MAX_WAITING = 64;
/** Lines kept of one reply; the longest real one (a full SIM's messages) has about 510. */
const MAX_REPLY_LINES = 2048;
/** Modems drop what comes too soon after a final result. */
const PAUSE_MS = 20;
const RESYNC_TRIES = 3;
const RESYNC_MS = 2000;
/** Silence after which nothing late is expected any more. */
const QUIET_MS = 200;
/** Headers whose second line is still to come. */
const MAX_BODIES = 4;
const HEX_LINE = /^[0-9A-F]{2,}$/i;
const ESCAPE = '\x1b';

export interface Command {
  /** Without the CR. */
  text: string;
  /** For the log and for faults: never holds parameters that are secret. */
  name: string;
  deadlineMs: number;
  /** Names with which its reply lines begin: `+CSQ`. */
  prefixes: readonly string[];
  /** Form of reply lines that have no name (`AT+CGSN` answers with the bare number). */
  bare?: RegExp;
  /** Each named line is followed by one of hexadecimal digits (PDUs), which is appended to it after a newline. */
  withBody?: boolean;
  /** The final result may come as a digit, while V1 is not set yet. */
  numericFinal?: boolean;
}

export type Answer =
  | { kind: 'ok'; lines: string[] }
  | { kind: 'error'; error: AtError }
  /** No final result before the deadline. */
  | { kind: 'silent' }
  /** The port is gone. */
  | { kind: 'gone'; reason: string }
  | { kind: 'cancelled' }
  /** Too many are waiting already. */
  | { kind: 'crowded' };

type Final = { kind: 'ok' } | { kind: 'error'; error: AtError };

interface Job {
  command: Command;
  finish: (answer: Answer) => void;
}

interface Exchange {
  command: Command;
  lines: string[];
  echoed: boolean;
  timer: Timer;
  finish: (answer: Answer) => void;
}

export interface ChannelOptions {
  port: Duplex;
  clock: Clock;
  onUrc: (urc: Urc, body: string | null) => void;
  onGone: (reason: string) => void;
  /** Lines that belong to nothing: noise, or late answers. */
  onStray: (line: string) => void;
}

export class AtChannel {
  readonly #options: ChannelOptions;
  readonly #lexer = new Lexer();
  readonly #waiting: Job[] = [];
  #current: Exchange | null = null;
  /** Who gets the next line of hexadecimal digits; the latest header first. */
  #bodies: ('reply' | Urc)[] = [];
  #pumping = false;
  #inDoubt = false;
  #finalsHeard = 0;
  #gone: string | null = null;

  constructor(options: ChannelOptions) {
    this.#options = options;
    const { port } = options;
    port.on('data', this.#onData);
    port.on('close', this.#onClose);
    port.on('end', this.#onClose);
    port.on('error', this.#onError);
  }

  /** Sends `command` when its turn comes. Never rejects but for a command that no modem may get. */
  run(command: Command, signal?: AbortSignal): Promise<Answer> {
    if (!/^[\x20-\x7e]+$/.test(command.text))
      return Promise.reject(
        new CodedError('at/bad-command', `${command.name}: a command is printable ASCII on one line`),
      );
    return new Promise(resolve => {
      if (this.#gone !== null) return resolve({ kind: 'gone', reason: this.#gone });
      if (signal?.aborted) return resolve({ kind: 'cancelled' });
      if (this.#waiting.length >= MAX_WAITING) return resolve({ kind: 'crowded' });
      const job: Job = {
        command,
        finish: answer => {
          signal?.removeEventListener('abort', cancel);
          resolve(answer);
        },
      };
      const cancel = () => this.#cancel(job);
      signal?.addEventListener('abort', cancel, { once: true });
      this.#waiting.push(job);
      void this.#pump();
    });
  }

  /** Gives up what is waiting and lets go of the port, which it closes. */
  async close(): Promise<void> {
    const { port } = this.#options;
    this.#end('closed by us');
    if (port.closed) return;
    await new Promise<void>(resolve => {
      port.once('close', () => resolve());
      port.destroy();
    });
  }

  async #pump(): Promise<void> {
    if (this.#pumping) return;
    this.#pumping = true;
    try {
      for (let job = this.#waiting[0]; job && this.#gone === null; job = this.#waiting[0]) {
        const clean = !this.#inDoubt || (await this.#resync());
        // Cancelled, or the port went, while the line was being cleaned.
        if (this.#waiting[0] !== job) continue;
        this.#waiting.shift();
        job.finish(clean ? await this.#exchange(job) : { kind: 'silent' });
        if (this.#gone === null) await sleep(this.#options.clock, PAUSE_MS);
      }
    } finally {
      this.#pumping = false;
    }
  }

  /** Sends and collects until the final result, the deadline, a cancellation or the end of the port. */
  #exchange(job: { command: Command }): Promise<Answer> {
    const { command } = job;
    return new Promise(resolve => {
      const finish = (answer: Answer) => {
        if (this.#current !== exchange) return;
        this.#current = null;
        this.#bodies = this.#bodies.filter(one => one !== 'reply');
        exchange.timer.cancel();
        if (answer.kind === 'silent' || answer.kind === 'cancelled') this.#inDoubt = true;
        resolve(answer);
      };
      const timer = this.#options.clock.after(command.deadlineMs, () => finish({ kind: 'silent' }));
      const exchange: Exchange = { command, lines: [], echoed: false, timer, finish };
      this.#current = exchange;
      this.#write(`${command.text}\r`);
    });
  }

  /** True when the modem has shown that nothing of former commands is still to come. */
  async #resync(): Promise<boolean> {
    let otherFinals = 0;
    for (let attempt = 0; attempt < RESYNC_TRIES; attempt += 1) {
      const answer = await this.#exchange({
        command: { text: 'AT+CMEE?', name: 'AT+CMEE?', deadlineMs: RESYNC_MS, prefixes: ['+CMEE'] },
      });
      if (answer.kind === 'gone') return false;
      if (answer.kind === 'silent') continue;
      const heard = this.#finalsHeard;
      await sleep(this.#options.clock, QUIET_MS);
      if (this.#gone !== null) return false;
      // Something was still on its way: that may have been the answer to this question.
      if (this.#finalsHeard !== heard) continue;
      const certain = answer.kind === 'ok' && answer.lines.length > 0;
      // A modem that does not know the question answers it with ERROR, twice with nothing after it.
      otherFinals += 1;
      if (certain || otherFinals === 2) {
        this.#inDoubt = false;
        return true;
      }
    }
    return false;
  }

  readonly #onData = (chunk: Buffer) => {
    for (const token of this.#lexer.push(chunk)) this.#take(token);
  };

  #take(token: Token): void {
    if (token.kind === 'line') this.#takeLine(token.text);
    else if (token.kind === 'overlong') this.#options.onStray(token.head);
    // Nothing here asks for a prompt: somebody before us left the modem waiting for a text.
    else this.#write(ESCAPE);
  }

  #takeLine(line: string): void {
    const exchange = this.#current;
    if (exchange && !exchange.echoed && line.endsWith(exchange.command.text)) {
      exchange.echoed = true;
      return;
    }
    const final = readFinal(line, exchange?.command.numericFinal === true);
    const urc = readUrc(line);
    if (this.#bodies.length > 0 && HEX_LINE.test(line)) this.#takeBody(line);
    else if (final) this.#takeFinal(final, line);
    else if (exchange && isReply(line, exchange.command.prefixes)) {
      if (exchange.command.withBody) this.#expectBody('reply');
      this.#keep(exchange, line);
    } else if (urc?.hasBody) this.#expectBody(urc);
    else if (urc) this.#options.onUrc(urc, null);
    else if (exchange?.command.bare?.test(line)) this.#keep(exchange, line);
    else this.#options.onStray(line);
  }

  #takeFinal(final: Final, line: string): void {
    this.#finalsHeard += 1;
    // A body that has not come by now was lost; what looks like one next is something else.
    this.#bodies = [];
    const exchange = this.#current;
    if (!exchange) this.#options.onStray(line);
    else if (final.kind === 'ok') exchange.finish({ kind: 'ok', lines: exchange.lines });
    else exchange.finish(final);
  }

  #expectBody(owner: 'reply' | Urc): void {
    this.#bodies = [...this.#bodies.slice(1 - MAX_BODIES), owner];
  }

  #takeBody(line: string): void {
    const owner = this.#bodies.pop();
    const lines = this.#current?.lines;
    if (owner !== undefined && owner !== 'reply') this.#options.onUrc(owner, line);
    else if (lines && lines.length > 0) lines[lines.length - 1] += `\n${line}`;
  }

  #keep(exchange: Exchange, line: string): void {
    if (exchange.lines.length < MAX_REPLY_LINES) exchange.lines.push(line);
    else this.#options.onStray(line);
  }

  #cancel(job: Job): void {
    const at = this.#waiting.indexOf(job);
    if (at !== -1) {
      this.#waiting.splice(at, 1);
      job.finish({ kind: 'cancelled' });
    } else if (this.#current?.command === job.command) this.#current.finish({ kind: 'cancelled' });
  }

  #write(text: string): void {
    // Errors of writing arrive as 'error' of the port.
    if (this.#gone === null) this.#options.port.write(text, 'latin1');
  }

  readonly #onClose = () => this.#end('the port was closed by the other side');
  readonly #onError = (error: unknown) => this.#end(messageOf(error));

  #end(reason: string): void {
    if (this.#gone !== null) return;
    this.#gone = reason;
    const { port } = this.#options;
    port.off('data', this.#onData);
    port.off('close', this.#onClose);
    port.off('end', this.#onClose);
    // A port may report more than one error while it falls apart; the first is the reason, none may go unheard.
    port.destroy();
    this.#current?.finish({ kind: 'gone', reason });
    for (const job of this.#waiting.splice(0)) job.finish({ kind: 'gone', reason });
    this.#options.onGone(reason);
  }
}

function readFinal(line: string, numeric: boolean): Final | null {
  if (line === 'OK' || (numeric && line === '0')) return { kind: 'ok' };
  if (numeric && line === '4') return { kind: 'error', error: { family: 'plain' } };
  const error = readFinalError(line);
  return error === null ? null : { kind: 'error', error };
}
