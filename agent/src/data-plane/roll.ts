/**
 * Things that come and go by the thousand, in the order in which they came: connections of a lane, flows of a party.
 *
 * Not a `Set`, though it looks like one: V8's gets a new table every few dozen changes, and an outgrown table points
 * to the next and still to what it held. Once one of them is old, all later ones and everything that was ever in
 * them outlive every young collection: a fifth of what each connection allocates was copied about until the next
 * full collection. Here whoever has left is pointed to by nobody.
 */

/** A place in a roll; whoever added something keeps it, to leave. */
export interface Place<T> {
  readonly item: T;
  before: Place<T> | null;
  after: Place<T> | null;
  /** False once it was removed. */
  held: boolean;
}

export class Roll<T> {
  #first: Place<T> | null = null;
  #last: Place<T> | null = null;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** Who came first of those who are here. */
  get first(): T | null {
    return this.#first ? this.#first.item : null;
  }

  add(item: T): Place<T> {
    const place: Place<T> = { item, before: this.#last, after: null, held: true };
    if (this.#last) this.#last.after = place;
    else this.#first = place;
    this.#last = place;
    this.#size += 1;
    return place;
  }

  /** `place` is one that this roll gave. False when it was left before. */
  remove(place: Place<T>): boolean {
    if (!place.held) return false;
    const { before, after } = place;
    if (before) before.after = after;
    else this.#first = after;
    if (after) after.before = before;
    else this.#last = before;
    place.before = null;
    place.after = null;
    place.held = false;
    this.#size -= 1;
    return true;
  }

  /** Nobody may leave meanwhile: whoever ends members goes through a copy, `[...roll]`. */
  *[Symbol.iterator](): Generator<T, void, void> {
    for (let place = this.#first; place; place = place.after) yield place.item;
  }
}
