/**
 * How much strangers may take: each source's open handshakes and connects that came to nothing, and the latter of all
 * unknown sources together. All threads count in the same cells, which are of a fixed size whatever comes: a source is counted in one cell of each of two rows,
 * found by a keyed hash, and the lower of the two is believed (a count-min sketch). Sources that meet in one cell share it, but
 * hardly ever in both rows, so that a flood costs its neighbours nothing, and no number of sources makes the table full.
 *
 * Who logs in gets back what its connect took: a customer may open as many flows as its plan says (limiter.ts), from
 * behind one NAT address, too. Its source is known for a while and has more room, also while the unknown are many. Who enters and who is thrown out for another is entrance.ts; what the kernel can hold off
 * by itself is firewall.ts.
 */
import { randomInt } from 'node:crypto';

/** Cells of a row; a power of two. */
const CELLS = 8_192;
const SEEDS = 2;
/** Then a cell for the connects of all unknown sources, then three counts of two rows each. */
const STRANGERS = SEEDS;
/** Connects that came to nothing. */
const CONNECTS = SEEDS + 1;
/** Open handshakes. */
const OPEN = CONNECTS + 2 * CELLS;
/** Seconds for which a source is known. */
const KNOWN = OPEN + 2 * CELLS;
const BYTES = (KNOWN + 2 * CELLS) * 4;

/** How long a source is known after a log-in. */
const KNOWN_SECONDS = 1_800;
/** How much more a known source may take. */
const KNOWN_TIMES = 4;

/** Memory for all threads, with seeds that nobody outside can know. */
export function createSourceMemory(): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(BYTES);
  const cells = new Int32Array(memory);
  for (let at = 0; at < SEEDS; at += 1) cells[at] = randomInt(2 ** 31);
  return memory;
}

/** What one source may take; see limits.ts. */
export interface SourceLimits {
  sourceHandshakes: number;
  sourceConnects: number;
  sourceConnectsPerSecond: number;
  strangers: number;
  strangersPerSecond: number;
}

export class SourceGuard {
  readonly #cells: Int32Array;
  readonly #limits: SourceLimits;

  constructor(memory: SharedArrayBuffer, limits: SourceLimits) {
    this.#cells = new Int32Array(memory);
    this.#limits = limits;
  }

  /** The cells of a client's address, as a number for the calls below. An IPv6 source is its /64. */
  placeOf(address: string): number {
    const colon = address.indexOf(':');
    // An IPv4 client of a socket for both families is ::ffff:1.2.3.4, and the same source as on another socket.
    const isV4 = colon < 0 || address.indexOf('.') > 0;
    const source = isV4 ? address.slice(address.lastIndexOf(':') + 1) : prefix64(address);
    const [one = 0, other = 0] = this.#cells;
    return hash(source, one) * CELLS + hash(source, other);
  }

  /** Takes room for one handshake; false, and nothing taken, when its source or strangers as a whole have had enough. */
  begin(place: number): boolean {
    const { sourceHandshakes, sourceConnects, strangers } = this.#limits;
    const known = this.known(place);
    const times = known ? KNOWN_TIMES : 1;
    if (this.open(place) >= sourceHandshakes * times) return false;
    if (this.#count(CONNECTS, place) >= sourceConnects * times) return false;
    if (!known) {
      if (Atomics.load(this.#cells, STRANGERS) >= strangers) return false;
      Atomics.add(this.#cells, STRANGERS, 1);
    }
    this.#add(OPEN, place, 1);
    this.#add(CONNECTS, place, 1);
    return true;
  }

  /** The handshake is over; `proven` when it was a customer's. */
  over(place: number, proven: boolean): void {
    this.#add(OPEN, place, -1);
    if (!proven) return;
    this.#add(CONNECTS, place, -1);
    if (!this.known(place)) Atomics.sub(this.#cells, STRANGERS, 1);
    Atomics.store(this.#cells, KNOWN + Math.floor(place / CELLS), KNOWN_SECONDS);
    Atomics.store(this.#cells, KNOWN + CELLS + (place % CELLS), KNOWN_SECONDS);
  }

  /** Somebody from there has logged in not long ago. */
  known(place: number): boolean {
    return this.#count(KNOWN, place) > 0;
  }

  /** Open handshakes of the source. */
  open(place: number): number {
    return this.#count(OPEN, place);
  }

  /** Once a second, by one thread: time forgives, and forgets. */
  onTick(): void {
    const { sourceConnectsPerSecond, strangersPerSecond } = this.#limits;
    this.#lower(STRANGERS, strangersPerSecond);
    for (let at = CONNECTS; at < CONNECTS + 2 * CELLS; at += 1) this.#lower(at, sourceConnectsPerSecond);
    for (let at = KNOWN; at < KNOWN + 2 * CELLS; at += 1) this.#lower(at, 1);
  }

  /** Toward zero. A cell is below it when a log-in came after its connect was forgiven. */
  #lower(at: number, by: number): void {
    // Most are zero. One that becomes something else at this moment can wait for the next second.
    if (this.#cells[at] === 0) return;
    const now = Atomics.load(this.#cells, at);
    if (now !== 0) Atomics.sub(this.#cells, at, now < 0 ? now : Math.min(now, by));
  }

  #count(row: number, place: number): number {
    const one = Atomics.load(this.#cells, row + Math.floor(place / CELLS));
    return Math.min(one, Atomics.load(this.#cells, row + CELLS + (place % CELLS)));
  }

  #add(row: number, place: number, change: number): void {
    Atomics.add(this.#cells, row + Math.floor(place / CELLS), change);
    Atomics.add(this.#cells, row + CELLS + (place % CELLS), change);
  }
}

/** The first four groups of an IPv6 address, in one spelling. */
function prefix64(address: string): string {
  const gap = address.indexOf('::');
  const groups = (gap < 0 ? address : address.slice(0, gap)).split(':').filter(group => group !== '');
  if (gap >= 0 && groups.length < 4) {
    const behind = address
      .slice(gap + 2)
      .split(':')
      .filter(group => group !== '');
    while (groups.length + behind.length < 8) groups.push('0');
    groups.push(...behind);
  }
  return groups.slice(0, 4).join(':');
}

/** FNV-1a with a secret start and murmur's finish, to a cell of a row. */
function hash(text: string, seed: number): number {
  let state = (0x811c9dc5 ^ seed) >>> 0;
  for (let at = 0; at < text.length; at += 1) state = Math.imul(state ^ text.charCodeAt(at), 0x01000193);
  state = Math.imul(state ^ (state >>> 16) ^ seed, 0x85ebca6b);
  state = Math.imul(state ^ (state >>> 13), 0xc2b2ae35);
  return (state ^ (state >>> 16)) & (CELLS - 1);
}
