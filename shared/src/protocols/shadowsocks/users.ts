/**
 * Who may use one Shadowsocks port, and how a first message tells which of them sent it. AEAD messages name nobody:
 * the keys are tried, first the one that this source used last, then all, within a budget, since a stranger's bytes
 * cost a trial of every key. The 2022 edition names its user in an identity header (SIP023), which costs one look-up
 * whatever the number. Pure bookkeeping: the trial itself is handed in.
 */
import type { Clock } from '../../base/clock';
import { CodedError } from '../../base/coded-error';
import { identityOf } from './keys';
import type { ShadowsocksMethod } from './methods';

/** One user: what the caller knows it by (an id: compared with ===), and its key (keysFromPassword). */
export interface ShadowsocksUser<User> {
  user: User;
  key: Buffer;
}

/**
 * `keys`: every user has a key and nothing else (AEAD, or the 2022 edition with one user).
 * `identified`: 2022 edition with identity headers; `serverKey` is the port's own, users have theirs.
 */
export type ShadowsocksUsers<User> =
  | { kind: 'keys'; users: readonly ShadowsocksUser<User>[] }
  | { kind: 'identified'; serverKey: Buffer; users: readonly ShadowsocksUser<User>[] };

/** More AEAD users on one port would make every stranger's connection too dear; the 2022 edition has no such limit. */
export const MAX_AEAD_USERS = 64;
/** Trials of keys a second (about 12 µs each) that strangers may cause on one port; as many may come at once. */
export const TRIALS_PER_SECOND = 5_000;
/** Sources whose last key is remembered. */
export const MAX_SOURCE_HINTS = 4_096;

/** Throws a CodedError that names the user (by place) and the remedy when the users cannot be served. */
export function checkUsers<User>(method: ShadowsocksMethod, users: ShadowsocksUsers<User>): void {
  const refuse = (problem: string): never => {
    throw new CodedError('shadowsocks/bad-users', `users of a ${method.name} port: ${problem}`);
  };
  const keys = users.users.map(one => one.key);
  if (users.kind === 'identified') {
    if (method.edition !== '2022') refuse('identity headers exist in the 2022 edition only');
    keys.push(users.serverKey);
  } else if (method.edition === '2022' && users.users.length > 1)
    refuse('several users need a server key and identity headers');
  else if (method.edition === 'aead' && users.users.length > MAX_AEAD_USERS)
    refuse(`${users.users.length} are more than ${MAX_AEAD_USERS}; use a 2022 method, which has no limit`);
  const seen = new Set<string>();
  keys.forEach((key, at) => {
    const who = at < users.users.length ? `user ${at}` : 'the server key';
    if (key.length !== method.keyBytes)
      refuse(`the key of ${who} has ${key.length} bytes instead of ${method.keyBytes}`);
    const text = key.toString('latin1');
    if (seen.has(text)) refuse(`the key of ${who} is used twice; bytes could not be told apart`);
    seen.add(text);
  });
}

/** Users by identity (SIP023). */
export function usersByIdentity<User>(
  users: readonly ShadowsocksUser<User>[],
): ReadonlyMap<string, ShadowsocksUser<User>> {
  return new Map(users.map(one => [identityOf(one.key).toString('latin1'), one]));
}

/** Who sent a message, and what the trial made of it. */
export type Found<User, Opened> = { one: ShadowsocksUser<User>; opened: Opened };

/** Finds the AEAD user whose key opens a message. */
export class UserFinder<User> {
  #users: readonly ShadowsocksUser<User>[];
  readonly #clock: Pick<Clock, 'monotonicMs'>;
  /** Insertion order is order of use: the first is dropped when there are too many. */
  readonly #hints = new Map<string, ShadowsocksUser<User>>();
  #budget = TRIALS_PER_SECOND;
  #refilledMs: number;

  constructor(users: readonly ShadowsocksUser<User>[], clock: Pick<Clock, 'monotonicMs'>) {
    this.#users = users;
    this.#clock = clock;
    this.#refilledMs = clock.monotonicMs();
  }

  setUsers(users: readonly ShadowsocksUser<User>[]): void {
    this.#users = users;
    this.#hints.clear();
  }

  /**
   * The user with whose key `open` opens the message (it says null when it does not). `source` is where the message
   * came from: an address. Without budget only the source's last key is tried, so that known sources get through a
   * flood of strangers.
   */
  find<Opened>(
    source: string,
    open: (key: Buffer) => Opened | null,
  ): Found<User, Opened> | 'unknown' | 'over-budget' {
    const hint = this.#hints.get(source);
    const byHint = hint ? open(hint.key) : null;
    if (hint && byHint !== null) return { one: hint, opened: byHint };
    const others = this.#users.length - (hint ? 1 : 0);
    // A single key costs a stranger's message no more than a look-up in the 2022 edition does.
    const charged = this.#users.length > 1 ? others : 0;
    if (!this.#spend(charged)) return 'over-budget';
    for (const one of this.#users) {
      const opened = one === hint ? null : open(one.key);
      if (opened === null) continue;
      // An honest newcomer is no flood: only trials that found nobody stay spent.
      this.#budget += charged;
      this.#remember(source, one);
      return { one, opened };
    }
    return 'unknown';
  }

  #remember(source: string, one: ShadowsocksUser<User>): void {
    this.#hints.delete(source);
    this.#hints.set(source, one);
    if (this.#hints.size <= MAX_SOURCE_HINTS) return;
    const oldest = this.#hints.keys().next();
    if (!oldest.done) this.#hints.delete(oldest.value);
  }

  #spend(trials: number): boolean {
    const now = this.#clock.monotonicMs();
    const gained = ((now - this.#refilledMs) / 1000) * TRIALS_PER_SECOND;
    this.#refilledMs = now;
    this.#budget = Math.min(TRIALS_PER_SECOND, this.#budget + gained);
    if (this.#budget < trials) return false;
    this.#budget -= trials;
    return true;
  }
}
