/**
 * A lane in a worker, seen from the control thread: starts it, asks it things with a deadline, passes its usage and
 * its log on. The other end is data-plane.worker.ts. A thread that fails takes the process with it (`onFault`): what
 * it had counted and not handed on is not known, and its share of the counts would never come back.
 */
import { Worker } from 'node:worker_threads';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import type { AddressRange } from '@mastline/shared/domain/ip-range';
import type { Log } from '../observe/log';
import type { LaneNotes, RotateSlot, ServicePlan, UsageDelta } from '../ports';
import { workerUrl } from '../worker-url';
import type { LaneReport } from './lane';
import type {
  FromLane,
  LaneAnswer,
  LaneRequest,
  LaneSetup,
  OpenedPorts,
  OpenPort,
  ToLane,
} from './lane-messages';
import { rotateOrFail } from './session-routes';

/** A busy lane answers between two reads; a machine that swaps takes longer. */
const ANSWER_MS = 10_000;
/** Opening waits for helper processes (duplicate-listener.ts). */
const OPEN_MS = 60_000;
/** Beyond the grace that a closing lane was given. */
const CLOSE_EXTRA_MS = 2_000;

interface Pending {
  resolve: (answer: LaneAnswer) => void;
  reject: (error: unknown) => void;
  deadline: Timer;
}

export interface LaneThreadOptions extends Omit<LaneSetup, 'notes'> {
  name: string;
  clock: Clock;
  log: Log;
  hand: (deltas: UsageDelta[]) => void;
  rotate: RotateSlot;
  note: ((notes: LaneNotes) => void) | undefined;
  /** The thread is dead or does not answer: the process must end. */
  onFault: (fault: CodedError) => void;
}

export class LaneThread {
  readonly #options: LaneThreadOptions;
  readonly #worker: Worker;
  readonly #pending = new Map<number, Pending>();
  #nextId = 1;
  #closing = false;

  constructor(options: LaneThreadOptions) {
    const { name, limits, memory, first } = options;
    this.#options = options;
    const workerData: LaneSetup = { limits, memory, first, notes: options.note !== undefined };
    this.#worker = new Worker(workerUrl('data-plane.worker'), { workerData, name });
    this.#worker.on('message', (message: FromLane) => this.#hear(message));
    this.#worker.on('error', error => this.#fail(`failed: ${messageOf(error)}`, error));
    this.#worker.on('exit', code => {
      if (!this.#closing) this.#fail(`ended with code ${code}`);
    });
  }

  /** Serves by `plan` from now on, closing listeners that it does not want and opening none. */
  async adopt(plan: ServicePlan): Promise<void> {
    await this.#ask({ kind: 'adopt', plan }, ANSWER_MS);
  }

  hostChanged(hostRanges: readonly AddressRange[]): void {
    this.#say({ kind: 'host-changed', hostRanges });
  }

  /** Opens what is missing: as duplicates of `ports`, or itself. Throws `listener/not-duplicated`. */
  async open(plan: ServicePlan, ports: OpenPort[] | null = null): Promise<OpenedPorts> {
    const { opened } = await this.#ask({ kind: 'open', plan, ports }, OPEN_MS);
    if (!opened) throw new Error(`${this.#options.name} opened ports and did not say which`);
    return opened;
  }

  released(slots: readonly number[]): void {
    this.#say({ kind: 'released', slots });
  }

  async report(): Promise<LaneReport> {
    return (await this.#ask({ kind: 'report' }, ANSWER_MS)).report;
  }

  /** All usage has been handed on when this resolves. */
  async close(graceMs: number): Promise<void> {
    this.#closing = true;
    try {
      await this.#ask({ kind: 'close', graceMs }, graceMs + CLOSE_EXTRA_MS);
    } finally {
      await this.#worker.terminate();
    }
  }

  #ask(request: LaneRequest, ms: number): Promise<LaneAnswer> {
    const id = this.#nextId;
    this.#nextId += 1;
    return new Promise((resolve, reject) => {
      const deadline = this.#options.clock.after(ms, () => {
        const fault = new CodedError(
          'data-plane/thread-hangs',
          `${this.#options.name} did not answer "${request.kind}" within ${ms} ms`,
        );
        this.#settle(id)?.reject(fault);
      });
      this.#pending.set(id, { resolve, reject, deadline });
      this.#say({ kind: 'request', id, request });
    });
  }

  async #rotate(id: number, request: { slot: number; credentialId: string }): Promise<void> {
    const outcome = await rotateOrFail(this.#options.rotate, request);
    if (!this.#closing) this.#say({ kind: 'rotated', id, outcome });
  }

  #say(message: ToLane): void {
    this.#worker.postMessage(message);
  }

  #hear(message: FromLane): void {
    switch (message.kind) {
      case 'answer':
        this.#settle(message.id)?.resolve(message.answer);
        return;
      case 'failed': {
        const { code, message: text, userMessage } = message;
        this.#settle(message.id)?.reject(new CodedError(code, text, { userMessage }));
        return;
      }
      case 'rotate':
        void this.#rotate(message.id, message.request);
        return;
      case 'deltas':
        this.#options.hand(message.deltas);
        return;
      case 'notes':
        this.#options.note?.(message.notes);
        return;
      case 'log': {
        const { level, part, message: text, fields } = message;
        const log = part.reduce((log, name) => log.child(name), this.#options.log);
        log[level](text, { ...fields, thread: this.#options.name });
        return;
      }
    }
  }

  #settle(id: number): Pending | undefined {
    const pending = this.#pending.get(id);
    this.#pending.delete(id);
    pending?.deadline.cancel();
    return pending;
  }

  #fail(why: string, cause?: unknown): void {
    const fault = new CodedError('data-plane/thread-died', `${this.#options.name} ${why}`, { cause });
    for (const id of [...this.#pending.keys()]) this.#settle(id)?.reject(fault);
    if (!this.#closing) this.#options.onFault(fault);
  }
}
