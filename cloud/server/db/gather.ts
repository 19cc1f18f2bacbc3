/**
 * One question to the database for many who ask the same kind of thing at once: while one statement runs, those who come
 * wait together, and the next statement asks for all of them. Ten thousand nodes that come back within seconds are then
 * a few hundred statements instead of tens of thousands, and hold one connection of the pool. A statement that fails
 * fails for all that it asked for; each of them tries again by its own rules. With one exception: what the database holds
 * against a value is the fault of whoever brought that value, so then each is asked alone. Whatever is asked must bear
 * being asked again when it failed.
 */
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';

export interface GatherOptions<Question, Answer> {
  /** Answers in the order of the questions, one each. */
  ask(questions: readonly Question[]): Promise<readonly Answer[]>;
  /** Most questions of one statement. */
  most: number;
  /** Most questions that wait; more are refused (`db/busy`). */
  mostWaiting: number;
}

interface Asked<Question, Answer> {
  question: Question;
  resolve(answer: Answer): void;
  reject(error: unknown): void;
}

export class Gather<Question, Answer> {
  readonly #options: GatherOptions<Question, Answer>;
  #waiting: Asked<Question, Answer>[] = [];
  #running = false;

  constructor(options: GatherOptions<Question, Answer>) {
    this.#options = options;
  }

  /** Rejects with `db/busy` (retryable) when too many wait, else with what the statement fails with. */
  ask(question: Question): Promise<Answer> {
    if (this.#waiting.length >= this.#options.mostWaiting)
      return Promise.reject(
        new CodedError('db/busy', `${this.#waiting.length} questions wait for the database`, {
          retryable: true,
        }),
      );
    return new Promise((resolve, reject) => {
      this.#waiting.push({ question, resolve, reject });
      if (this.#running) return;
      this.#running = true;
      // What comes in this turn of the event loop goes together.
      setImmediate(() => void this.#run());
    });
  }

  async #run(): Promise<void> {
    while (this.#waiting.length > 0) {
      const group = this.#waiting.slice(0, this.#options.most);
      this.#waiting = this.#waiting.slice(group.length);
      await this.#askFor(group);
    }
    this.#running = false;
  }

  async #askFor(group: readonly Asked<Question, Answer>[]): Promise<void> {
    try {
      const answers = await this.#options.ask(group.map(each => each.question));
      if (answers.length !== group.length)
        throw new Error(`${answers.length} answers to ${group.length} questions`);
      for (const [index, { resolve }] of group.entries()) resolve(answers[index] as Answer);
    } catch (error) {
      if (group.length > 1 && isOfOne(error)) for (const each of group) await this.#askFor([each]);
      else for (const { reject } of group) reject(error);
    }
  }
}

/**
 * Whether PostgreSQL holds something against a value (SQLSTATE classes 22 and 23), or chose this transaction to end a
 * deadlock or a conflict (40): the others would have been served.
 */
function isOfOne(error: unknown): boolean {
  return /^(22|23|40)[0-9A-Z]{3}$/.test(codeOf(error) ?? '');
}
