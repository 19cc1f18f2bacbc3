/**
 * Which row of the shared memory belongs to whom (limit-cells.ts). Every lane keeps a book of its own; since all hear
 * the same plans in the same order and this is a function of those, all books say the same. Pure but for the book.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import { MAX_ROWS } from './limit-cells';

export class LimitRows {
  readonly #rows = new Map<string, number>();
  /** First freed, first used again: what still refers to a row has gone by then. */
  readonly #free: number[] = [];
  #used = 0;

  /** Frees the rows of all but `names` and gives a row to each that has none; those are returned. */
  assign(names: ReadonlySet<string>): string[] {
    for (const [name, row] of this.#rows) {
      if (names.has(name)) continue;
      this.#rows.delete(name);
      this.#free.push(row);
    }
    const added: string[] = [];
    for (const name of names) {
      if (this.#rows.has(name)) continue;
      this.#rows.set(name, this.#next());
      added.push(name);
    }
    return added;
  }

  row(name: string): number | undefined {
    return this.#rows.get(name);
  }

  #next(): number {
    if (this.#used < MAX_ROWS) {
      this.#used += 1;
      return this.#used - 1;
    }
    const row = this.#free.shift();
    if (row !== undefined) return row;
    throw new CodedError('plan/invalid', `a plan has at most ${MAX_ROWS} credentials and slots`);
  }
}
