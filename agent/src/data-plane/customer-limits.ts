/**
 * Limits of a credential or a slot as the data plane reads them: ranges parsed, left-out fields made "none". What can
 * be judged from the limits alone, without counting, is judged here, and pure; counting is limiter.ts.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import { type FlowLimits, parsePortRange, type QuotaLease } from '@mastline/shared/domain/flow-limits';
import { type AddressRange, inRange, parseAddressRange } from '@mastline/shared/domain/ip-range';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import { type Shape, shapeOf } from './limit-cells';

/** A bucket that was not used for this long is full; what is in it may go at once. */
const BURST_SECONDS = 0.2;
/** No bucket is smaller: one read of a slow flow should fit. */
const MIN_BURST_BYTES = 16 * 1024;

export interface CompiledLimits {
  readonly flows: Shape | null;
  /** Infinity when there is none. */
  readonly concurrentFlows: number;
  readonly closesOldest: boolean;
  readonly up: Shape | null;
  readonly down: Shape | null;
  readonly quota: QuotaLease | null;
  readonly sources: readonly AddressRange[] | null;
  readonly ports: readonly (readonly [first: number, last: number])[] | null;
  /** Infinity when there is none. */
  readonly expiresAt: number;
}

/** Throws `plan/invalid` when a range cannot be read: a limit that is not understood must not be left out. */
export function compileLimits(limits: FlowLimits | undefined, whose: string): CompiledLimits {
  if (!limits) return UNLIMITED;
  const { flowsPerMinute, upBytesPerSecond, downBytesPerSecond } = limits;
  return {
    flows: flowsPerMinute === undefined ? null : shapeOf(flowsPerMinute / 60, flowsPerMinute),
    concurrentFlows: limits.concurrentFlows ?? Number.POSITIVE_INFINITY,
    closesOldest: limits.whenFull === 'close-oldest',
    up: bandwidth(upBytesPerSecond),
    down: bandwidth(downBytesPerSecond),
    quota: limits.quota ?? null,
    sources:
      limits.sourceAddresses?.map(
        text => parseAddressRange(text) ?? invalid(whose, 'sourceAddresses', text),
      ) ?? null,
    ports: limits.ports?.map(text => parsePortRange(text) ?? invalid(whose, 'ports', text)) ?? null,
    expiresAt: limits.expiresAt ?? Number.POSITIVE_INFINITY,
  };
}

function bandwidth(perSecond: number | undefined): Shape | null {
  if (perSecond === undefined) return null;
  return shapeOf(perSecond, Math.max(MIN_BURST_BYTES, perSecond * BURST_SECONDS));
}

function invalid(whose: string, field: string, text: string): never {
  throw new CodedError('plan/invalid', `${whose}: limits.${field}: "${text}" cannot be read`, {
    userMessage: `${whose}: "${text}" in limits.${field} cannot be read.`,
  });
}

export const UNLIMITED: CompiledLimits = {
  flows: null,
  concurrentFlows: Number.POSITIVE_INFINITY,
  closesOldest: false,
  up: null,
  down: null,
  quota: null,
  sources: null,
  ports: null,
  expiresAt: Number.POSITIVE_INFINITY,
};

/** Who comes, and to which port; null where no target is named yet (UDP). */
export interface Asker {
  source: string;
  port: number | null;
}

/** Why these limits forbid a flow, whatever else runs; null when they do not. */
export function judgeLimits(limits: CompiledLimits, asker: Asker, now: number): RefusalReason | null {
  if (now >= limits.expiresAt) return 'expired';
  if (limits.sources && !limits.sources.some(range => inRange(range, asker.source, 0)))
    return 'source-not-allowed';
  return asker.port === null || portAllowed(limits, asker.port) ? null : 'port-denied';
}

export function portAllowed(limits: CompiledLimits, port: number): boolean {
  return limits.ports?.some(([first, last]) => port >= first && port <= last) ?? true;
}
