/** From an address such as `?range=24h&outcome=refused` to a question for the server, and words for what it answers. Pure. */

export const LOG_RANGES = ['1h', '24h', '7d', '30d', 'all'] as const;
export type LogRange = (typeof LOG_RANGES)[number];
export const LOG_RANGE_LABELS: Record<LogRange, string> = {
  '1h': '1 h',
  '24h': '24 h',
  '7d': '7 days',
  '30d': '30 days',
  all: 'All',
};
const HOURS: Record<Exclude<LogRange, 'all'>, number> = { '1h': 1, '24h': 24, '7d': 168, '30d': 720 };

export const OUTCOME_CHOICES = [
  ['', 'All outcomes'],
  ['ok', 'Done'],
  ['cut', 'Cut off'],
  ['refused', 'Refused'],
] as const;

export interface LogView {
  range: LogRange;
  credentialId?: string | undefined;
  slotId?: string | undefined;
  /** Of OUTCOME_CHOICES, or the reason of a refusal. */
  outcome?: string | undefined;
  /** Where the page begins; the newest when left out. */
  after?: string | undefined;
}

const UUID = /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i;
const NAME = /^[a-z0-9-]{1,40}$/;
const CURSOR = /^\d{1,16}-\d{1,19}$/;

/** Reads the query; what is missing or malformed falls back to the last 24 hours, unfiltered, from the newest on. */
export function logView(query: URLSearchParams): LogView {
  const range = LOG_RANGES.find(known => known === query.get('range')) ?? '24h';
  const fitting = (name: string, form: RegExp) => {
    const value = query.get(name);
    return value !== null && form.test(value) ? value : undefined;
  };
  const credentialId = fitting('credential', UUID);
  const slotId = fitting('modem', UUID);
  const outcome = fitting('outcome', NAME);
  const after = fitting('after', CURSOR);
  return {
    range,
    ...(credentialId === undefined ? {} : { credentialId }),
    ...(slotId === undefined ? {} : { slotId }),
    ...(outcome === undefined ? {} : { outcome }),
    ...(after === undefined ? {} : { after }),
  };
}

/** What to ask the server; the place in the list is not part of it. */
export function logQuestion({ range, credentialId, slotId, outcome }: LogView, nowMs: number) {
  return {
    ...(range === 'all' ? {} : { from: nowMs - HOURS[range] * 3_600_000 }),
    ...(credentialId === undefined ? {} : { credentialId }),
    ...(slotId === undefined ? {} : { slotId }),
    ...(outcome === undefined ? {} : { outcome }),
  };
}

/** The query of this view with some parts changed; a change goes back to the newest. */
export function logQuery(view: LogView, change: Partial<LogView> = {}): string {
  const { after: _, ...kept } = view;
  const next: LogView = { ...kept, ...change };
  const query = new URLSearchParams({ range: next.range });
  if (next.credentialId !== undefined) query.set('credential', next.credentialId);
  if (next.slotId !== undefined) query.set('modem', next.slotId);
  if (next.outcome !== undefined) query.set('outcome', next.outcome);
  if (next.after !== undefined) query.set('after', next.after);
  return `?${query}`;
}

/** "320 ms", "5.2 s", "3 min 20 s", "2 h 5 min". */
export function formatDuration(ms: number): string {
  if (ms < 1_000) return `${ms} ms`;
  if (ms < 60_000) return `${(ms / 1_000).toFixed(1)} s`;
  const minutes = Math.floor(ms / 60_000);
  if (minutes < 60) return `${minutes} min ${Math.floor((ms % 60_000) / 1_000)} s`;
  return `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

/** "origin-timeout" as "Origin timeout". */
export function outcomeWord(outcome: string): string {
  if (outcome === 'ok') return 'Done';
  if (outcome === 'cut') return 'Cut off';
  const words = outcome.replaceAll('-', ' ');
  return words.charAt(0).toUpperCase() + words.slice(1);
}

/** "example.org:443", "[2001:db8::1]:443"; null where it was not recorded. */
export function targetText({ host, port }: { host: string | null; port: number | null }): string | null {
  if (host === null) return null;
  const shown = host.includes(':') ? `[${host}]` : host;
  return port === null ? host : `${shown}:${port}`;
}
