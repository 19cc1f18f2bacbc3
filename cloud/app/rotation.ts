/**
 * Rotations in words, who may ask for them, and the form of a schedule. Pure; the screen is routes/rotation.tsx. The
 * server decides what is allowed, this only spares a person the attempt.
 */
import { RotationSchedule } from '@mastline/shared/domain/rotation';
import type { RotationView } from './api-types';

export function mayRotate(role: string): boolean {
  return ['owner', 'admin', 'member', 'fleet'].includes(role);
}

/** Links and schedules. */
export function mayManageRotation(role: string): boolean {
  return ['owner', 'admin', 'fleet'].includes(role);
}

type Tone = 'ok' | 'warn' | 'bad' | 'busy' | 'idle';

/** What came of it, as a pill. */
export function outcomeInWords(outcome: RotationView['outcome']): { tone: Tone; word: string } {
  switch (outcome) {
    case null:
      return { tone: 'busy', word: 'Under way' };
    case 'rotated':
      return { tone: 'ok', word: 'Changed' };
    case 'collision':
      return { tone: 'warn', word: 'Same address' };
    case 'failed':
      return { tone: 'bad', word: 'Failed' };
    case 'unavailable':
      return { tone: 'idle', word: 'Not tried' };
    case 'unanswered':
      return { tone: 'warn', word: 'No answer' };
  }
}

/** One sentence; the carrier\u2019s part is told as such. */
export function rotationInWords(rotation: RotationView): string {
  const { outcome, reason, oldAddress, newAddress, tookMs, method } = rotation;
  const took = tookMs === null ? '' : ` in ${secondsInWords(tookMs)}`;
  switch (outcome) {
    case null:
      return 'The modem is changing its address. Flows that run are given time to end first.';
    case 'rotated':
      return `The address changed from ${oldAddress ?? 'an unknown one'} to ${newAddress ?? 'an unknown one'}${took}${
        method === null ? '' : `, by ${methodInWords(method)}`
      }.`;
    case 'collision':
      return `The carrier gave the same address again (${newAddress ?? oldAddress ?? 'unknown'})${took}. Waiting a while before the next try often helps.`;
    case 'failed':
      return `The address did not change: ${reason}.`;
    case 'unavailable':
      return `Nothing was tried: ${reason}.`;
    case 'unanswered':
      return `What came of it is not known: ${reason}.`;
  }
}

const METHODS: Record<string, string> = {
  'data-switch': 'a new data connection',
  radio: 'radio off and on',
  deregister: 'a new registration',
  'mode-toggle': 'a change of network mode',
  reset: 'a restart of the modem',
};

export function methodInWords(method: string): string {
  return METHODS[method] ?? method;
}

const ASKERS: Record<string, string> = {
  user: 'A person',
  link: 'Secret link',
  schedule: 'Schedule',
  credential: 'A credential',
  local: 'On the box',
};

export function askerInWords(askedFor: string): string {
  return ASKERS[askedFor] ?? askedFor;
}

export function secondsInWords(ms: number): string {
  return ms < 60_000
    ? `${(ms / 1000).toFixed(1)} s`
    : `${Math.floor(ms / 60_000)} min ${Math.round((ms % 60_000) / 1000)} s`;
}

export function scheduleInWords(schedule: RotationSchedule | null): string {
  if (schedule === null) return 'Only when somebody asks, or as the box itself is configured.';
  const spread = schedule.jitterMinutes ? `, up to ${schedule.jitterMinutes} min later by chance` : '';
  if (schedule.everyMinutes !== undefined)
    return `Every ${schedule.everyMinutes} minutes after the last change${spread}.`;
  return `Daily at ${(schedule.at ?? []).join(', ')} (${schedule.timeZone ?? 'UTC'})${spread}.`;
}

/** What a person typed, kept for the form when it is wrong. */
export interface ScheduleForm {
  when: 'never' | 'every' | 'at';
  everyMinutes: string;
  at: string;
  timeZone: string;
  jitterMinutes: string;
}

export function scheduleForm(schedule: RotationSchedule | null, zone: string): ScheduleForm {
  return {
    when: schedule === null ? 'never' : schedule.at === undefined ? 'every' : 'at',
    everyMinutes: String(schedule?.everyMinutes ?? 30),
    at: (schedule?.at ?? ['04:00']).join(', '),
    timeZone: schedule?.timeZone ?? (schedule?.at === undefined ? zone : 'UTC'),
    jitterMinutes: String(schedule?.jitterMinutes ?? 0),
  };
}

export type ScheduleRead =
  | { ok: true; schedule: RotationSchedule | null }
  | { ok: false; form: ScheduleForm; problems: Partial<Record<keyof ScheduleForm, string>> };

/** Reads the form; every wrong field is named. */
export function readSchedule(data: FormData): ScheduleRead {
  const text = (name: string) => String(data.get(name) ?? '').trim();
  const when = text('when');
  const form: ScheduleForm = {
    when: when === 'every' || when === 'at' ? when : 'never',
    everyMinutes: text('everyMinutes'),
    at: text('at'),
    timeZone: text('timeZone'),
    jitterMinutes: text('jitterMinutes'),
  };
  if (form.when === 'never') return { ok: true, schedule: null };
  const jitter =
    form.jitterMinutes === '' || form.jitterMinutes === '0'
      ? {}
      : { jitterMinutes: whole(form.jitterMinutes) };
  const wanted =
    form.when === 'every'
      ? { everyMinutes: whole(form.everyMinutes), ...jitter }
      : { at: form.at.split(/[\s,;]+/).filter(time => time !== ''), timeZone: form.timeZone, ...jitter };
  const parsed = RotationSchedule.safeParse(wanted);
  if (parsed.success) return { ok: true, schedule: parsed.data };
  const problems: Partial<Record<keyof ScheduleForm, string>> = {};
  for (const issue of parsed.error.issues) {
    const field = String(issue.path[0] ?? 'at') as keyof ScheduleForm;
    problems[field] ??= SENTENCES[field] ?? issue.message;
  }
  return { ok: false, form, problems };
}

const SENTENCES: Partial<Record<keyof ScheduleForm, string>> = {
  everyMinutes: 'A whole number of minutes, from 1 to 10080 (a week).',
  at: 'Times such as 04:00, 16:30: at most 48, separated by commas.',
  timeZone: 'The name of a time zone, such as Europe/Berlin.',
  jitterMinutes: 'A whole number of minutes, from 0 to 720.',
};

function whole(text: string): number {
  return /^\d{1,6}$/.test(text) ? Number(text) : Number.NaN;
}
