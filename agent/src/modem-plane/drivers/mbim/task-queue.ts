/** One thing after the other, with a bound on what waits. A task's failure is its own; the queue goes on. */
import { CodedError } from '@mastline/shared/base/coded-error';

interface Task {
  run: () => Promise<void>;
  reject: (error: CodedError) => void;
}

export class TaskQueue {
  readonly #tasks: Task[] = [];
  readonly #limit: number;
  readonly #what: string;
  #working: Promise<void> | undefined;

  /** `what` names the place in the refusal. */
  constructor(what: string, limit: number) {
    this.#what = what;
    this.#limit = limit;
  }

  /** Settles as `work` does; rejects with `mbim/queue-full` when too many wait already. */
  add<T>(work: () => Promise<T>): Promise<T> {
    if (this.#tasks.length >= this.#limit)
      return Promise.reject(
        new CodedError('mbim/queue-full', `${this.#limit} commands wait for ${this.#what} already`, {
          retryable: true,
        }),
      );
    return new Promise<T>((resolve, reject) => {
      this.#tasks.push({ run: () => work().then(resolve, reject), reject });
      this.#working ??= this.#work().finally(() => {
        this.#working = undefined;
      });
    });
  }

  /** Rejects what waits; what runs is not touched. */
  drop(error: CodedError): void {
    for (const task of this.#tasks.splice(0)) task.reject(error);
  }

  /** Resolves when nothing runs and nothing waits. */
  async idle(): Promise<void> {
    await this.#working;
  }

  /** Never rejects: each task settles its own promise. */
  async #work(): Promise<void> {
    for (let task = this.#tasks.shift(); task !== undefined; task = this.#tasks.shift()) await task.run();
  }
}
