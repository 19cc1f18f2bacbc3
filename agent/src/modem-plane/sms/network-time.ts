/** The time that a network writes on a message: local, two digits of the year, the zone in quarters of an hour. Pure. */

export interface NetworkTime {
  /** Two digits; messages are of this century. */
  year: number;
  month: number;
  day: number;
  hour: number;
  minute: number;
  second: number;
  /** East of UTC, in quarters of an hour. */
  quarters: number;
}

/** UTC epoch milliseconds; null for a moment that there is not. */
export function instantOf(time: NetworkTime): number | null {
  const { year, month, day, hour, minute, second, quarters } = time;
  if (!(quarters <= 56 && quarters >= -56 && hour < 24 && minute < 60 && second < 60)) return null;
  const local = Date.UTC(2000 + year, month - 1, day, hour, minute, second);
  const back = new Date(local);
  // 31 February and the like would roll over instead of being refused.
  if (back.getUTCMonth() !== month - 1 || back.getUTCDate() !== day) return null;
  return local - quarters * 15 * 60_000;
}
