/** How much is logged: LOG_LEVEL from the environment, `info` when it is not set. */
import { CodedError } from '@mastline/shared/base/coded-error';
import type { LogLevel } from './log';

const LEVELS: readonly LogLevel[] = ['debug', 'info', 'warn', 'error'];

/** Throws `config/log-level` with the valid names when the variable holds something else. */
export function logLevel(env: NodeJS.ProcessEnv = process.env): LogLevel {
  const wanted = env.LOG_LEVEL ?? 'info';
  const level = LEVELS.find(one => one === wanted);
  if (level) return level;
  throw new CodedError('config/log-level', `LOG_LEVEL must be one of ${LEVELS.join(', ')}, not "${wanted}"`);
}
