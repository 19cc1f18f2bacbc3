/**
 * Reads and deletes the messages a SIM has received, for balance and notices of its own carrier. Asks in PDU form; a
 * modem that only has text form is asked for it in UCS2, so that every letter survives. One that cannot be read is shown
 * as such, not left out. What a PDU says and how parts are joined is ../../sms. Nothing is ever sent.
 */
import { messageOf } from '@mastline/shared/base/coded-error';
import type { Outcome, ShortMessage } from '../../driver';
import { joinParts, partIndexes, type ReceivedPart } from '../../sms/join-parts';
import { instantOf } from '../../sms/network-time';
import { MAX_PDU_BYTES, readStoredPdu } from '../../sms/pdu';
import { readUcs2Hex } from '../../sms/ucs2';
import * as commands from './commands';
import { allFieldsNamed, fieldsOf, wholeOf } from './fields';
import { type AtTalk, fault } from './session';

const HEX = /^([0-9A-F]{2})+$/i;

export async function readMessages(talk: AtTalk): Promise<Outcome<ShortMessage[]>> {
  const form = await chooseForm(talk);
  if (!form.ok) return form;
  const listed = await (form.value === 'text' ? listAsText(talk) : talk.ask(commands.allMessages));
  if (!listed.ok) return listed;
  const stored = listed.value.flatMap(line => {
    const message = form.value === 'text' ? readTextEntry(line) : readPduEntry(line);
    return message ?? [];
  });
  return { ok: true, value: joinParts(stored) };
}

/** Deletes every part of the message that `readMessages` gave this index. */
export async function deleteMessages(talk: AtTalk, index: string): Promise<Outcome<true>> {
  const parts = partIndexes(index);
  if (!parts.every(part => /^\d{1,5}$/.test(part)))
    return fault('failed', 'bad-index', `"${index}" is not an index that messages() gave`);
  const store = await useStore(talk);
  if (!store.ok) return store;
  for (const part of parts) {
    const deleted = await talk.ask(commands.deleteMessage(Number(part)));
    if (!deleted.ok) return deleted;
  }
  return { ok: true, value: true };
}

async function chooseForm(talk: AtTalk): Promise<Outcome<'pdu' | 'text'>> {
  const store = await useStore(talk);
  if (!store.ok) return store;
  const pdu = await talk.ask(commands.messageForm(false));
  if (pdu.ok) return { ok: true, value: 'pdu' };
  if (pdu.fault.kind === 'unreachable' || pdu.fault.kind === 'locked' || pdu.fault.kind === 'busy')
    return pdu;
  const text = await talk.ask(commands.messageForm(true));
  return text.ok ? { ok: true, value: 'text' } : text;
}

async function listAsText(talk: AtTalk): Promise<Outcome<string[]>> {
  const listed = await talk.ask(commands.allTextMessages);
  if (listed.ok) return listed;
  // A failure in the middle leaves the modem with the other letters.
  const restored = await talk.ask(commands.plainLetters);
  if (!restored.ok) talk.log.warn('the modem keeps writing in UCS2', { fault: restored.fault.code });
  return listed;
}

async function useStore(talk: AtTalk): Promise<Outcome<true>> {
  const { smsStore } = talk.profile.at;
  return smsStore === null ? { ok: true, value: true } : talk.ask(commands.messageStore(smsStore));
}

/** `+CMGL: 3,0,,24` and its PDU. Null for what was sent or written here, and for what is no entry at all. */
function readPduEntry(line: string): ReceivedPart | null {
  const [, body] = line.split('\n');
  const fields = allFieldsNamed([line], '+CMGL')[0];
  const at = wholeOf(fields?.[0]);
  const status = wholeOf(fields?.[1]);
  if (at === null || (status !== 0 && status !== 1) || body === undefined) return null;
  const known = { index: String(at), unread: status === 0 };
  if (!HEX.test(body) || body.length > 2 * MAX_PDU_BYTES)
    return unreadable(known, 'its PDU is not hexadecimal');
  try {
    const pdu = readStoredPdu(Buffer.from(body, 'hex'));
    if (pdu.kind === 'other') return null;
    const { sender, sentAtMs, text, part } = pdu;
    return { ...known, sender, receivedAt: sentAtMs, text, part };
  } catch (error) {
    return unreadable(known, messageOf(error));
  }
}

function unreadable(known: { index: string; unread: boolean }, why: string): ReceivedPart {
  return { ...known, sender: '', receivedAt: null, text: `[unreadable: ${why}]`, part: null };
}

/** `+CMGL: 3,"REC UNREAD","002B…",,"24/01/31,10:20:30+12"` and its text, number and text in hexadecimal UCS2. */
function readTextEntry(line: string): ReceivedPart | null {
  const [head = '', body = ''] = line.split('\n');
  const [index, status, sender = '', , time = ''] = fieldsOf(head.replace(/^\+CMGL:\s*/, ''));
  const at = wholeOf(index);
  if (at === null || !status?.startsWith('REC')) return null;
  return {
    index: String(at),
    unread: status === 'REC UNREAD',
    sender: readUcs2Hex(sender) ?? sender,
    text: readUcs2Hex(body) ?? body,
    receivedAt: readTime(time),
    part: null,
  };
}

/** `24/01/31,10:20:30+12`, the zone in quarters of an hour. */
function readTime(text: string): number | null {
  const found = /^(\d\d)\/(\d\d)\/(\d\d),(\d\d):(\d\d):(\d\d)([+-]\d\d)$/.exec(text);
  if (!found) return null;
  const [year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, quarters = 0] = found
    .slice(1)
    .map(Number);
  return instantOf({ year, month, day, hour, minute, second, quarters });
}
