/**
 * The firmware profiles that this agent goes by: those that came with it, and those that the cloud ships in the desired
 * state, which go before one of the same id. One that cannot be read (of a newer form, say) is named in the log and
 * passed over; the rest of the state holds all the same.
 */
import { parseProfile } from '@mastline/firmware-profiles/catalogue';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { Profile } from '@mastline/shared/profile/schema';
import type { Log } from '../observe/log';

export class ProfileShelf {
  readonly #options: { own: () => readonly Profile[]; log: Log };
  #own: readonly Profile[] | undefined;
  #shipped = '[]';
  #all: readonly Profile[] | undefined;
  #listeners: ((changed: ReadonlySet<string>) => void)[] = [];

  /** `own` is read when first asked for. */
  constructor(options: { own: () => readonly Profile[]; log: Log }) {
    this.#options = options;
  }

  /** The same array until something changes. Throws what `own` throws. */
  all(): readonly Profile[] {
    this.#own ??= this.#options.own();
    this.#all ??= this.#own;
    return this.#all;
  }

  /** What the newest state ships; nothing, when it ships none. True when that is news. */
  adopt(values: readonly { id: string }[]): boolean {
    const said = JSON.stringify(values);
    if (said === this.#shipped) return false;
    this.#shipped = said;
    const shipped = values.flatMap(value => {
      try {
        return [parseProfile(value, `${value.id} of the desired state`)];
      } catch (error) {
        this.#options.log.error('a shipped firmware profile cannot be used', {
          profile: value.id,
          reason: messageOf(error),
        });
        return [];
      }
    });
    const before = this.all();
    this.#own ??= before;
    const replaced = new Set(shipped.map(profile => profile.id));
    this.#all = [...this.#own.filter(profile => !replaced.has(profile.id)), ...shipped].sort((a, b) =>
      a.id < b.id ? -1 : 1,
    );
    this.#options.log.info('firmware profiles', { shipped: [...replaced].sort(), all: this.#all.length });
    const changed = changedBetween(before, this.#all);
    if (changed.size > 0) for (const listener of [...this.#listeners]) listener(changed);
    return true;
  }

  /** Gets the ids of those that came, went or became others. */
  onChange(listener: (changed: ReadonlySet<string>) => void): void {
    this.#listeners.push(listener);
  }
}

function changedBetween(before: readonly Profile[], now: readonly Profile[]): Set<string> {
  const textOf = (profiles: readonly Profile[]) =>
    new Map(profiles.map(profile => [profile.id, JSON.stringify(profile)]));
  const [were, are] = [textOf(before), textOf(now)];
  return new Set([...were.keys(), ...are.keys()].filter(id => were.get(id) !== are.get(id)));
}
