/**
 * Limits as a person types them, and back. Pure. Bandwidth is in Mbit/s here and bytes a second everywhere else; times
 * are in the viewer's zone. What a limit may be is the server's to say: its refusals come back as issues by path.
 */
import {
  type FlowLimits,
  MAX_BYTES_PER_SECOND,
  MIN_BYTES_PER_SECOND,
} from '@mastline/shared/domain/flow-limits';
import type { LimitsInput } from './api-types';
import { epochOfLocal, formatMoment, localOfEpoch } from './time';

const BYTES_PER_MBIT = 125_000;

/** What stands in the fields of the form. */
export interface LimitsValues {
  flowsPerMinute: string;
  concurrentFlows: string;
  whenFull: string;
  downBytesPerSecond: string;
  upBytesPerSecond: string;
  sourceAddresses: string;
  ports: string;
  expiresAt: string;
}
export type LimitsField = keyof LimitsValues;
/** What is wrong, by field. */
export type Problems<Field extends string> = Partial<Record<Field, string>>;

export function limitsValues(limits: FlowLimits, zone: string): LimitsValues {
  const number = (value: number | undefined) => (value === undefined ? '' : String(value));
  return {
    flowsPerMinute: number(limits.flowsPerMinute),
    concurrentFlows: number(limits.concurrentFlows),
    whenFull: limits.whenFull ?? 'refuse',
    downBytesPerSecond: mbit(limits.downBytesPerSecond),
    upBytesPerSecond: mbit(limits.upBytesPerSecond),
    sourceAddresses: (limits.sourceAddresses ?? []).join('\n'),
    ports: (limits.ports ?? []).join(', '),
    expiresAt: limits.expiresAt === undefined ? '' : localOfEpoch(limits.expiresAt, zone),
  };
}

/** What was typed, and what it means; numbers that are none become NaN, which the server refuses by field. */
export function readLimits(
  form: FormData,
  zone: string,
): { values: LimitsValues; limits: LimitsInput; problems: Problems<LimitsField> } {
  const text = (name: LimitsField): string => {
    const value = form.get(name);
    return typeof value === 'string' ? value.trim() : '';
  };
  const values: LimitsValues = {
    flowsPerMinute: text('flowsPerMinute'),
    concurrentFlows: text('concurrentFlows'),
    whenFull: text('whenFull') === 'close-oldest' ? 'close-oldest' : 'refuse',
    downBytesPerSecond: text('downBytesPerSecond'),
    upBytesPerSecond: text('upBytesPerSecond'),
    sourceAddresses: text('sourceAddresses'),
    ports: text('ports'),
    expiresAt: text('expiresAt'),
  };
  const limits: LimitsInput = {};
  const problems: Problems<LimitsField> = {};
  for (const field of ['flowsPerMinute', 'concurrentFlows'] as const)
    if (values[field] !== '') limits[field] = Number(values[field]);
  if (limits.concurrentFlows !== undefined && values.whenFull === 'close-oldest')
    limits.whenFull = 'close-oldest';
  for (const field of ['downBytesPerSecond', 'upBytesPerSecond'] as const) {
    if (values[field] === '') continue;
    const bytes = Math.round(Number(values[field].replace(',', '.')) * BYTES_PER_MBIT);
    if (bytes >= MIN_BYTES_PER_SECOND && bytes <= MAX_BYTES_PER_SECOND) limits[field] = bytes;
    else problems[field] = `Enter ${mbit(MIN_BYTES_PER_SECOND)} to ${mbit(MAX_BYTES_PER_SECOND)} Mbit/s.`;
  }
  const addresses = words(values.sourceAddresses);
  if (addresses.length > 0) limits.sourceAddresses = addresses;
  const ports = words(values.ports);
  if (ports.length > 0) limits.ports = ports;
  if (values.expiresAt !== '') {
    const at = epochOfLocal(values.expiresAt, zone);
    if (at === null) problems.expiresAt = 'Enter a day and a time.';
    else limits.expiresAt = at;
  }
  return { values, limits, problems };
}

/** The server's issues beside the fields; a list's says which of its entries is meant. */
export function limitsProblems(
  issues: readonly { path: readonly PropertyKey[]; message: string }[],
  limits: LimitsInput,
): Problems<LimitsField> {
  const problems: Problems<LimitsField> = {};
  for (const { path, message } of issues) {
    const at = path.indexOf('limits');
    const field = path[at + 1] as LimitsField;
    const list = field === 'sourceAddresses' || field === 'ports' ? limits[field] : undefined;
    const entry = list?.[Number(path[at + 2])];
    problems[field] ??= sentence(entry === undefined ? message : `“${entry}” ${message}`);
  }
  return problems;
}

/** In few words, at most `most` limits and how many more; null when there are none. */
export function limitsSummary(
  limits: FlowLimits,
  zone: string,
  most = Number.POSITIVE_INFINITY,
): string | null {
  const { downBytesPerSecond: down, upBytesPerSecond: up } = limits;
  const parts = [
    down === undefined ? null : `${mbit(down)} Mbit/s down`,
    up === undefined ? null : `${mbit(up)} Mbit/s up`,
    limits.concurrentFlows === undefined ? null : `${limits.concurrentFlows} flows`,
    limits.flowsPerMinute === undefined ? null : `${limits.flowsPerMinute} new a minute`,
    limits.sourceAddresses ? 'chosen addresses' : null,
    limits.ports ? 'chosen ports' : null,
    limits.expiresAt === undefined ? null : `until ${formatMoment(limits.expiresAt, zone)}`,
  ].filter(part => part !== null);
  if (parts.length === 0) return null;
  const shown = parts.slice(0, most).join(' · ');
  return parts.length > most ? `${shown} · ${parts.length - most} more` : shown;
}

/** Entries of a field that takes several, parted by spaces, commas or lines. */
export const words = (text: string): string[] => text.split(/[\s,;]+/).filter(word => word !== '');

/** As a sentence of its own. */
export function sentence(text: string): string {
  const begun = text.charAt(0).toUpperCase() + text.slice(1);
  return /[.?!]$/.test(begun) ? begun : `${begun}.`;
}

const mbit = (bytesPerSecond: number | undefined): string =>
  bytesPerSecond === undefined ? '' : String(bytesPerSecond / BYTES_PER_MBIT);
