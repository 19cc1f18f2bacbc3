/**
 * Puts the parts of long messages together. Pure. A message whose parts have not all come is shown with a gap where
 * they are missing; each message keeps the indexes of all its parts, so that deleting it deletes them all.
 */
import type { ShortMessage } from '../driver';
import type { Part } from './pdu';

export interface ReceivedPart extends ShortMessage {
  part: Part | null;
}

const INDEX_SEPARATOR = ',';
const MISSING = '[…]';

/** Whole messages in the order in which their first parts stand. */
export function joinParts(parts: readonly ReceivedPart[]): ShortMessage[] {
  const groups = new Map<string, ReceivedPart[]>();
  for (const one of parts) {
    const key =
      one.part === null
        ? `single ${one.index}`
        : `long ${one.part.reference} ${one.part.total} ${one.sender}`;
    const group = groups.get(key) ?? [];
    // The same part twice is another long message that reuses the reference (they have one octet).
    if (one.part !== null && group.some(other => other.part?.number === one.part?.number))
      groups.set(`${key} again ${one.index}`, [one]);
    else groups.set(key, [...group, one]);
  }
  return Array.from(groups.values(), joined);
}

/** Storage indexes of a message that `joinParts` made: one, or several of a long one. */
export function partIndexes(index: string): string[] {
  return index.split(INDEX_SEPARATOR);
}

function joined(group: ReceivedPart[]): ShortMessage {
  const inOrder = [...group].sort((a, b) => (a.part?.number ?? 1) - (b.part?.number ?? 1));
  const total = group[0]?.part?.total ?? 1;
  const texts: string[] = [];
  for (let number = 1; number <= total; number += 1) {
    const text = inOrder.find(one => (one.part?.number ?? 1) === number)?.text;
    // One mark for a run of missing parts.
    if (text !== undefined) texts.push(text);
    else if (texts.at(-1) !== MISSING) texts.push(MISSING);
  }
  const received = group.map(one => one.receivedAt).filter(at => at !== null);
  return {
    index: inOrder.map(one => one.index).join(INDEX_SEPARATOR),
    sender: group[0]?.sender ?? '',
    receivedAt: received.length === 0 ? null : Math.max(...received),
    text: texts.join(''),
    unread: group.some(one => one.unread),
  };
}
