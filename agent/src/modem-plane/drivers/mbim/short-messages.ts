/** Reads and deletes the messages on SIM and modem. One that cannot be read is shown as such, not left out. */
import { messageOf } from '@mastline/shared/base/coded-error';
import type { Outcome, ShortMessage } from '../../driver';
import { joinParts, partIndexes, type ReceivedPart } from '../../sms/join-parts';
import { readStoredPdu } from '../../sms/pdu';
import { type Ask, done, failed } from './ask';
import { type StoredMessage, smsDelete, smsRead } from './text-services';

export async function listMessages(ask: Ask): Promise<Outcome<ShortMessage[]>> {
  const stored = await ask(smsRead, { all: true });
  if (!stored.ok) return stored;
  return done(joinParts(stored.value.flatMap(received)));
}

/** Deletes all parts of a long message; the first refusal ends it. */
export async function removeMessage(ask: Ask, index: string): Promise<Outcome<void>> {
  for (const part of partIndexes(index)) {
    if (!/^\d{1,9}$/.test(part))
      return failed({
        kind: 'failed',
        code: 'mbim/message-index',
        message: `"${index}" is not the index of a message: take it from the list`,
      });
    const deleted = await ask(smsDelete, { index: Number(part) });
    if (!deleted.ok) return deleted;
  }
  return done(undefined);
}

/** Nothing for what was written on the modem itself and for delivery reports. */
function received(message: StoredMessage): ReceivedPart[] {
  if (message.state === 'draft' || message.state === 'sent') return [];
  const index = String(message.index);
  const unread = message.state === 'new';
  try {
    const pdu = readStoredPdu(message.pdu);
    if (pdu.kind === 'other') return [];
    const { sender, sentAtMs, text, part } = pdu;
    return [{ index, sender, receivedAt: sentAtMs, text, unread, part }];
  } catch (error) {
    const text = `[unreadable: ${messageOf(error)}]`;
    return [{ index, sender: '', receivedAt: null, text, unread, part: null }];
  }
}
