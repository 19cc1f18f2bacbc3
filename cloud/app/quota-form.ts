/**
 * A quota as a person types it, and back; how much of it is left. Pure. An amount is a number and a binary unit, as bytes
 * are shown everywhere; whatever was set comes back as it was, to the byte. What a quota may be is the server's to say.
 */
import { formatBytes } from '@mastline/shared/base/bytes';
import { MAX_QUOTA_BYTES } from '@mastline/shared/domain/quota';
import type { CredentialView, QuotaInput } from './api-types';
import { type Problems, sentence } from './limits-form';

export const UNITS = { B: 1, MiB: 2 ** 20, GiB: 2 ** 30, TiB: 2 ** 40 } as const;
type Unit = keyof typeof UNITS;

type Quota = NonNullable<CredentialView['quota']>;

/** What stands in the fields of the form. */
export interface QuotaValues {
  amount: string;
  unit: Unit;
  period: 'monthly' | 'total';
  billingDay: string;
}
export type QuotaField = keyof QuotaValues;

export function quotaValues(quota: Pick<Quota, 'bytes' | 'period'> | null): QuotaValues {
  if (quota === null) return { amount: '', unit: 'GiB', period: 'monthly', billingDay: '1' };
  const { bytes, period } = quota;
  // The largest unit that says it to the byte in three decimals.
  const exact = (['TiB', 'GiB', 'MiB'] as const).find(
    unit => bytes >= UNITS[unit] && (bytes * 1000) % UNITS[unit] === 0,
  );
  const unit = exact ?? 'B';
  return {
    amount: String(bytes / UNITS[unit]),
    unit,
    period: period.kind,
    billingDay: period.kind === 'monthly' ? String(period.billingDay) : '1',
  };
}

/** What was typed, and what it means; a day that is none becomes NaN, which the server refuses by field. */
export function readQuota(form: FormData): {
  values: QuotaValues;
  quota: QuotaInput;
  problems: Problems<QuotaField>;
} {
  const text = (name: QuotaField): string => {
    const value = form.get(name);
    return typeof value === 'string' ? value.trim() : '';
  };
  const unit = text('unit');
  const values: QuotaValues = {
    amount: text('amount'),
    unit: isUnit(unit) ? unit : 'GiB',
    period: text('period') === 'total' ? 'total' : 'monthly',
    billingDay: text('billingDay'),
  };
  const number = values.amount === '' ? Number.NaN : Number(values.amount.replace(',', '.'));
  const bytes = Math.round(number * UNITS[values.unit]);
  if (!(bytes >= 1 && bytes <= MAX_QUOTA_BYTES)) {
    const amount = `Enter a number: 1 byte at least, ${formatBytes(MAX_QUOTA_BYTES)} at most.`;
    return { values, quota: null, problems: { amount } };
  }
  const period =
    values.period === 'total'
      ? ({ kind: 'total' } as const)
      : { kind: 'monthly' as const, billingDay: Number(values.billingDay || Number.NaN) };
  return { values, quota: { bytes, period }, problems: {} };
}

/** The server's issues beside the fields. */
export function quotaProblems(
  issues: readonly { path: readonly PropertyKey[]; message: string }[],
): Problems<QuotaField> {
  const problems: Problems<QuotaField> = {};
  for (const { path, message } of issues)
    problems[path.includes('billingDay') ? 'billingDay' : 'amount'] ??= sentence(message);
  return problems;
}

/** Bytes that may still be used, wherever they are lent; none when it was made smaller than what is used. */
export const quotaLeft = ({ bytes, used }: Pick<Quota, 'bytes' | 'used'>): number =>
  Math.max(0, bytes - used);

/** In few words; null without a quota. */
export function quotaSummary(quota: Pick<Quota, 'bytes' | 'used'> | null): string | null {
  if (quota === null) return null;
  const whole = formatBytes(quota.bytes);
  return quotaLeft(quota) === 0 ? `all ${whole} used` : `${formatBytes(quotaLeft(quota))} of ${whole} left`;
}

const isUnit = (text: string): text is Unit => Object.hasOwn(UNITS, text);
