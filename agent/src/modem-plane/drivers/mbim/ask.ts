/**
 * A command's answer as an outcome of the driver contract: refusals and faults of the session become values here, and
 * nowhere else. What is no CodedError is a mistake of ours and goes on as it is.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import type { DriverFault, Outcome } from '../../driver';
import type { Command } from './command';
import type { MbimSession, Reply } from './session';
import { statusFault } from './status';

export type Ask = <Q, R>(command: Command<Q, R>, input: Q) => Promise<Outcome<R>>;

export function askOver(session: MbimSession): Ask {
  return async (command, input) => {
    const reply = await rawReply(session, command, input);
    if (!reply.ok) return reply;
    return reply.value.state === 'done'
      ? done(reply.value.value)
      : failed(statusFault(command.name, reply.value.status));
  };
}

/** For callers that read more than the status out of a refusal. */
export async function rawReply<Q, R>(
  session: MbimSession,
  command: Command<Q, R>,
  input: Q,
): Promise<Outcome<Reply<R>>> {
  try {
    return done(await session.run(command, input));
  } catch (error) {
    if (error instanceof CodedError) return failed(sessionFault(error));
    throw error;
  }
}

/** What a fault of the session means for the one who asked. */
export function sessionFault(error: CodedError): DriverFault {
  const { code, message } = error;
  switch (code) {
    case 'mbim/timeout':
    case 'mbim/gone':
    case 'mbim/closed':
    case 'mbim/open-failed':
    case 'mbim/write-stuck':
      return { kind: 'unreachable', code, message };
    case 'mbim/queue-full':
      return { kind: 'busy', code, message };
    default:
      return { kind: 'failed', code, message };
  }
}

export function done<T>(value: T): { ok: true; value: T } {
  return { ok: true, value };
}

export function failed(fault: DriverFault): { ok: false; fault: DriverFault } {
  return { ok: false, fault };
}

export function unsupported(what: string): { ok: false; fault: DriverFault } {
  return failed({ kind: 'unsupported', code: 'mbim/unsupported', message: `this modem has no ${what}` });
}
