/** Looks at deltas before they reach the disk: one bad count must not spoil the transaction it shares. Pure. */
import { CodedError } from '@mastline/shared/base/coded-error';
import type { UsageDelta } from '../ports';

/** Most deltas in one commit: more is a defect of the caller, not load. */
export const MAX_DELTAS = 65_536;
/** Largest count in one delta: far above any commit, and small enough that sums of a minute stay exact. */
export const MAX_DELTA_COUNT = 2 ** 44;

/** What is wrong with `deltas`, by field; undefined when nothing is. */
export function checkDeltas(deltas: readonly UsageDelta[]): CodedError | undefined {
  if (deltas.length > MAX_DELTAS) return bad(`${deltas.length} deltas in one commit; at most ${MAX_DELTAS}`);
  for (const [index, delta] of deltas.entries()) {
    for (const field of ['upBytes', 'downBytes', 'flows'] as const) {
      const count = delta[field];
      if (!Number.isSafeInteger(count) || count < 0 || count > MAX_DELTA_COUNT)
        return bad(
          `deltas[${index}].${field} is ${count}: must be a whole number from 0 to ${MAX_DELTA_COUNT}`,
        );
    }
    for (const field of ['endpointId', 'credentialId'] as const)
      if (delta[field].length < 1 || delta[field].length > 64)
        return bad(`deltas[${index}].${field} has ${delta[field].length} characters: must have 1 to 64`);
    if (!Number.isInteger(delta.slot) || delta.slot < 0 || delta.slot > 65_535)
      return bad(`deltas[${index}].slot is ${delta.slot}: must be 0 to 65535`);
    if (delta.imei !== null && (delta.imei.length < 1 || delta.imei.length > 20))
      return bad(`deltas[${index}].imei has ${delta.imei.length} characters: must have 1 to 20, or be null`);
  }
  return undefined;
}

const bad = (message: string) => new CodedError('spool/bad-delta', message);
