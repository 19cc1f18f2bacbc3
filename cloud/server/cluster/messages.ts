/**
 * What processes of one cloud say to each other, as schemas, and its form on the bus. Two subjects under a prefix that
 * follows from the cloud's secret key, so that two clouds on one NATS never meet:
 *
 *   mastline.<prefix>.all          to every process
 *   mastline.<prefix>.to.<process> to one, some of it with an answer
 *
 *   message = version (1 byte) || HMAC-SHA256(key, subject || version || text)[0..16] || text (JSON)
 *
 * Whoever may write to NATS and has not the key is not heard. A message is heard once: serials of a sender grow.
 * Versions that differ are not understood; during an update the old and the new processes go on by themselves.
 */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { SlotFigures } from '@mastline/shared/domain/modem';
import { downlink } from '@mastline/shared/wire/downlink';
import { MAX_ROTATIONS } from '@mastline/shared/wire/limits';
import { z } from 'zod';
import { MAX_MESSAGE_BYTES } from './bus';

const VERSION = 1;
const MAC_BYTES = 16;
/** So many fit into a message, whatever they are. */
export const MAX_NODES_EACH = 500;
/** Slots in a message of figures, of all its nodes, and nodes in one: with every count at its highest they fit. */
export const MAX_SLOTS_EACH = 400;
export const MAX_FIGURED_EACH = 200;
const MAX_PARTS = 1_000;

/** A node and the order of its session (gateway/admissions.ts). */
const Held = z.tuple([z.uuid(), z.int().min(0)]);
export type Held = z.infer<typeof Held>;

export const NodeOrder = z.discriminatedUnion('kind', [
  z.object({ kind: z.literal('rotate'), body: downlink.rotate }),
  z.object({ kind: z.literal('quota-call'), body: downlink['quota-call'] }),
]);
/** What is sent to a node's session, wherever it is. */
export type NodeOrder = z.infer<typeof NodeOrder>;

const Body = z.discriminatedUnion('is', [
  /** All nodes that the sender holds, in parts that follow each other. */
  z.object({
    is: z.literal('holds'),
    part: z.int().min(1).max(MAX_PARTS),
    parts: z.int().min(1).max(MAX_PARTS),
    nodes: z.array(Held).max(MAX_NODES_EACH),
  }),
  /** Nodes that came to the sender and left it since. */
  z.object({
    is: z.literal('moves'),
    came: z.array(Held).max(MAX_NODES_EACH),
    left: z.array(z.uuid()).max(MAX_NODES_EACH),
  }),
  /** Still here; what it holds as a count and a digest, and whether somebody looks at live figures there. */
  z.object({ is: z.literal('beat'), count: z.int().min(0), digest: z.int(), looks: z.boolean() }),
  /** Tell all that you hold; null: everybody. */
  z.object({ is: z.literal('tell'), who: z.uuid().nullable() }),
  z.object({ is: z.literal('bye') }),
  z.object({
    is: z.literal('figures'),
    nodes: z
      .array(
        z.object({
          nodeId: z.uuid(),
          everyMs: z.int().min(0),
          slots: z.array(SlotFigures).max(MAX_SLOTS_EACH),
        }),
      )
      .max(MAX_SLOTS_EACH),
  }),
  /** What live feeds show may have changed. */
  z.object({ is: z.literal('changed') }),
  /** These nodes have become something else: whoever holds one sends it its desired state. */
  z.object({ is: z.literal('push'), nodeIds: z.array(z.uuid()).max(MAX_NODES_EACH) }),
  /** Nodes have told what came of these rotations: it is in the database. */
  z.object({ is: z.literal('told'), ids: z.array(z.uuid()).max(MAX_ROTATIONS) }),
  z.object({ is: z.literal('order'), nodeId: z.uuid(), order: NodeOrder }),
  z.object({ is: z.literal('delivered'), delivery: z.enum(['sent', 'offline', 'unsupported']) }),
]);
export type Body = z.infer<typeof Body>;

const Message = z.object({ from: z.uuid(), serial: z.int().min(1), body: Body });
export type Message = z.infer<typeof Message>;

export type Opened =
  | { is: 'message'; message: Message }
  | { is: 'refused'; why: 'too-long' | 'version' | 'forged' | 'malformed' };

/** Writes and reads messages under one key. */
export class Codec {
  readonly #key: Buffer;
  readonly prefix: string;

  constructor(key: Buffer) {
    this.#key = key;
    this.prefix = `mastline.${createHmac('sha256', key).update('prefix').digest('hex').slice(0, 12)}`;
  }

  get toAll(): string {
    return `${this.prefix}.all`;
  }

  to(process: string): string {
    return `${this.prefix}.to.${process}`;
  }

  write(subject: string, message: Message): Uint8Array {
    const text = Buffer.from(JSON.stringify(message));
    return Buffer.concat([Buffer.of(VERSION), this.#mac(subject, text), text]);
  }

  /** `subject`: that on which it came, for an answer that on which was asked. */
  open(subject: string, bytes: Uint8Array): Opened {
    if (bytes.length > MAX_MESSAGE_BYTES) return { is: 'refused', why: 'too-long' };
    if (bytes[0] !== VERSION) return { is: 'refused', why: 'version' };
    const mac = bytes.subarray(1, 1 + MAC_BYTES);
    const text = Buffer.from(bytes.subarray(1 + MAC_BYTES));
    if (mac.length !== MAC_BYTES || !timingSafeEqual(mac, this.#mac(subject, text)))
      return { is: 'refused', why: 'forged' };
    let value: unknown;
    try {
      value = JSON.parse(text.toString('utf8'));
    } catch {
      return { is: 'refused', why: 'malformed' };
    }
    const parsed = Message.safeParse(value);
    return parsed.success ? { is: 'message', message: parsed.data } : { is: 'refused', why: 'malformed' };
  }

  #mac(subject: string, text: Uint8Array): Buffer {
    return createHmac('sha256', this.#key)
      .update(subject)
      .update(Buffer.of(0, VERSION))
      .update(text)
      .digest()
      .subarray(0, MAC_BYTES);
  }
}
