/**
 * Joins the fragments of MBIM messages (USB-IF MBIM 1.0, part 9.5). Pure but for what it holds, which is bounded.
 * Fragments of one message come in order; those of an indication may stand between those of a reply. Deadlines
 * between fragments are the session's.
 */
import {
  type Fragment,
  type Frame,
  MAX_MESSAGE_BYTES,
  type MbimMessage,
  type MessageKind,
  readFragment,
  readPayload,
  readUncut,
} from './frame';
import { malformed } from './malformed';

/** A device cuts one reply and one indication at a time; more at once is a device gone wild. */
const MAX_OPEN_MESSAGES = 4;
/** With the smallest control transfer the largest message has this many fragments. */
const MAX_FRAGMENTS = Math.ceil(MAX_MESSAGE_BYTES / 44);

export type Joined =
  | { state: 'whole'; message: MbimMessage }
  | { state: 'more'; transaction: number }
  /** The other side should be told (`host-error` 2 for a wrong order, 3 for lengths), and the message is lost. */
  | { state: 'broken'; kind: MessageKind; transaction: number; protocolError: 2 | 3; why: string };

interface OpenMessage {
  fragments: Buffer[];
  bytes: number;
  total: number;
}

export class FragmentJoiner {
  readonly #open = new Map<string, OpenMessage>();

  /** Never throws: a frame whose content is impossible is `broken` too. */
  push(frame: Frame): Joined {
    try {
      const fragment = readFragment(frame);
      return fragment === undefined ? { state: 'whole', message: readUncut(frame) } : this.#add(fragment);
    } catch (error) {
      return broken(frame, 3, error instanceof Error ? error.message : String(error));
    }
  }

  /** Messages that wait for fragments. */
  get open(): number {
    return this.#open.size;
  }

  /** Forgets every message that is not whole; gives their transactions. */
  discard(): number[] {
    const transactions = Array.from(this.#open.keys(), key => Number(key.split(' ')[1]));
    this.#open.clear();
    return transactions;
  }

  #add(fragment: Fragment): Joined {
    const { kind, transaction, total, current, payload } = fragment;
    const key = `${kind} ${transaction}`;
    if (total === 0 || total > MAX_FRAGMENTS) throw malformed(`${kind} of ${total} fragments`);
    if (current === 0 && total === 1) {
      this.#open.delete(key);
      return { state: 'whole', message: readPayload(kind, transaction, payload) };
    }
    let known = this.#open.get(key);
    if (current === 0) {
      if (known !== undefined) {
        this.#open.delete(key);
        return broken(
          fragment,
          2,
          `a second first fragment, ${known.fragments.length} of ${known.total} were here`,
        );
      }
      if (this.#open.size >= MAX_OPEN_MESSAGES)
        return broken(fragment, 2, `more than ${MAX_OPEN_MESSAGES} messages in fragments at once`);
      known = { fragments: [], bytes: 0, total };
      this.#open.set(key, known);
    }
    if (known === undefined) return broken(fragment, 2, `fragment ${current} of ${total} without the first`);
    if (known.total !== total || known.fragments.length !== current) {
      this.#open.delete(key);
      return broken(
        fragment,
        2,
        `fragment ${current} of ${total} where ${known.fragments.length} of ${known.total} was due`,
      );
    }
    known.bytes += payload.length;
    if (known.bytes > MAX_MESSAGE_BYTES) {
      this.#open.delete(key);
      return broken(fragment, 3, `a message of more than ${MAX_MESSAGE_BYTES} bytes`);
    }
    known.fragments.push(Buffer.from(payload));
    if (known.fragments.length < total) return { state: 'more', transaction };
    this.#open.delete(key);
    return { state: 'whole', message: readPayload(kind, transaction, Buffer.concat(known.fragments)) };
  }
}

function broken(from: { kind: MessageKind; transaction: number }, protocolError: 2 | 3, why: string): Joined {
  return { state: 'broken', kind: from.kind, transaction: from.transaction, protocolError, why };
}
