/**
 * One USSD code and its answer. The reply to the request only confirms it; the network's text comes as an indication, up to
 * two minutes later. A menu that waits for a choice is cancelled after its text was read: this agent makes none.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import type { Outcome } from '../../driver';
import { packUssd, unpackUssd } from '../../sms/gsm7';
import { alphabetOf } from '../../sms/pdu';
import { readUcs2 } from '../../sms/ucs2';
import { type Ask, done, failed } from './ask';
import type { IndicationHub } from './indication-hub';
import { type UssdReply, ussd } from './text-services';

const ANSWER_DEADLINE_MS = 120_000;
/** Longest USSD string, 3GPP TS 23.038 part 5: 160 octets hold 182 letters. */
const MAX_CODE_LETTERS = 182;

export async function askUssd(ask: Ask, hub: IndicationHub, code: string): Promise<Outcome<string>> {
  const payload = code.length > MAX_CODE_LETTERS || code === '' ? null : packUssd(code);
  if (payload === null)
    return failed({
      kind: 'failed',
      code: 'mbim/ussd-code',
      message: `a USSD code has 1 to ${MAX_CODE_LETTERS} letters of the GSM alphabet, like *100#`,
    });
  const answer = hub.await({
    what: 'USSD answer',
    deadlineMs: ANSWER_DEADLINE_MS,
    pick: indication => (indication.kind === 'ussd' ? indication.reply : undefined),
  });
  const sent = await ask(ussd, { action: 'initiate', payload });
  if (!sent.ok) {
    answer.cancel();
    return sent;
  }
  // Some firmware puts the text into the reply itself.
  const inReply = sent.value.payload.length > 0 || isRefusal(sent.value);
  if (inReply) answer.cancel();
  const last = inReply ? sent : await answer.result;
  const open = last.ok ? last.value.response === 'action-required' : true;
  // Else the network keeps the dialogue open, and the next code is refused.
  const cancelled = open ? await ask(ussd, { action: 'cancel', payload: Buffer.alloc(0) }) : undefined;
  if (!last.ok) return last;
  const text = readAnswer(last.value);
  // The text is here; a dialogue that does not close makes the next request fail, and that one will say so.
  return text.ok || cancelled === undefined || cancelled.ok ? text : cancelled;
}

function isRefusal(reply: UssdReply): boolean {
  return ['terminated', 'other-client', 'unsupported', 'network-timeout'].includes(reply.response);
}

function readAnswer(reply: UssdReply): Outcome<string> {
  switch (reply.response) {
    case 'done':
    case 'action-required':
      return readText(reply);
    case 'terminated':
      // The last words of a dialogue may come with its end.
      return reply.payload.length > 0 ? readText(reply) : refused('the network ended the dialogue');
    case 'other-client':
      return refused('another program of this modem has answered');
    case 'unsupported':
      return failed({
        kind: 'unsupported',
        code: 'mbim/ussd-unsupported',
        message: 'USSD: the network does not support it here',
      });
    case 'network-timeout':
      return refused('the network did not answer in time');
    case 'unknown':
      return refused('the modem gave an answer that MBIM does not define');
  }
}

function readText(reply: UssdReply): Outcome<string> {
  try {
    return done(ussdText(reply.coding, reply.payload));
  } catch (error) {
    if (error instanceof CodedError)
      return failed({ kind: 'failed', code: error.code, message: error.message });
    throw error;
  }
}

const WITH_LANGUAGE_GSM7 = 0x10;
const WITH_LANGUAGE_UCS2 = 0x11;

/** Text of a cell broadcast data coding octet (3GPP TS 23.038 part 5). */
export function ussdText(coding: number, payload: Buffer): string {
  // Two letters of the language and a line end come first, in the alphabet of the text.
  if (coding === WITH_LANGUAGE_GSM7) return unpackUssd(payload).slice(3);
  if (coding === WITH_LANGUAGE_UCS2) return readUcs2(payload.subarray(2));
  const group = coding >> 4;
  const general = group >= 0x4 && group <= 0x7;
  const alphabet = general
    ? alphabetOf(coding)
    : group === 0xf
      ? (coding & 0x04) === 0
        ? 'gsm7'
        : 'binary'
      : 'gsm7';
  if (alphabet === 'ucs2') return readUcs2(payload);
  if (alphabet === 'binary')
    throw new CodedError('mbim/ussd-binary', `USSD: an answer of ${payload.length} bytes that are no text`);
  return unpackUssd(payload);
}

function refused(why: string): Outcome<never> {
  return failed({ kind: 'failed', code: 'mbim/ussd-refused', message: `USSD: ${why}` });
}
