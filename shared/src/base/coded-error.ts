/**
 * The one error class that crosses a boundary: a stable `code` for programs, a `message` for the log and,
 * separately, a `userMessage` for people that says what to do. Expected outcomes (refused, over quota, not yet
 * enough bytes) are tagged unions, not errors.
 */
export class CodedError extends Error {
  readonly code: string;
  /** Fit for a person to read: names the thing and the remedy, never a secret. */
  readonly userMessage: string;
  /** True when the same call may succeed later without anyone changing anything. */
  readonly retryable: boolean;

  constructor(
    code: string,
    message: string,
    options: {
      userMessage?: string;
      retryable?: boolean;
      cause?: unknown;
    } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.name = 'CodedError';
    this.code = code;
    this.userMessage = options.userMessage ?? message;
    this.retryable = options.retryable ?? false;
  }
}

/** The `code` of a Node system error (`EADDRINUSE`, `ENOENT`) or of a CodedError; undefined for anything else. */
export function codeOf(error: unknown): string | undefined {
  if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
  return typeof error.code === 'string' ? error.code : undefined;
}

/** The message of anything thrown, for a log line. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
