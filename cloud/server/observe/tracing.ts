/**
 * Sends traces to an OpenTelemetry collector by OTLP over HTTP, when the environment names one
 * (OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT); the other standard variables hold too: headers,
 * OTEL_SERVICE_NAME, OTEL_TRACES_SAMPLER and its _ARG, OTEL_BSP_*. Without it the SDK is not loaded. One a process.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import { context, DiagLogLevel, diag, propagation, trace } from '@opentelemetry/api';
import type { Log } from '../log';
import { setTracer } from './spans';

/** What is left when the process stops is sent within this time, or dropped. */
const LAST_EXPORT_MS = 700;
/** A collector that is away is told of so often. */
const COMPLAIN_EVERY_MS = 60_000;

export interface Tracing {
  close(): Promise<void>;
}

/** Null when the environment names no collector. */
export async function startTracing(options: {
  env: Record<string, string | undefined>;
  version: string;
  clock: Clock;
  log: Log;
}): Promise<Tracing | null> {
  const { env, version, clock, log } = options;
  if (!env.OTEL_EXPORTER_OTLP_ENDPOINT && !env.OTEL_EXPORTER_OTLP_TRACES_ENDPOINT) return null;
  if (env.OTEL_SDK_DISABLED?.toLowerCase() === 'true') return null;
  const [sdk, { OTLPTraceExporter }, { defaultResource, resourceFromAttributes }] = await Promise.all([
    import('@opentelemetry/sdk-trace-node'),
    import('@opentelemetry/exporter-trace-otlp-http'),
    import('@opentelemetry/resources'),
  ]);
  complain(log, clock);
  const provider = new sdk.NodeTracerProvider({
    resource: defaultResource().merge(
      resourceFromAttributes({
        'service.name': env.OTEL_SERVICE_NAME ?? 'mastline-cloud',
        'service.version': version,
      }),
    ),
    spanProcessors: [new sdk.BatchSpanProcessor(new OTLPTraceExporter())],
  });
  provider.register();
  setTracer(provider.getTracer('mastline-cloud', version));
  log.info('traces are sent to the collector that the environment names');
  return {
    async close() {
      setTracer(undefined);
      try {
        await withDeadline(provider.shutdown(), LAST_EXPORT_MS, 'sending the last traces', clock);
      } catch (error) {
        log.warn({ err: messageOf(error) }, 'the last traces were not sent');
      }
      trace.disable();
      context.disable();
      propagation.disable();
      diag.disable();
    },
  };
}

/** What the SDK has to say of its exports, at most once a minute; its own words may quote headers. */
function complain(log: Log, clock: Clock): void {
  let said = Number.NEGATIVE_INFINITY;
  const quiet = () => undefined;
  diag.setLogger(
    {
      error(_message, ...rest) {
        const now = clock.monotonicMs();
        if (now - said < COMPLAIN_EVERY_MS) return;
        said = now;
        log.warn({ code: rest.map(codeOf).find(code => code !== undefined) }, 'traces could not be sent');
      },
      warn: quiet,
      info: quiet,
      debug: quiet,
      verbose: quiet,
    },
    DiagLogLevel.ERROR,
  );
}
