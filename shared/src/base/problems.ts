/** Turns a failed zod parse into a list a person can act on: one line a field, all fields at once, no values. */
import type { ZodError, ZodType } from 'zod';
import { CodedError } from './coded-error';

/** `endpoints[0].listen.port: must be at most 65535` for every issue. Values are left out: they may be secrets. */
export function problemsOf(error: ZodError): string[] {
  return error.issues.map(issue => {
    const path = issue.path.reduce<string>(
      (text, part) =>
        typeof part === 'number'
          ? `${text}[${part}]`
          : text === ''
            ? String(part)
            : `${text}.${String(part)}`,
      '',
    );
    return `${path === '' ? '(top level)' : path}: ${issue.message}`;
  });
}

/** Parses `value` with `schema`; on failure throws a CodedError whose user message lists every problem. */
export function parseOrExplain<T>(
  schema: ZodType<T>,
  value: unknown,
  what: string,
  code = 'input/invalid',
): T {
  const parsed = schema.safeParse(value);
  if (parsed.success) return parsed.data;
  const lines = problemsOf(parsed.error);
  throw new CodedError(code, `${what} is not valid: ${lines.join('; ')}`, {
    userMessage: `${what} is not valid:\n${lines.map(line => `  - ${line}`).join('\n')}`,
  });
}
