/**
 * Times for people. The zone is always handed in (it comes from a cookie, so that server and browser write the same
 * text and nothing shifts); UTC is what machines and tooltips get.
 */

/** "23 Nov, 14:05" in `zone`. */
export function formatMoment(epochMs: number, zone: string): string {
  const part = parts(epochMs, zone);
  return `${part.day} ${part.month}, ${part.hour}:${part.minute}`;
}

/** "14:05" in `zone`. */
export function formatClock(epochMs: number, zone: string): string {
  const part = parts(epochMs, zone);
  return `${part.hour}:${part.minute}`;
}

/** "Mon 23 Nov" in `zone`. */
export function formatDay(epochMs: number, zone: string): string {
  const part = parts(epochMs, zone);
  return `${part.weekday} ${part.day} ${part.month}`;
}

/** "2026-11-23 14:05 UTC": the unambiguous form, for titles and exports. */
export function formatUtc(epochMs: number): string {
  return `${new Date(epochMs).toISOString().slice(0, 16).replace('T', ' ')} UTC`;
}

/** "just now", "4 min ago", "3 h ago", "2 days ago". */
export function formatAgo(epochMs: number, nowMs: number): string {
  const seconds = Math.max(0, Math.round((nowMs - epochMs) / 1000));
  if (seconds < 60) return 'just now';
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} days ago`;
}

/** "40 s", "12 min", "3 h", "2 days". */
export function formatSpan(ms: number): string {
  const seconds = Math.max(0, Math.round(ms / 1000));
  if (seconds < 60) return `${seconds} s`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
  if (seconds < 48 * 3600) return `${Math.floor(seconds / 3600)} h`;
  return `${Math.floor(seconds / 86_400)} days`;
}

/** The name of an hour's day in `zone`, fit for comparing: "2026-11-23". */
export function dayKey(epochMs: number, zone: string): string {
  const part = parts(epochMs, zone);
  return `${part.year}-${part.monthNumber}-${part.day.padStart(2, '0')}`;
}

/** The hour of the day in `zone`, 0 to 23. */
export function hourOfDay(epochMs: number, zone: string): number {
  return Number(parts(epochMs, zone).hour);
}

/** "2026-11-23T14:05" in `zone`: what an input of type datetime-local holds. */
export function localOfEpoch(epochMs: number, zone: string): string {
  const part = parts(epochMs, zone);
  return `${part.year.padStart(4, '0')}-${part.monthNumber}-${part.day.padStart(2, '0')}T${part.hour}:${part.minute}`;
}

/**
 * The instant at which clocks in `zone` show that; null for what is no such text. Of an hour that comes twice, the
 * first or the second; an hour that is left out is moved by it.
 */
export function epochOfLocal(text: string, zone: string): number | null {
  const match = /^(\d{4})-(\d{2})-(\d{2})T(\d{2}):(\d{2})(?::\d{2}(?:\.\d+)?)?$/.exec(text);
  if (!match) return null;
  const wanted = Date.parse(`${text.slice(0, 16)}:00Z`);
  if (Number.isNaN(wanted)) return null;
  // The zone's distance from UTC is not known before the instant is: guess, and mend the guess once.
  let at = wanted;
  for (let round = 0; round < 2; round += 1) at += wanted - Date.parse(`${localOfEpoch(at, zone)}:00Z`);
  return at;
}

const MONTHS = ['Jan', 'Feb', 'Mar', 'Apr', 'May', 'Jun', 'Jul', 'Aug', 'Sep', 'Oct', 'Nov', 'Dec'];
const formatters = new Map<string, Intl.DateTimeFormat>();
const MAX_FORMATTERS = 64;

function parts(epochMs: number, zone: string) {
  let formatter = formatters.get(zone);
  if (formatter === undefined) {
    // Only numbers are taken from Intl: month names differ between a server's ICU and a browser's.
    formatter = new Intl.DateTimeFormat('en-GB', {
      timeZone: zone,
      hourCycle: 'h23',
      year: 'numeric',
      month: '2-digit',
      day: 'numeric',
      weekday: 'short',
      hour: '2-digit',
      minute: '2-digit',
    });
    if (formatters.size >= MAX_FORMATTERS) formatters.clear();
    formatters.set(zone, formatter);
  }
  const found: Record<string, string> = {};
  for (const { type, value } of formatter.formatToParts(epochMs)) found[type] = value;
  const monthNumber = found.month ?? '01';
  return {
    year: found.year ?? '',
    monthNumber,
    month: MONTHS[Number(monthNumber) - 1] ?? '',
    day: found.day ?? '',
    weekday: found.weekday ?? '',
    hour: found.hour ?? '',
    minute: found.minute ?? '',
  };
}
