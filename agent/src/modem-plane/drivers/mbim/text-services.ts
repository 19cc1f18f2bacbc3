/**
 * The SMS and USSD services as rows (USB-IF MBIM 1.0, parts 10.6 and 10.7). Messages are read and deleted, never
 * sent. What a PDU says is `../../sms/pdu.ts`.
 */
import { type Command, command } from './command';
import { type InfoReader, InfoWriter } from './layout';
import { CIDS, SERVICES } from './services';

const at = (name: string, service: string, cid: number) => ({ name, service, cid });

const FORMAT_PDU = 0;
/** A full SIM is slow to read. */
const READ_DEADLINE_MS = 30_000;

const MESSAGE_STATES = ['new', 'old', 'draft', 'sent'] as const;

export interface StoredMessage {
  index: number;
  state: (typeof MESSAGE_STATES)[number] | 'unknown';
  /** With its service centre part. */
  pdu: Buffer;
}

/** Which messages: all, or the one at an index. */
export type MessageChoice = { all: true } | { index: number };

const FLAG_ALL = 0;
const FLAG_INDEX = 1;

function writeChoice(writer: InfoWriter, choice: MessageChoice): InfoWriter {
  return 'all' in choice ? writer.u32(FLAG_ALL).u32(0) : writer.u32(FLAG_INDEX).u32(choice.index);
}

export function readMessages(reader: InfoReader): StoredMessage[] {
  const format = reader.u32('format');
  const count = reader.u32('message count');
  // CDMA records have another layout; no modem that this agent drives has them.
  if (format !== FORMAT_PDU) return [];
  return reader.structures('message', count).map(record => ({
    index: record.u32('index'),
    state: MESSAGE_STATES[record.u32('status')] ?? 'unknown',
    pdu: record.bytes('PDU'),
  }));
}

export const smsRead: Command<MessageChoice, StoredMessage[]> = command(
  { ...at('message list', SERVICES.sms, CIDS.smsRead), deadlineMs: READ_DEADLINE_MS },
  'query',
  {
    write: choice => writeChoice(new InfoWriter().u32(FORMAT_PDU), choice).finish(),
    read: readMessages,
  },
);

export const smsDelete: Command<MessageChoice, void> = command(
  at('message deletion', SERVICES.sms, CIDS.smsDelete),
  'set',
  { write: choice => writeChoice(new InfoWriter(), choice).finish(), read: () => undefined },
);

export interface SmsConfiguration {
  initialized: boolean;
  pduFormat: boolean;
  maxMessages: number;
}

export const smsConfiguration: Command<void, SmsConfiguration> = command(
  at('message configuration', SERVICES.sms, CIDS.smsConfiguration),
  'query',
  {
    write: () => Buffer.alloc(0),
    read: reader => {
      const initialized = reader.u32('storage state') === 1;
      const pduFormat = reader.u32('format') === FORMAT_PDU;
      const maxMessages = reader.u32('size');
      reader.u32('CDMA size');
      reader.string('service centre');
      return { initialized, pduFormat, maxMessages };
    },
  },
);

const USSD_ACTIONS = { initiate: 0, continue: 1, cancel: 2 } as const;
const USSD_RESPONSES = [
  'done',
  'action-required',
  'terminated',
  'other-client',
  'unsupported',
  'network-timeout',
] as const;
/** GSM 7-bit packed, language unspecified (3GPP TS 23.038 part 5). */
export const USSD_CODING_GSM7 = 0x0f;

export interface UssdReply {
  response: (typeof USSD_RESPONSES)[number] | 'unknown';
  coding: number;
  payload: Buffer;
}

export function readUssd(reader: InfoReader): UssdReply {
  const response = USSD_RESPONSES[reader.u32('response')] ?? 'unknown';
  reader.u32('session state');
  return { response, coding: reader.u32('data coding'), payload: reader.bytes('payload') };
}

export interface UssdRequest {
  action: keyof typeof USSD_ACTIONS;
  /** Packed GSM 7-bit; empty to cancel. */
  payload: Buffer;
}

/** The reply only says that the request went out; the text comes as an indication. */
export const ussd: Command<UssdRequest, UssdReply> = command(
  { ...at('USSD', SERVICES.ussd, CIDS.ussd), deadlineMs: READ_DEADLINE_MS },
  'set',
  {
    write: ({ action, payload }) =>
      new InfoWriter().u32(USSD_ACTIONS[action]).u32(USSD_CODING_GSM7).bytes(payload).finish(),
    read: readUssd,
  },
);
