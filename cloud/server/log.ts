/** Structured logs on stderr; stdout is for the one line that says the server is ready. */
import { type Logger, pino } from 'pino';

export type Log = Logger;

/** Fields that are never printed, wherever a log line carries them. */
const REDACTED = [
  'password',
  'secret',
  'claimCode',
  'authorization',
  'cookie',
  '*.password',
  '*.secret',
  '*.claimCode',
  '*.authorization',
  '*.cookie',
  'req.headers.authorization',
  'req.headers.cookie',
  'res.headers["set-cookie"]',
];

export function createLog(level: string): Log {
  return pino({ level, base: null, redact: { paths: REDACTED, censor: '***' } }, pino.destination(2));
}
