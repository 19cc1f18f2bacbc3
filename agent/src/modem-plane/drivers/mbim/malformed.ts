/** The one refusal of everything in this folder that reads bytes: `mbim/malformed`, with what was wrong and where. */
import { CodedError } from '@mastline/shared/base/coded-error';

export function malformed(why: string): CodedError {
  return new CodedError('mbim/malformed', why, {
    userMessage: `The modem sent an MBIM message that makes no sense (${why}). Its firmware may be damaged or unknown to us.`,
  });
}
