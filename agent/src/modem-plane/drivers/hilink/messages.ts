/** Short messages and USSD of the stick's own SIM: reading, deleting, and one question to the carrier. */
import type { Clock } from '@mastline/shared/base/clock';
import type { Outcome, ShortMessage } from '../../driver';
import type { HilinkClient } from './client';
import { closed } from './data-connection';
import { failed } from './errors';
import { messagesOf, numberIn } from './readings';
import { textOf } from './xml';

/** More on one page is refused by most firmware. */
const PAGE = 20;
/** A stick holds 500. */
const MAX_PAGES = 25;
const INBOX = 1;
const USSD_POLL_MS = 1000;
const USSD_DEADLINE_MS = 60_000;

/** All messages of the inbox, newest first. */
export async function readMessages(client: HilinkClient): Promise<Outcome<ShortMessage[]>> {
  const all: ShortMessage[] = [];
  for (let page = 1; page <= MAX_PAGES; page += 1) {
    const reply = await client.post('sms/sms-list', [
      ['PageIndex', page],
      ['ReadCount', PAGE],
      ['BoxType', INBOX],
      ['SortType', 0],
      ['Ascending', 0],
      ['UnreadPreferred', 0],
    ]);
    if (!reply.ok) return reply;
    const found = messagesOf(reply.value);
    all.push(...found);
    // `Count` is of this page with some firmware and of the box with other.
    if (found.length < PAGE) break;
  }
  return { ok: true, value: all };
}

export async function deleteMessage(client: HilinkClient, index: string): Promise<Outcome<void>> {
  if (!/^\d{1,9}$/.test(index))
    return failed('failed', 'hilink/sms-index', 'index: must be a number that messages() gave');
  const done = await client.post('sms/delete-sms', [['Index', index]]);
  return done.ok ? { ok: true, value: undefined } : done;
}

/** Asks `code` of the carrier and waits for the text; the dialogue is ended afterwards, whatever came. */
export async function askUssd(client: HilinkClient, clock: Clock, code: string): Promise<Outcome<string>> {
  if (!/^[*#0-9]{1,40}$/.test(code))
    return failed('failed', 'hilink/ussd-code', 'a USSD code has 1 to 40 of the characters *, # and 0 to 9');
  const switches = await client.get('global/module-switch');
  if (!switches.ok && switches.fault.kind === 'unreachable') return switches;
  // Firmware without the list of switches may have USSD all the same.
  if (switches.ok && textOf(switches.value, 'ussd_enabled') === '0')
    return failed('unsupported', 'hilink/ussd-off', 'this stick has USSD switched off');
  const sent = await client.post('ussd/send', [
    ['content', code],
    ['codeType', 'CodeType'],
    ['timeout', ''],
  ]);
  if (!sent.ok) return sent;
  const answer = await waitForUssd(client, clock);
  const released = await client.get('ussd/release');
  // The text is here; a dialogue that does not close makes the next request fail, and that one will say so.
  return answer.ok || released.ok || released.fault.kind !== 'unreachable' ? answer : released;
}

async function waitForUssd(client: HilinkClient, clock: Clock): Promise<Outcome<string>> {
  const begun = clock.monotonicMs();
  for (;;) {
    const status = await client.get('ussd/status');
    if (!status.ok && status.fault.kind !== 'busy') return status;
    if (status.ok && numberIn(status.value, 'result') === 0) break;
    if (clock.monotonicMs() - begun >= USSD_DEADLINE_MS)
      return failed('failed', 'hilink/ussd-timeout', `no USSD answer within ${USSD_DEADLINE_MS / 1000} s`);
    if (!(await client.pause(USSD_POLL_MS))) return closed();
  }
  const got = await client.get('ussd/get');
  if (!got.ok) return got;
  const text = textOf(got.value, 'content');
  return text === undefined
    ? failed('failed', 'hilink/bad-reply', 'ussd/get: an answer without content')
    : { ok: true, value: text };
}
