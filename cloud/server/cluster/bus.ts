/**
 * The seam between the processes of one cloud: bytes on a subject to all who listen, or asked of one. At most once, in
 * the order of each sender, never stored: what must be exact stays in the database. Two kinds: none (here), for a single
 * process, and NATS (nats-bus.ts). What the bytes say is messages.ts.
 */

/** Longest message, both ways. A NATS server takes 1 MiB unless it is told otherwise. */
export const MAX_MESSAGE_BYTES = 64 * 1024;

/** `none`: there is no other process. `away`: it is being looked for, and this process goes on by itself. */
export type BusState = 'none' | 'up' | 'away';

export type Reply =
  | { is: 'answer'; bytes: Uint8Array }
  /** Nobody listens on that subject: whoever did is gone. */
  | { is: 'nobody' }
  /** Not within the deadline: it may have been heard. */
  | { is: 'late' }
  | { is: 'away' };

/** `answer` is given when an answer was asked for. */
export type Hear = (bytes: Uint8Array, answer: ((bytes: Uint8Array) => void) | undefined) => void;

export interface Bus {
  readonly state: BusState;
  /** How long it has been away, milliseconds; 0 while it is not. */
  readonly awayMs: number;
  /** To be called before `start`; holds for every connection there will be. */
  listen(subject: string, hear: Hear): void;
  /** Calls these whenever it came (at the first time, too), with how long it was away, or went. */
  start(on: { up(awayMs: number): void; away(): void }): void;
  /** False when it is away: nothing waits here for its return. */
  publish(subject: string, bytes: Uint8Array): boolean;
  ask(subject: string, bytes: Uint8Array, deadlineMs: number): Promise<Reply>;
  /** Sends what was published and leaves. */
  close(): Promise<void>;
}

/** A single process: nobody hears. */
export const noBus: Bus = {
  state: 'none',
  awayMs: 0,
  listen: () => undefined,
  start: () => undefined,
  publish: () => false,
  ask: async () => ({ is: 'nobody' }),
  close: async () => undefined,
};
