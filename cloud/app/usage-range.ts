/**
 * From an address such as `?range=7d&by=hour&credential=…` to a question for the server, and from hourly figures to
 * the bars of a chart. Pure. The ledger keeps UTC hours; days are days of the viewer, made of the hours that begin
 * in them.
 */
import { dayKey, formatClock, formatDay, formatMoment, hourOfDay } from './time';

export const RANGES = ['today', '7d', '30d'] as const;
export type Range = (typeof RANGES)[number];
export const RANGE_LABELS: Record<Range, string> = { today: 'Today', '7d': '7 days', '30d': '30 days' };
export type Step = 'hour' | 'day';

export const HOUR_MS = 3_600_000;
const DAYS: Record<Range, number> = { today: 1, '7d': 7, '30d': 30 };

export interface UsageView {
  range: Range;
  step: Step;
  /** Half-open, whole UTC hours. */
  from: number;
  to: number;
  credentialId?: string;
  slotId?: string;
  page: number;
}

/** Reads the query; what is missing or unknown falls back to the last 7 days by day. */
export function usageView(query: URLSearchParams, nowMs: number, zone: string): UsageView {
  const range = RANGES.find(known => known === query.get('range')) ?? '7d';
  const step: Step = range === 'today' || (range === '7d' && query.get('by') === 'hour') ? 'hour' : 'day';
  const to = Math.floor(nowMs / HOUR_MS) * HOUR_MS + HOUR_MS;
  const page = Number(query.get('page'));
  const credentialId = idIn(query, 'credential');
  const slotId = idIn(query, 'modem');
  return {
    range,
    step,
    from: startOfDays(to - 1, DAYS[range], zone),
    to,
    page: Number.isSafeInteger(page) && page > 1 ? Math.min(page, 10_000) : 1,
    ...(credentialId === undefined ? {} : { credentialId }),
    ...(slotId === undefined ? {} : { slotId }),
  };
}

function idIn(query: URLSearchParams, name: string): string | undefined {
  const value = query.get(name);
  return value === null || value === '' || value.length > 100 ? undefined : value;
}

/** The first UTC hour of the day in `zone` that lies `days - 1` days before the one that `instant` is in. */
function startOfDays(instant: number, days: number, zone: string): number {
  let hour = Math.floor(instant / HOUR_MS) * HOUR_MS;
  let seen = 1;
  let key = dayKey(hour, zone);
  // Walked hour by hour, since days of 23 and 25 hours exist; at most 30 × 25 steps.
  for (let step = 0; step < DAYS['30d'] * 25 + 25; step += 1) {
    const before = hour - HOUR_MS;
    const beforeKey = dayKey(before, zone);
    if (beforeKey !== key) {
      if (seen === days) return hour;
      seen += 1;
      key = beforeKey;
    }
    hour = before;
  }
  return hour;
}

export interface Bucket {
  start: number;
  /** Under the axis, short. */
  tick: string;
  /** In the read-out and the table, whole. */
  label: string;
  upBytes: number;
  downBytes: number;
  flows: number;
}

interface HourFigures {
  start: number;
  upBytes: number;
  downBytes: number;
  flows: number;
}

/** One bucket for each hour or day of the view, also where nothing was used. */
export function bucketsOf(series: readonly HourFigures[], view: UsageView, zone: string): Bucket[] {
  const buckets = new Map<string, Bucket>();
  const keyOf = (hour: number) => (view.step === 'hour' ? String(hour) : dayKey(hour, zone));
  for (let hour = view.from; hour < view.to; hour += HOUR_MS) {
    const key = keyOf(hour);
    if (buckets.has(key)) continue;
    buckets.set(key, {
      start: hour,
      tick: tickOf(hour, view, zone),
      label:
        view.step === 'day'
          ? formatDay(hour, zone)
          : `${formatMoment(hour, zone)} – ${formatClock(hour + HOUR_MS, zone)}`,
      upBytes: 0,
      downBytes: 0,
      flows: 0,
    });
  }
  for (const figures of series) {
    const bucket = buckets.get(keyOf(figures.start));
    if (bucket === undefined) continue;
    bucket.upBytes += figures.upBytes;
    bucket.downBytes += figures.downBytes;
    bucket.flows += figures.flows;
  }
  return [...buckets.values()];
}

/** Empty where a label would only be noise: within a 7-day view by hour, only midnights are named. */
function tickOf(hour: number, view: UsageView, zone: string): string {
  if (view.step === 'day') return formatDay(hour, zone).split(' ').slice(1).join(' ');
  if (view.range === 'today') return formatClock(hour, zone);
  return hourOfDay(hour, zone) === 0 ? formatDay(hour, zone).split(' ').slice(1).join(' ') : '';
}

/** The query of this view with some parts changed; defaults are left out, and a change goes back to page 1. */
export function usageQuery(
  view: UsageView,
  change: Partial<Pick<UsageView, 'range' | 'step' | 'page'>> = {},
): string {
  const next = { ...view, page: 1, ...change };
  const query = new URLSearchParams();
  query.set('range', next.range);
  if (next.range === '7d' && next.step === 'hour') query.set('by', 'hour');
  if (next.credentialId !== undefined) query.set('credential', next.credentialId);
  if (next.slotId !== undefined) query.set('modem', next.slotId);
  if (next.page > 1) query.set('page', String(next.page));
  return `?${query}`;
}
