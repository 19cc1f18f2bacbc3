/**
 * Reads and deletes the messages a SIM has received, for balance and notices of its own carrier. Asks in PDU form; a
 * modem that only has text form is asked for it in UCS2, so that every letter survives. Parts of a long message are
 * put together when all are there. Nothing is ever sent.
 */
import type { Outcome, ShortMessage } from '../../driver';
import * as commands from './commands';
import { allFieldsNamed, fieldsOf, wholeOf } from './fields';
import { decodeUcs2Hex } from './gsm-text';
import { type AtTalk, fault } from './session';
import { type DeliveredMessage, instantOf, readDeliver } from './sms-pdu';

interface StoredMessage extends DeliveredMessage {
  index: number;
  unread: boolean;
}

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
  if (!/^\d{1,5}(\+\d{1,5})*$/.test(index))
    return fault('failed', 'bad-index', `"${index}" is not an index that messages() gave`);
  const store = await useStore(talk);
  if (!store.ok) return store;
  for (const part of index.split('+')) {
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

/** `+CMGL: 3,0,,24` and its PDU. Null for what was sent or written here, and for what cannot be read. */
function readPduEntry(line: string): StoredMessage | null {
  const [, body] = line.split('\n');
  const fields = allFieldsNamed([line], '+CMGL')[0];
  const index = wholeOf(fields?.[0]);
  const status = wholeOf(fields?.[1]);
  if (index === null || (status !== 0 && status !== 1) || body === undefined) return null;
  const message = readDeliver(body);
  return message === null ? null : { ...message, index, unread: status === 0 };
}

/** `+CMGL: 3,"REC UNREAD","002B…",,"24/01/31,10:20:30+12"` and its text, number and text in hexadecimal UCS2. */
function readTextEntry(line: string): StoredMessage | null {
  const [head = '', body = ''] = line.split('\n');
  const [index, status, sender = '', , time = ''] = fieldsOf(head.replace(/^\+CMGL:\s*/, ''));
  const at = wholeOf(index);
  if (at === null || !status?.startsWith('REC')) return null;
  return {
    index: at,
    unread: status === 'REC UNREAD',
    sender: decodeUcs2Hex(sender) ?? sender,
    text: decodeUcs2Hex(body) ?? body,
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

/** Whole messages and complete sets of parts; parts of an incomplete set stay as they are. Oldest first. */
function joinParts(stored: readonly StoredMessage[]): ShortMessage[] {
  const sets = new Map<string, StoredMessage[]>();
  for (const message of stored) {
    const { part, sender, index } = message;
    const key = part ? `${sender}/${part.reference}/${part.total}` : `alone/${index}`;
    sets.set(key, [...(sets.get(key) ?? []), message]);
  }
  return [...sets.values()]
    .flatMap(parts => (isComplete(parts) ? [asOne(parts)] : parts.map(part => asOne([part]))))
    .sort((a, b) => (a.receivedAt ?? 0) - (b.receivedAt ?? 0));
}

function isComplete(parts: readonly StoredMessage[]): boolean {
  const numbers = new Set(parts.map(message => message.part?.number));
  return parts.length === numbers.size && numbers.size === (parts[0]?.part?.total ?? 1);
}

function asOne(parts: readonly StoredMessage[]): ShortMessage {
  const inOrder = [...parts].sort((a, b) => (a.part?.number ?? 0) - (b.part?.number ?? 0));
  const [first] = inOrder;
  return {
    index: inOrder.map(message => message.index).join('+'),
    sender: first?.sender ?? '',
    receivedAt: first?.receivedAt ?? null,
    text: inOrder.map(message => message.text).join(''),
    unread: inOrder.some(message => message.unread),
  };
}
