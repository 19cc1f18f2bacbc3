/**
 * One USSD question to the SIM's own carrier (TS 27.007 7.15): the modem takes the code at once and the answer comes
 * by itself up to two minutes later. A menu's first page is the answer; the session is then ended, since nobody here
 * would choose from it.
 */
import type { Timer } from '@mastline/shared/base/clock';
import type { Outcome } from '../../driver';
import { packUssd } from '../../sms/gsm7';
import * as commands from './commands';
import { readUssd, type UssdAnswer } from './replies';
import { type AtTalk, fault } from './session';

const DONE = 0;
const WANTS_ANSWER = 1;
const ENDED = 2;

export async function askUssd(talk: AtTalk, code: string): Promise<Outcome<string>> {
  const { ussd } = talk.profile.at;
  if (ussd === 'none') return fault('unsupported', 'no-ussd', 'this model has no USSD');
  if (!/^[0-9*#+]{1,40}$/.test(code))
    return fault('failed', 'bad-code', 'a USSD code has up to 40 digits, stars and hashes');
  const packed = ussd === 'packed';
  const waiting = nextAnswer(talk, packed);
  try {
    const sent = await talk.ask(commands.sendUssd(packed ? (packedHex(code) ?? code) : code));
    if (!sent.ok) return sent;
    const answer = await waiting.answer;
    if (answer === null) {
      await endSession(talk);
      return fault(
        'failed',
        'ussd-timeout',
        `the network did not answer ${code} within ${commands.USSD_ANSWER_MS / 1000} s`,
      );
    }
    return await understand(talk, answer);
  } finally {
    waiting.stop();
  }
}

async function understand(talk: AtTalk, answer: UssdAnswer): Promise<Outcome<string>> {
  if (answer.status === WANTS_ANSWER) await endSession(talk);
  switch (answer.status) {
    case DONE:
    case WANTS_ANSWER:
      return { ok: true, value: answer.text };
    case ENDED:
      // Some networks end the session together with their answer.
      return answer.text === ''
        ? fault('failed', 'ussd-2', 'the network ended the session without an answer')
        : { ok: true, value: answer.text };
    case 4:
      return fault('unsupported', 'ussd-4', 'the network does not support this code');
    default:
      return fault('failed', `ussd-${answer.status}`, 'the network did not answer the code');
  }
}

async function endSession(talk: AtTalk): Promise<void> {
  const ended = await talk.ask(commands.endUssd);
  if (!ended.ok) talk.log.debug('the USSD session could not be ended', { fault: ended.fault.code });
}

/** Listens from now on, since the answer may overtake the OK; null when none comes in time. */
function nextAnswer(talk: AtTalk, packed: boolean): { answer: Promise<UssdAnswer | null>; stop: () => void } {
  let timer: Timer | undefined;
  let stopListening = () => {};
  const answer = new Promise<UssdAnswer | null>(resolve => {
    timer = talk.clock.after(commands.USSD_ANSWER_MS, () => resolve(null));
    stopListening = talk.listen(urc => {
      const read = urc.name === '+CUSD' ? readUssd(urc.rest, packed) : null;
      if (read) resolve(read);
    });
  });
  return {
    answer,
    stop: () => {
      timer?.cancel();
      stopListening();
    },
  };
}

/** As Huawei sticks want it; null when a letter is not in the alphabet. */
function packedHex(code: string): string | null {
  return packUssd(code)?.toString('hex').toUpperCase() ?? null;
}
