/**
 * When a slot is to be rotated by itself: pure, from the schedule, the last rotation and the time. Keeping the timers
 * is rotation-scheduler.ts.
 */
import type { RotationSchedule } from '@mastline/shared/domain/rotation';

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;

export interface ScheduleMoment {
  /** UTC epoch milliseconds. */
  nowMs: number;
  /** End of the last rotation, whoever asked for it, or the time since which the schedule is known. */
  lastMs: number;
  /** From 0 up to and without 1. */
  random: () => number;
}

/** The instant of the next rotation, UTC epoch milliseconds. Times of day that have passed are not made up for. */
export function nextRotationAt(schedule: RotationSchedule, moment: ScheduleMoment): number {
  const { nowMs, lastMs, random } = moment;
  const jitterMs = Math.floor((schedule.jitterMinutes ?? 0) * MINUTE_MS * random());
  if (schedule.everyMinutes !== undefined)
    return Math.max(nowMs, lastMs + schedule.everyMinutes * MINUTE_MS) + jitterMs;
  const timeZone = schedule.timeZone ?? 'UTC';
  const times = schedule.at ?? [];
  const today = localTime(nowMs, timeZone);
  // A day of the zone may have 23 or 25 hours, and yesterday's date may still be on there.
  const instants = [-1, 0, 1, 2].flatMap(day =>
    times.map(time => instantOf(today + day * DAY_MS, time, timeZone)),
  );
  return Math.min(...instants.filter(at => at > nowMs)) + jitterMs;
}

/** The zone's own clock at an instant, as if it were UTC. */
function localTime(ms: number, timeZone: string): number {
  const parts = new Intl.DateTimeFormat('en', {
    timeZone,
    hourCycle: 'h23',
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    second: 'numeric',
  }).formatToParts(ms);
  const of = (type: string) => Number(parts.find(part => part.type === type)?.value);
  return Date.UTC(of('year'), of('month') - 1, of('day'), of('hour'), of('minute'), of('second'));
}

/** The instant at which the zone's clock shows `time` on the day of `local`; when it skips that hour, an hour off. */
function instantOf(local: number, time: string, timeZone: string): number {
  const [hours = 0, minutes = 0] = time.split(':').map(Number);
  const wanted = local - (local % DAY_MS) + (hours * 60 + minutes) * MINUTE_MS;
  const guess = wanted - (localTime(wanted, timeZone) - wanted);
  return wanted - (localTime(guess, timeZone) - guess);
}
