/**
 * MBIM 1.0 messages as bytes (USB-IF MBIM 1.0, part 9): headers, message types, fragments. Pure, and for both ends,
 * so that a simulator can stand on it. Cutting a stream into frames is `frame-splitter.ts`, joining fragments is
 * `fragments.ts`, what stands inside the information buffer is `layout.ts` and `messages.ts`.
 *
 * ```
 * frame     type u32 | length u32 (of the whole frame) | transaction u32 | body
 * fragment  body = total u32 | current u32 (from 0) | a piece of the payload
 * command   payload = service uuid 16 | cid u32 | 0 query, 1 set u32 | info length u32 | info
 * done      payload = service uuid 16 | cid u32 | status u32         | info length u32 | info
 * indicate  payload = service uuid 16 | cid u32 | info length u32 | info          (transaction 0)
 * others    body = one u32, or nothing for CLOSE
 * ```
 * All numbers are little-endian but the uuid, which is in text order.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import { malformed } from './malformed';
import { uuidBytes, uuidText } from './uuid';

export const HEADER_BYTES = 12;
export const FRAGMENT_BYTES = 8;
/** Smallest control transfer that can carry a fragment with some payload; the standard's floor is 64. */
export const MIN_CONTROL_TRANSFER = 64;
/** What libmbim assumes where the device does not say. */
export const DEFAULT_CONTROL_TRANSFER = 4096;
/** No device has a larger wMaxControlMessage (it is 16 bits wide). */
export const MAX_FRAME_BYTES = 65_535;
/** Largest message that is put together out of fragments: a full store of 255 messages is a fifth of it. */
export const MAX_MESSAGE_BYTES = 256 * 1024;

export const FRAME_TYPES = {
  open: 0x0000_0001,
  close: 0x0000_0002,
  command: 0x0000_0003,
  'host-error': 0x0000_0004,
  'open-done': 0x8000_0001,
  'close-done': 0x8000_0002,
  'command-done': 0x8000_0003,
  'function-error': 0x8000_0004,
  indication: 0x8000_0007,
} as const;
export type MessageKind = keyof typeof FRAME_TYPES;

const KINDS: ReadonlyMap<number, MessageKind> = new Map(
  Object.entries(FRAME_TYPES).map(([kind, type]) => [type, kind as MessageKind]),
);
const FRAGMENTED: ReadonlySet<MessageKind> = new Set(['command', 'command-done', 'indication']);

export type MbimMessage =
  | { kind: 'open'; transaction: number; maxControlTransfer: number }
  | { kind: 'close'; transaction: number }
  | {
      kind: 'command';
      transaction: number;
      service: string;
      cid: number;
      action: 'query' | 'set';
      info: Buffer;
    }
  | { kind: 'host-error' | 'function-error'; transaction: number; error: number }
  | { kind: 'open-done' | 'close-done'; transaction: number; status: number }
  | {
      kind: 'command-done';
      transaction: number;
      service: string;
      cid: number;
      status: number;
      info: Buffer;
    }
  | { kind: 'indication'; transaction: number; service: string; cid: number; info: Buffer };

/** One frame, its header checked, its body not yet. */
export interface Frame {
  kind: MessageKind;
  transaction: number;
  body: Buffer;
}

export interface Fragment {
  kind: MessageKind;
  transaction: number;
  total: number;
  current: number;
  payload: Buffer;
}

/** What the first twelve bytes promise; undefined when they are not the start of any frame. */
export function readHeader(
  bytes: Buffer,
): { kind: MessageKind; length: number; transaction: number } | undefined {
  if (bytes.length < HEADER_BYTES) return undefined;
  const kind = KINDS.get(bytes.readUInt32LE(0));
  const length = bytes.readUInt32LE(4);
  if (kind === undefined || length > MAX_FRAME_BYTES || length < smallestFrame(kind)) return undefined;
  return { kind, length, transaction: bytes.readUInt32LE(8) };
}

/** Exactly one frame; throws `mbim/malformed`. */
export function readFrame(bytes: Buffer): Frame {
  const header = readHeader(bytes);
  if (header === undefined)
    throw malformed(`no frame begins with ${bytes.subarray(0, HEADER_BYTES).toString('hex')}`);
  if (header.length !== bytes.length)
    throw malformed(`${header.kind} of ${header.length} bytes in a frame of ${bytes.length}`);
  return { kind: header.kind, transaction: header.transaction, body: bytes.subarray(HEADER_BYTES) };
}

/** The fragment in a frame, or undefined for a kind that is never cut. */
export function readFragment(frame: Frame): Fragment | undefined {
  if (!FRAGMENTED.has(frame.kind)) return undefined;
  return {
    kind: frame.kind,
    transaction: frame.transaction,
    total: frame.body.readUInt32LE(0),
    current: frame.body.readUInt32LE(4),
    payload: frame.body.subarray(FRAGMENT_BYTES),
  };
}

/** The message in a frame of a kind that is never cut. */
export function readUncut(frame: Frame): MbimMessage {
  const { kind, transaction } = frame;
  const value = () => frame.body.readUInt32LE(0);
  switch (kind) {
    case 'open':
      return { kind, transaction, maxControlTransfer: value() };
    case 'close':
      return { kind, transaction };
    case 'host-error':
    case 'function-error':
      return { kind, transaction, error: value() };
    case 'open-done':
    case 'close-done':
      return { kind, transaction, status: value() };
    default:
      throw malformed(`${kind} without its fragment header`);
  }
}

/** The message of a whole payload; throws `mbim/malformed` when its lengths disagree. */
export function readPayload(kind: MessageKind, transaction: number, payload: Buffer): MbimMessage {
  const words = kind === 'indication' ? 2 : 3;
  const fixed = 16 + words * 4;
  if (payload.length < fixed)
    throw malformed(`${kind} of ${payload.length} bytes, at least ${fixed} expected`);
  const service = uuidText(payload.subarray(0, 16));
  const cid = payload.readUInt32LE(16);
  const length = payload.readUInt32LE(fixed - 4);
  if (length > payload.length - fixed)
    throw malformed(`${kind} announces ${length} bytes of information, ${payload.length - fixed} are there`);
  const info = payload.subarray(fixed, fixed + length);
  if (kind === 'indication') return { kind, transaction, service, cid, info };
  const word = payload.readUInt32LE(20);
  if (kind === 'command-done') return { kind, transaction, service, cid, status: word, info };
  if (kind !== 'command') throw malformed(`${kind} has no payload`);
  if (word > 1) throw malformed(`command type ${word} is neither query nor set`);
  return { kind, transaction, service, cid, action: word === 0 ? 'query' : 'set', info };
}

/**
 * The frames of a message, none larger than `maxControlTransfer` bytes; each must reach a device in one write.
 * Throws `mbim/too-large` for a message that nobody would put together again.
 */
export function writeMessage(
  message: MbimMessage,
  maxControlTransfer: number = DEFAULT_CONTROL_TRANSFER,
): Buffer[] {
  if (maxControlTransfer < MIN_CONTROL_TRANSFER || maxControlTransfer > MAX_FRAME_BYTES)
    throw new CodedError(
      'mbim/control-transfer',
      `a control transfer of ${maxControlTransfer} bytes; it must be ${MIN_CONTROL_TRANSFER} to ${MAX_FRAME_BYTES}`,
    );
  switch (message.kind) {
    case 'open':
      return [frameOf(message, words(message.maxControlTransfer))];
    case 'close':
      return [frameOf(message, Buffer.alloc(0))];
    case 'host-error':
    case 'function-error':
      return [frameOf(message, words(message.error))];
    case 'open-done':
    case 'close-done':
      return [frameOf(message, words(message.status))];
    default:
      return fragmentsOf(message, maxControlTransfer);
  }
}

function fragmentsOf(message: Extract<MbimMessage, { info: Buffer }>, maxControlTransfer: number): Buffer[] {
  const payload = payloadOf(message);
  if (payload.length > MAX_MESSAGE_BYTES)
    throw new CodedError(
      'mbim/too-large',
      `${message.kind} of ${payload.length} bytes; the limit is ${MAX_MESSAGE_BYTES}`,
    );
  const room = maxControlTransfer - HEADER_BYTES - FRAGMENT_BYTES;
  const total = Math.max(1, Math.ceil(payload.length / room));
  return Array.from({ length: total }, (_, current) =>
    frameOf(
      message,
      Buffer.concat([words(total, current), payload.subarray(current * room, (current + 1) * room)]),
    ),
  );
}

function payloadOf(message: Extract<MbimMessage, { info: Buffer }>): Buffer {
  const service = uuidBytes(message.service);
  const { cid, info } = message;
  switch (message.kind) {
    case 'command':
      return Buffer.concat([service, words(cid, message.action === 'query' ? 0 : 1, info.length), info]);
    case 'command-done':
      return Buffer.concat([service, words(cid, message.status, info.length), info]);
    case 'indication':
      return Buffer.concat([service, words(cid, info.length), info]);
  }
}

function frameOf(message: { kind: MessageKind; transaction: number }, body: Buffer): Buffer {
  return Buffer.concat([
    words(FRAME_TYPES[message.kind], HEADER_BYTES + body.length, message.transaction),
    body,
  ]);
}

function smallestFrame(kind: MessageKind): number {
  if (FRAGMENTED.has(kind)) return HEADER_BYTES + FRAGMENT_BYTES;
  return kind === 'close' ? HEADER_BYTES : HEADER_BYTES + 4;
}

function words(...values: number[]): Buffer {
  const bytes = Buffer.alloc(values.length * 4);
  for (const [index, value] of values.entries()) bytes.writeUInt32LE(value, index * 4);
  return bytes;
}
