/**
 * What an organization keeps of connections and events, as a person sets it, and back. Pure. Only what concerns the
 * organization is asked: a customer has a connection log, a host the events of its nodes; the rest stays as it is.
 */
import { DestinationPolicy } from '@mastline/shared/domain/flow-summary';
import type { LogSettingsInput, Viewer } from './api-types';
import { type Problems, sentence } from './limits-form';

export interface LogSettingsValues {
  connectionLogDays: string;
  eventDays: string;
  destinations: DestinationPolicy;
}
export type LogSettingsField = keyof LogSettingsValues;

/** Each policy in the words of the choice, and what it costs. */
export const POLICIES: Record<DestinationPolicy, { word: string; note: string }> = {
  'host-and-port': {
    word: 'Host, address and port',
    note: 'A complaint about an exit address, with a time and a target, leads to one credential.',
  },
  host: {
    word: 'Host only',
    note: 'The name or address as it was asked for. Where several used an exit address at a time, a complaint may fit them all.',
  },
  none: {
    word: 'Nothing',
    note: 'Lines say whose, when, how much and how it ended. A complaint then names everybody who used the exit address at that time.',
  },
};

/** Which fields concern an organization of these kinds. */
export function logFieldsOf(kinds: Viewer['active']['kinds']): { log: boolean; events: boolean } {
  return { log: kinds.includes('customer'), events: kinds.includes('host') || kinds.includes('operator') };
}

export function logSettingsValues(settings: LogSettingsInput): LogSettingsValues {
  const { connectionLogDays, eventDays, destinations } = settings;
  return { connectionLogDays: String(connectionLogDays), eventDays: String(eventDays), destinations };
}

/** What was typed over what is set; a field that the form had not stays. Numbers that are none the server refuses. */
export function readLogSettings(
  form: FormData,
  before: LogSettingsInput,
): { values: LogSettingsValues; settings: LogSettingsInput } {
  const text = (name: LogSettingsField, otherwise: string): string => {
    const value = form.get(name);
    return typeof value === 'string' ? value.trim() : otherwise;
  };
  const set = logSettingsValues(before);
  const destinations = DestinationPolicy.safeParse(text('destinations', set.destinations));
  const values: LogSettingsValues = {
    connectionLogDays: text('connectionLogDays', set.connectionLogDays),
    eventDays: text('eventDays', set.eventDays),
    destinations: destinations.success ? destinations.data : set.destinations,
  };
  const days = (typed: string) => (typed === '' ? Number.NaN : Number(typed));
  return {
    values,
    settings: {
      connectionLogDays: days(values.connectionLogDays),
      eventDays: days(values.eventDays),
      destinations: values.destinations,
    },
  };
}

/** The server's issues beside the fields. */
export function logSettingsProblems(
  issues: readonly { path: readonly PropertyKey[]; message: string }[],
): Problems<LogSettingsField> {
  const problems: Problems<LogSettingsField> = {};
  for (const { path, message } of issues) problems[path[0] as LogSettingsField] ??= sentence(message);
  return problems;
}
