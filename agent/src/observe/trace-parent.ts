/**
 * Begins traces that the cloud goes on with (W3C Trace Context, section 3.2): a share of the batches carries a random
 * trace id, which is in the log here and in the cloud's collector. There is no SDK and no span on this side.
 */
import { randomBytes } from 'node:crypto';
import { CodedError } from '@mastline/shared/base/coded-error';

export interface TraceParent {
  /** What the batch carries: `00-<trace id>-<parent id>-01`. */
  header: string;
  traceId: string;
}

/** For each batch its trace, or undefined for one that begins none. */
export type BeginTrace = () => TraceParent | undefined;

/**
 * By MASTLINE_TRACE_RATIO, the share of batches from 0 to 1; undefined when it is not set or 0. Throws
 * `config/trace-ratio` when it is no such number.
 */
export function beginTrace(
  env: { MASTLINE_TRACE_RATIO?: string } = process.env,
  random: () => number = Math.random,
): BeginTrace | undefined {
  const text = env.MASTLINE_TRACE_RATIO;
  if (text === undefined || text === '') return undefined;
  const ratio = Number(text);
  if (!(ratio >= 0 && ratio <= 1))
    throw new CodedError(
      'config/trace-ratio',
      `MASTLINE_TRACE_RATIO must be a number from 0 to 1, not "${text}"`,
    );
  if (ratio === 0) return undefined;
  return () => {
    if (random() >= ratio) return undefined;
    const traceId = randomBytes(16).toString('hex');
    return { header: `00-${traceId}-${randomBytes(8).toString('hex')}-01`, traceId };
  };
}
