/**
 * One agent's socket: greeting first, then messages one after the other, in order. Bounded in what it holds: frames by
 * `maxPayload`, frames that wait by pausing the socket, answers that the agent does not read by reading no more of it. There are ten thousand
 * of these: no timer and no logger of its own, time comes by `sweep`. What a message means is dispatch.ts; which session
 * is the node's is gateway.ts.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { decodeUplink, encodeDownlink } from '@mastline/shared/wire/codec';
import { type DownlinkBody, type DownlinkKind, downlink } from '@mastline/shared/wire/downlink';
import { MAX_BATCHES_IN_FLIGHT, MAX_QUEUED_BYTES, SILENCE_LIMIT_MS } from '@mastline/shared/wire/limits';
import type { Uplink } from '@mastline/shared/wire/uplink';
import { isServedVersion, PROTOCOL_VERSION } from '@mastline/shared/wire/version';
import type { RawData, WebSocket } from 'ws';
import type { NodeIdentity } from '../fleet/node-reports';
import type { AgentLink } from '../ingest/link';
import type { Log } from '../log';
import type { Tallies } from '../observe/tallies';
import { inMessageSpan } from './message-span';
import type { ReadGate } from './read-gate';

/** A socket that was authenticated and then says nothing. */
const HELLO_DEADLINE_MS = 10_000;
/** Frames that wait for their turn before the socket is paused, and at which it goes on. */
const PAUSE_AT_FRAMES = 4 * MAX_BATCHES_IN_FLIGHT;
const RESUME_AT_FRAMES = MAX_BATCHES_IN_FLIGHT;
/** What an agent may leave unread before nothing more of it is read or handled: that would only make more answers. */
const MAX_UNREAD_BYTES = 64 * 1024;
/** How long a closing handshake may take before the socket is cut. */
const CLOSE_DEADLINE_MS = 1_000;
/** WebSocket close code for a fault of ours (RFC 6455 section 7.4.1). */
const INTERNAL_ERROR = 1011;

const TAKES_NOTHING: readonly DownlinkKind[] = [];
const NUL_ESCAPE = '\\u0000';

/** What all sessions of a gateway share. */
export interface SessionFrame {
  clock: Clock;
  log: Log;
  gate: ReadGate;
  tallies: Tallies;
  /** Handles one message; the next waits for it. A rejection closes the session: the agent redials and sends again. */
  onMessage(session: AgentSession, message: Uplink): Promise<void>;
  onClosed(session: AgentSession): void;
}

export class AgentSession implements AgentLink {
  readonly node: NodeIdentity;
  /** Tells sessions of one node apart in the log. */
  readonly sessionId = randomBytes(6).toString('hex');
  /** Of all sessions of a node the one with the highest is the newest. */
  readonly order: number;
  readonly #socket: WebSocket;
  readonly #frame: SessionFrame;
  readonly #openedMs: number;
  #queue: Promise<void> = Promise.resolve();
  #waiting = 0;
  #waitingBytes = 0;
  #greeted = false;
  #closing = false;
  #heldByGate = false;
  /** While too much is unread: since when, and what goes on when it is read. */
  #unread: { sinceMs: number; goOn(): void } | undefined;
  #silenceLimitMs = SILENCE_LIMIT_MS;
  #takes: readonly DownlinkKind[] = TAKES_NOTHING;
  #lastHeardMs: number;
  /** When the message that is handled now arrived. */
  #arrivedMs = 0;
  /** When the closing handshake began. */
  #closingMs = 0;

  constructor(
    node: NodeIdentity,
    socket: WebSocket,
    { order, frame }: { order: number; frame: SessionFrame },
  ) {
    this.node = node;
    this.order = order;
    this.#socket = socket;
    this.#frame = frame;
    this.#openedMs = frame.clock.monotonicMs();
    this.#lastHeardMs = this.#openedMs;
    socket.on('message', (data, isBinary) => this.#receive(data, isBinary));
    socket.on('ping', () => this.#heard());
    socket.on('error', error =>
      frame.log.info({ ...this.#named, err: messageOf(error) }, 'agent socket failed'),
    );
    socket.on('close', (code, reason) => this.#closed(code, reason.toString()));
  }

  get arrivedMs(): number {
    return this.#arrivedMs;
  }

  /** It is not read now: too much of it waits, or too much of all. */
  get isPaused(): boolean {
    return this.#socket.isPaused;
  }

  /** Bytes that were sent and that its socket has not taken yet. */
  get unreadBytes(): number {
    return this.#socket.bufferedAmount;
  }

  /** True from the agent's hello until the socket closes. */
  get greeted(): boolean {
    return this.#greeted && !this.#closing;
  }

  noteTaken(kinds: readonly string[]): void {
    // Only what there is: a hello may name what it likes.
    this.#takes = kinds.filter((kind): kind is DownlinkKind => Object.hasOwn(downlink, kind));
  }

  takes(kind: DownlinkKind): boolean {
    return this.#takes.includes(kind);
  }

  bearSilence(ms: number): void {
    this.#silenceLimitMs = ms;
  }

  /** Closes what has passed its deadline: no hello, silence, a closing handshake that is not answered. */
  sweep(nowMs: number): void {
    if (this.#closing) {
      if (nowMs - this.#closingMs >= CLOSE_DEADLINE_MS) this.#socket.terminate();
    } else if (!this.#greeted) {
      if (nowMs - this.#openedMs >= HELLO_DEADLINE_MS)
        this.close(CLOSE.protocol, 'no hello within its deadline');
    } else if (this.#unread !== undefined) {
      if (this.#socket.bufferedAmount <= MAX_UNREAD_BYTES / 2) this.#unread.goOn();
      else if (nowMs - this.#unread.sinceMs > this.#silenceLimitMs)
        this.close(CLOSE.silent, 'messages are not read');
    } else if (!this.#socket.isPaused && nowMs - this.#lastHeardMs > this.#silenceLimitMs)
      // While we are the ones who do not read, silence is ours.
      this.close(CLOSE.silent, 'nothing heard within the deadline');
  }

  /** Sends a message; an agent that does not read what was sent before is closed instead. */
  send<K extends DownlinkKind>(kind: K, body: DownlinkBody<K>): void {
    if (this.#closing || this.#socket.readyState !== this.#socket.OPEN) return;
    if (this.#socket.bufferedAmount > MAX_QUEUED_BYTES) {
      this.close(CLOSE.silent, 'messages are not read');
      return;
    }
    this.#socket.send(encodeDownlink(kind, body));
    this.#frame.tallies.messagesOut.add(kind);
  }

  /** Closes with a code and a reason; a later sweep cuts the socket when the agent does not answer the close. */
  close(code: number, reason: string): void {
    if (this.#closing) return;
    this.#closing = true;
    this.#unread?.goOn();
    this.#closingMs = this.#frame.clock.monotonicMs();
    this.#frame.log.info({ ...this.#named, code, reason }, 'closing agent session');
    // A paused socket would never see the answer to the close.
    this.#socket.resume();
    this.#socket.close(code, reason.slice(0, 120));
  }

  /** Resolves when every message that has arrived is handled. */
  settled(): Promise<void> {
    return this.#queue;
  }

  terminate(): void {
    this.#socket.terminate();
  }

  #heard(): void {
    this.#lastHeardMs = this.#frame.clock.monotonicMs();
  }

  #receive(data: RawData, isBinary: boolean): void {
    this.#heard();
    if (this.#closing) return;
    if (isBinary) {
      this.close(CLOSE.protocol, 'binary frames are not part of the protocol');
      return;
    }
    const text = data.toString();
    const bytes = Buffer.isBuffer(data) ? data.length : Buffer.byteLength(text);
    const arrivedMs = this.#lastHeardMs;
    this.#waiting += 1;
    this.#waitingBytes += bytes;
    if (!this.#frame.gate.take(bytes, this.#reopen)) {
      this.#heldByGate = true;
      this.#socket.pause();
    } else if (this.#waiting >= PAUSE_AT_FRAMES || this.#waitingBytes > MAX_QUEUED_BYTES)
      this.#socket.pause();
    this.#queue = this.#queue.then(async () => {
      try {
        this.#arrivedMs = arrivedMs;
        if (this.#socket.bufferedAmount > MAX_UNREAD_BYTES) await this.#answersRead();
        if (!this.#closing) await this.#handle(text);
      } catch (error) {
        // Too much waits for the database (`ledger/busy`, `db/busy`), and the like.
        if (error instanceof CodedError) this.#frame.tallies.refusals.add(error.code);
        this.#frame.log.error({ ...this.#named, err: error }, 'an agent message could not be handled');
        this.close(INTERNAL_ERROR, 'fault in the cloud; send again later');
      } finally {
        this.#waiting -= 1;
        this.#waitingBytes -= bytes;
        this.#frame.gate.give(bytes);
        this.#readOn();
      }
    });
  }

  readonly #reopen = () => {
    this.#heldByGate = false;
    this.#readOn();
  };

  /** Resolves when the agent has read of what it was sent, or is given up: both are found by the sweep. */
  #answersRead(): Promise<void> {
    this.#socket.pause();
    return new Promise(resolve => {
      this.#unread = {
        sinceMs: this.#frame.clock.monotonicMs(),
        goOn: () => {
          this.#unread = undefined;
          resolve();
        },
      };
    });
  }

  #readOn(): void {
    if (!this.#socket.isPaused || this.#heldByGate || this.#waiting > RESUME_AT_FRAMES) return;
    this.#heard();
    this.#socket.resume();
  }

  async #handle(frame: string): Promise<void> {
    // No text of ours has one, and no column of PostgreSQL takes one.
    if (frame.includes(NUL_ESCAPE)) {
      this.close(CLOSE.protocol, 'texts must not contain NUL');
      return;
    }
    const { clock, tallies } = this.#frame;
    const begunMs = clock.monotonicMs();
    const decoded = decodeUplink(frame);
    tallies.messagesIn.add(decoded.is === 'message' ? decoded.message.kind : decoded.is);
    if (decoded.is === 'refused') {
      tallies.refusals.add(decoded.code);
      return this.close(CLOSE.protocol, `${decoded.code}: ${decoded.detail}`);
    }
    if (!this.#greeted) {
      if (decoded.is !== 'message' || decoded.message.kind !== 'hello')
        return this.close(CLOSE.protocol, 'the first message must be hello');
      // One version ahead or behind is served; further apart, the texts need not mean the same.
      if (!isServedVersion(decoded.version))
        return this.close(CLOSE.version, `protocol ${decoded.version} is not served, ${PROTOCOL_VERSION} is`);
      this.#greeted = true;
    } else if (decoded.is === 'message' && decoded.message.kind === 'hello')
      return this.close(CLOSE.protocol, 'hello comes once');
    if (decoded.is === 'unknown') {
      this.#frame.log.debug({ ...this.#named, kind: decoded.kind }, 'message of a kind not known here');
      return;
    }
    const { message } = decoded;
    await inMessageSpan(
      {
        ...this.#named,
        message,
        now: clock.now(),
        times: { arrivedMs: this.#arrivedMs, begunMs, decodedMs: clock.monotonicMs() },
      },
      () => this.#frame.onMessage(this, message),
    );
  }

  /** What each line of the log says of it. */
  get #named(): { nodeId: string; sessionId: string } {
    return { nodeId: this.node.nodeId, sessionId: this.sessionId };
  }

  #closed(code: number, reason: string): void {
    this.#closing = true;
    this.#unread?.goOn();
    this.#frame.gate.forget(this.#reopen);
    this.#frame.tallies.closes.add(String(code));
    this.#frame.log.info({ ...this.#named, code, reason }, 'agent session ended');
    this.#frame.onClosed(this);
  }
}
