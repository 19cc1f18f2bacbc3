/**
 * The agent's log: JSON lines on stderr, one child per part, secrets struck out by the name of their field. Not a
 * metric and not an audit trail. Parts take a `Log`, so that tests can look at what was said.
 */
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import pino from 'pino';

export type LogLevel = 'debug' | 'info' | 'warn' | 'error';
export type LogFields = Record<string, unknown>;

export interface Log {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A log of one part: `log.child('link')`. Fields given here stand on each of its lines. */
  child(part: string, fields?: LogFields): Log;
}

export interface LogOptions {
  level: LogLevel;
  /** Where lines go (each ends in a newline); stderr when left out. */
  write?: (line: string) => void;
}

/** Names of fields that hold secrets, whole or as part of a longer name. */
const SECRET_NAME =
  /secret|passw|authorization|signature|claim.?code|private.?key|verifier|token|cookie|nonce|^payload$/i;
const MAX_DEPTH = 6;
const STRUCK_OUT = '***';

/** A log that writes at `level` and above. */
export function createLog(options: LogOptions): Log {
  const settings: pino.LoggerOptions = {
    level: options.level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: label => ({ level: label }) },
  };
  const target: pino.DestinationStream = options.write
    ? { write: options.write }
    : pino.destination({ dest: 2, sync: true });
  return wrap(pino(settings, target), 'agent');
}

/** Says nothing. For parts of tests that are not about the log. */
export const quietLog: Log = {
  debug: () => {},
  info: () => {},
  warn: () => {},
  error: () => {},
  child: () => quietLog,
};

function wrap(inner: pino.Logger, part: string, standing: LogFields = {}): Log {
  const say = (level: LogLevel) => (message: string, fields?: LogFields) => {
    if (!inner.isLevelEnabled(level)) return;
    inner[level]({ part, ...safeFields({ ...standing, ...fields }) }, message);
  };
  return {
    debug: say('debug'),
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
    child: (child, fields) => wrap(inner, child, { ...standing, ...fields }),
  };
}

/** The same fields with secrets struck out and errors made readable. */
export function safeFields(fields: LogFields): LogFields {
  return safe(fields, 0, new Set()) as LogFields;
}

function safe(value: unknown, depth: number, above: Set<object>): unknown {
  if (value instanceof Error) {
    const code = codeOf(value);
    return { ...(code === undefined ? {} : { code }), message: messageOf(value), stack: value.stack };
  }
  if (typeof value === 'bigint') return value.toString();
  if (typeof value !== 'object' || value === null) return value;
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (depth >= MAX_DEPTH || above.has(value)) return '[…]';
  above.add(value);
  const seen = Array.isArray(value)
    ? value.map(item => safe(item, depth + 1, above))
    : Object.fromEntries(
        Object.entries(value).map(([name, item]) => [
          name,
          SECRET_NAME.test(name) && item !== null && item !== undefined
            ? STRUCK_OUT
            : safe(item, depth + 1, above),
        ]),
      );
  above.delete(value);
  return seen;
}
