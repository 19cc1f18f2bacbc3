/** What the numbers mean that bare handles (tcp-handle.ts) answer with. */
import { getSystemErrorName } from 'node:util';

/** libuv's number for "the other side has ended"; it is no error of the system. */
export const UV_EOF = -4095;

/** An error with its code, from a negative errno or a code. */
export function errorOf(status: number | string): Error {
  const code = typeof status === 'string' ? status : codeOfStatus(status);
  return Object.assign(new Error(code), { code });
}

/** The system's name of a negative errno: `ECONNREFUSED`. */
export function codeOfStatus(status: number): string {
  return status === UV_EOF ? 'EOF' : getSystemErrorName(status);
}
