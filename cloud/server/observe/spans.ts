/**
 * Spans of traces, by the OpenTelemetry API. While nobody collects traces there is no tracer, and each call here costs a
 * comparison; the SDK is tracing.ts and is not loaded then. Attributes are ids of nodes and sessions, kinds and counts:
 * never a secret, an address, a name of a person or the text of a statement.
 */

import { codeOf } from '@mastline/shared/base/coded-error';
import {
  type Attributes,
  type Context,
  context,
  type Link,
  propagation,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  type TimeInput,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api';

let tracer: Tracer | undefined;

/** Set by tracing.ts for as long as somebody collects. */
export function setTracer(given: Tracer | undefined): void {
  tracer = given;
}

export const isTracing = (): boolean => tracer !== undefined;

export interface SpanOptions {
  attributes?: Attributes;
  kind?: 'in' | 'out';
  /** Left out: the span that is active. */
  parent?: Context;
  links?: Link[];
  /** Milliseconds of the monotonic clock (`performance.now`), for what began before. */
  startMs?: number;
}

/** A span to be ended by the caller; undefined while nobody collects traces. */
export function beginSpan(name: string, options: SpanOptions = {}): Span | undefined {
  if (tracer === undefined) return undefined;
  const { attributes, kind, parent, links, startMs } = options;
  return tracer.startSpan(
    name,
    {
      ...(attributes && { attributes }),
      ...(links && { links }),
      ...(startMs !== undefined && { startTime: startMs as TimeInput }),
      ...(kind && { kind: kind === 'in' ? SpanKind.SERVER : SpanKind.CLIENT }),
    },
    parent ?? context.active(),
  );
}

/** Ends a span; with the code of what went wrong, if something did. */
export function endSpan(span: Span | undefined, error?: unknown): void {
  if (span === undefined) return;
  if (error !== undefined) span.setStatus({ code: SpanStatusCode.ERROR, message: codeOf(error) ?? 'fault' });
  span.end();
}

/** Runs `work` with `span` as the active one, so that what begins within is its child. */
export function within<T>(span: Span | undefined, work: () => T): T {
  return span === undefined ? work() : context.with(trace.setSpan(context.active(), span), work);
}

/** A span around `work`. */
export async function inSpan<T>(name: string, options: SpanOptions, work: () => Promise<T>): Promise<T> {
  const span = beginSpan(name, options);
  if (span === undefined) return work();
  try {
    const result = await within(span, work);
    endSpan(span);
    return result;
  } catch (error) {
    endSpan(span, error ?? 'fault');
    throw error;
  }
}

/** A child of the active span for what is over: from one instant of the monotonic clock to another. */
export function pastSpan(name: string, fromMs: number, toMs: number): void {
  beginSpan(name, { startMs: fromMs })?.end(toMs);
}

/** Something that happened within the active span. */
export function noteInSpan(name: string, attributes: Attributes): void {
  if (tracer !== undefined) trace.getActiveSpan()?.addEvent(name, attributes);
}

/** True within a span that somebody will see. */
export const isRecording = (): boolean =>
  tracer !== undefined && trace.getActiveSpan()?.isRecording() === true;

/** `run`, called later in whatever context, runs in the present one. */
export function inThisContext<F>(run: F): F {
  return context.bind(context.active(), run);
}

/** Spans that are recorded, as links; as many as a span may have. */
export function linksTo(spans: readonly (Span | undefined)[]): Link[] {
  return spans
    .flatMap(span => (span?.isRecording() ? [{ context: span.spanContext() }] : []))
    .slice(0, MAX_LINKS);
}
const MAX_LINKS = 128;

/** The context in which `span` is active; the root without one. */
export const contextOf = (span: Span | undefined): Context =>
  span === undefined ? ROOT_CONTEXT : trace.setSpan(ROOT_CONTEXT, span);

/** Traces that nodes begin and want to be seen, of all nodes together: a liar must not fill the collector. */
const MAX_BEGUN_A_SECOND = 20;
let second = 0;
let begun = 0;

/**
 * The trace that a node began (W3C Trace Context, `traceparent`); the root when there is none or the text is none. Past
 * a bound its wish to be seen is not heard, and the sampler here decides as for all others.
 */
export function contextOfNode(traceparent: string | undefined, nowMs: number): Context {
  if (tracer === undefined || traceparent === undefined) return ROOT_CONTEXT;
  const found = propagation.extract(ROOT_CONTEXT, { traceparent });
  const parent = trace.getSpanContext(found);
  if (parent === undefined || (parent.traceFlags & TraceFlags.SAMPLED) === 0) return ROOT_CONTEXT;
  const now = Math.floor(nowMs / 1000);
  if (now !== second) {
    second = now;
    begun = 0;
  }
  begun += 1;
  return begun > MAX_BEGUN_A_SECOND ? ROOT_CONTEXT : found;
}
