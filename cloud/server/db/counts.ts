/** PostgreSQL's bigint arrives as text: this is where it becomes a number, checked. */
import { CodedError } from '@mastline/shared/base/coded-error';

/** Throws `db/unsafe-count` past 2^53 instead of losing precision. */
export function countOf(value: string | number | bigint | null): number {
  const number = Number(value ?? 0);
  if (!Number.isSafeInteger(number))
    throw new CodedError('db/unsafe-count', `${value} is not a safe integer`);
  return number;
}
