/**
 * What one row of the command tables says (`basic-connect.ts`, `text-services.ts`, `extensions.ts`): where a request
 * goes, how its information buffer is written, how the reply's is read, how long a device may take. Types and two
 * constructors; sending is `session.ts`.
 */
import { InfoReader } from './layout';

export interface Command<Q, R> {
  /** For messages and refusals: "connect". */
  name: string;
  service: string;
  cid: number;
  action: 'query' | 'set';
  deadlineMs: number;
  write: (input: Q) => Buffer;
  /** Throws `mbim/malformed`. */
  read: (info: Buffer) => R;
}

/** Most replies come within 200 ms; some firmware takes seconds while it scans. */
export const PLAIN_DEADLINE_MS = 10_000;

export const NOTHING: Buffer = Buffer.alloc(0);

export interface Address {
  name: string;
  service: string;
  cid: number;
  deadlineMs?: number;
}

/** A query that sends nothing. */
export function plainQuery<R>(at: Address, read: (reader: InfoReader) => R): Command<void, R> {
  return command<void, R>(at, 'query', { write: () => NOTHING, read });
}

export function command<Q, R>(
  at: Address,
  action: 'query' | 'set',
  content: { write: (input: Q) => Buffer; read: (reader: InfoReader) => R },
): Command<Q, R> {
  return {
    name: at.name,
    service: at.service,
    cid: at.cid,
    action,
    deadlineMs: at.deadlineMs ?? PLAIN_DEADLINE_MS,
    write: content.write,
    read: info => content.read(new InfoReader(info, at.name)),
  };
}
