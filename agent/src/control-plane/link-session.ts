/**
 * One authenticated WebSocket from dial to end: challenge → upgrade → hello → welcome → messages, with a deadline on
 * each wait, pings, and bounds on both directions. Dialling again is link.ts; what messages mean is others' work.
 * The only file of the agent that knows `ws`.
 */
import type { Socket } from 'node:net';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { decodeDownlink, encodeUplink } from '@mastline/shared/wire/codec';
import type { Downlink, DownlinkBody } from '@mastline/shared/wire/downlink';
import { ChallengeReply, linkAuthorization, linkProof } from '@mastline/shared/wire/enrolment';
import {
  MAX_FRAGMENTS,
  MAX_FRAME_BYTES,
  MAX_FRAME_READS,
  MAX_QUEUED_BYTES,
  PING_INTERVAL_MS,
  SILENCE_LIMIT_MS,
  silenceLimitOf,
} from '@mastline/shared/wire/limits';
import type { UplinkBody, UplinkKind } from '@mastline/shared/wire/uplink';
import { isServedVersion, PROTOCOL_VERSION } from '@mastline/shared/wire/version';
import WebSocket from 'ws';
import type { Log } from '../observe/log';
import { askCloud, cloudAddress, readRefusal } from './cloud-request';
import { type CloudRoute, connector } from './cloud-route';
import { type LinkEnd, retryAfterOf } from './link-policy';

/** From the first byte dialled to `welcome`, milliseconds. */
const GREETING_DEADLINE_MS = 20_000;
/**
 * Pings on a metered link are WebSocket's own (RFC 6455 section 5.5.2), which are a third cheaper on the wire; every
 * so many is one of ours, since only that tells the time.
 */
const METERED_PINGS_OF_OURS = 20;
/** How long the other side may take to answer our close frame. */
const CLOSE_DEADLINE_MS = 2_000;

/** `busy`: so much is queued on the socket that this has to wait; nothing was sent. */
export type SendOutcome = 'sent' | 'busy' | 'closed';

export interface LinkSession {
  send<K extends UplinkKind>(kind: K, body: UplinkBody<K>): SendOutcome;
  /** Bytes given to the socket that the kernel has not taken. */
  queuedBytes(): number;
  /** Ends the session from our side, for a reason that the cloud and the log shall know. */
  giveUp(code: number, detail: string): void;
}

export interface SessionOptions {
  cloudUrl: string;
  route: CloudRoute;
  nodeId: string;
  sign(bytes: Buffer): Buffer;
  hello(): Promise<UplinkBody<'hello'>>;
  onWelcome(session: LinkSession, welcome: DownlinkBody<'welcome'>, roundTripMs: number): void;
  onMessage(session: LinkSession, message: Downlink): void;
  /** Anything at all was heard from the authenticated cloud. */
  onHeard(): void;
  /** The connection stands: for who counts what goes over it. */
  onSocket?: ((socket: Socket) => void) | undefined;
  /** Called exactly once. */
  onEnd(end: LinkEnd): void;
  clock: Clock;
  log: Log;
  /** How seldom to ping when the cloud grants it, milliseconds. */
  pingIntervalMs: number;
  /** The link costs SIM data. */
  metered: boolean;
}

type Phase =
  | { is: 'asking' }
  | { is: 'greeting'; socket: WebSocket; helloAtMs: number }
  | { is: 'up'; socket: WebSocket }
  | { is: 'ended' };

export class OpenSession implements LinkSession {
  readonly #options: SessionOptions;
  #phase: Phase = { is: 'asking' };
  /** Ends what is on its way before there is a socket to close. */
  readonly #abort = new AbortController();
  /** For the welcome first, then for silence. */
  #deadline: Timer | undefined;
  #pings: Timer | undefined;
  #lastHeardMs = 0;
  #pingsSent = 0;
  #socketGone: Promise<void> = Promise.resolve();

  constructor(options: SessionOptions) {
    this.#options = options;
    this.#deadline = options.clock.after(GREETING_DEADLINE_MS, () =>
      this.#end({ why: 'unreachable', detail: `no welcome within ${GREETING_DEADLINE_MS} ms` }),
    );
    this.#ask().catch(error => this.#end({ why: 'unreachable', detail: messageOf(error) }));
  }

  send<K extends UplinkKind>(kind: K, body: UplinkBody<K>): SendOutcome {
    if (this.#phase.is !== 'up') return 'closed';
    if (this.#phase.socket.bufferedAmount > MAX_QUEUED_BYTES) return 'busy';
    this.#transmit(this.#phase.socket, encodeUplink(kind, body));
    return 'sent';
  }

  queuedBytes(): number {
    return this.#phase.is === 'up' ? this.#phase.socket.bufferedAmount : 0;
  }

  giveUp(code: number, detail: string): void {
    this.#end({ why: 'given-up', code, detail }, code);
  }

  /** Says goodbye; resolves when the socket is gone. */
  async close(): Promise<void> {
    this.#end({ why: 'given-up', code: 1000, detail: 'the agent stops' }, 1000);
    await this.#socketGone;
  }

  async #ask(): Promise<void> {
    const { cloudUrl, route, nodeId, clock } = this.#options;
    // Both before the upgrade: a cloud that is slow to be greeted gives the link up.
    const hello = await this.#options.hello();
    const answer = await askCloud({
      cloudUrl,
      route,
      path: '/agent/challenge',
      body: { nodeId },
      answer: ChallengeReply,
      clock,
      signal: this.#abort.signal,
    });
    if (this.#phase.is !== 'asking') return;
    if (answer.is === 'refused') {
      const { code, message } = answer.refusal;
      const retryAfterMs = retryAfterOf(answer.retryAfter);
      this.#end({ why: 'refused', status: answer.status, code, detail: message, retryAfterMs });
      return;
    }
    this.#dial(answer.body.nonce, hello);
  }

  #dial(nonce: string, hello: UplinkBody<'hello'>): void {
    const { cloudUrl, route, nodeId, sign, clock } = this.#options;
    const url = cloudAddress(cloudUrl, '/agent');
    url.protocol = url.protocol === 'https:' ? 'wss:' : 'ws:';
    const socket = new WebSocket(url, {
      headers: { authorization: linkAuthorization(nodeId, nonce, sign(linkProof(nodeId, nonce))) },
      createConnection: connector(route, url, { clock, signal: this.#abort.signal }) as never,
      maxPayload: MAX_FRAME_BYTES,
      maxFragments: MAX_FRAGMENTS,
      maxBufferedChunks: MAX_FRAME_READS,
      perMessageDeflate: false,
      followRedirects: false,
    });
    this.#phase = { is: 'greeting', socket, helloAtMs: clock.monotonicMs() };
    this.#socketGone = new Promise(resolve => socket.once('close', () => resolve()));
    let fault = '';
    socket.on('upgrade', response => this.#options.onSocket?.(response.socket));
    socket.on('open', () => {
      this.#phase = { is: 'greeting', socket, helloAtMs: clock.monotonicMs() };
      this.#transmit(socket, encodeUplink('hello', hello));
    });
    socket.on('unexpected-response', (request, response) => {
      const status = response.statusCode ?? 0;
      readRefusal(response).then(
        ({ code, message }) => {
          request.destroy();
          const retryAfterMs = retryAfterOf(response.headers['retry-after']);
          this.#end({ why: 'refused', status, code, detail: message, retryAfterMs });
        },
        failure => this.#end({ why: 'unreachable', detail: messageOf(failure) }),
      );
    });
    socket.on('message', (data, isBinary) => {
      if (isBinary) this.giveUp(CLOSE.protocol, 'a binary frame');
      else this.#read(String(data));
    });
    socket.on('pong', () => {
      if (this.#phase.is !== 'up') return;
      this.#lastHeardMs = clock.monotonicMs();
      this.#options.onHeard();
    });
    socket.on('error', error => {
      fault = messageOf(error);
    });
    socket.on('close', (code, reason) => {
      const detail = [fault, reason.toString('utf8')].filter(text => text !== '').join('; ');
      this.#end(
        code === 1006 && this.#phase.is === 'greeting'
          ? { why: 'unreachable', detail: detail || 'the connection broke before the welcome' }
          : { why: 'closed', code, detail },
      );
    });
  }

  #read(frame: string): void {
    const phase = this.#phase;
    if (phase.is !== 'greeting' && phase.is !== 'up') return;
    const { log, clock } = this.#options;
    const decoded = decodeDownlink(frame);
    if (decoded.is === 'refused') {
      this.giveUp(CLOSE.protocol, `${decoded.code}: ${decoded.detail}`);
      return;
    }
    this.#lastHeardMs = clock.monotonicMs();
    if (decoded.is === 'unknown') {
      // A newer cloud speaks of something this agent has never heard of: that is allowed.
      log.debug('a message of an unknown kind', { kind: decoded.kind });
      return;
    }
    if (phase.is === 'greeting' && !isServedVersion(decoded.version)) {
      this.giveUp(
        CLOSE.version,
        `the cloud speaks protocol ${decoded.version}, we speak ${PROTOCOL_VERSION}`,
      );
      return;
    }
    const { message } = decoded;
    const isWelcome = message.kind === 'welcome';
    if (isWelcome !== (phase.is === 'greeting')) {
      const said = isWelcome ? 'a second welcome' : `${message.kind} came before the welcome`;
      this.giveUp(CLOSE.protocol, said);
      return;
    }
    if (message.kind === 'welcome') {
      if (phase.is === 'greeting') this.#welcomed(phase, message.body);
      return;
    }
    this.#options.onHeard();
    if (message.kind === 'move-away') {
      this.#end({ why: 'moving', afterMs: message.body.afterMs }, 1000);
      return;
    }
    this.#options.onMessage(this, message);
  }

  #welcomed(phase: Extract<Phase, { is: 'greeting' }>, welcome: DownlinkBody<'welcome'>): void {
    const { clock } = this.#options;
    const { socket } = phase;
    this.#phase = { is: 'up', socket };
    this.#cancelTimers();
    const pingIntervalMs = this.#grantedPings(welcome);
    this.#pings = clock.every(pingIntervalMs, () => this.#ping(socket));
    this.#watchSilence(silenceLimitOf(pingIntervalMs));
    this.#options.onHeard();
    this.#options.onWelcome(this, welcome, clock.monotonicMs() - phase.helloAtMs);
  }

  #ping(socket: WebSocket): void {
    const isOurs = !this.#options.metered || this.#pingsSent % METERED_PINGS_OF_OURS === 0;
    this.#pingsSent += 1;
    if (isOurs) this.send('ping', { at: Math.round(this.#options.clock.monotonicMs()) });
    // What is queued already will be heard, or its silence will.
    else if (socket.bufferedAmount <= MAX_QUEUED_BYTES) socket.ping(undefined, undefined, () => undefined);
  }

  /** As seldom as we would like, unless the cloud would take that for silence (one of before does). */
  #grantedPings({ silenceLimitMs = SILENCE_LIMIT_MS }: DownlinkBody<'welcome'>): number {
    const wished = this.#options.pingIntervalMs;
    return silenceLimitMs >= silenceLimitOf(wished) ? wished : Math.min(wished, PING_INTERVAL_MS);
  }

  #watchSilence(limitMs: number): void {
    const { clock } = this.#options;
    const silentMs = clock.monotonicMs() - this.#lastHeardMs;
    if (silentMs >= limitMs) this.giveUp(CLOSE.silent, `nothing heard for ${Math.round(silentMs)} ms`);
    else this.#deadline = clock.after(limitMs - silentMs, () => this.#watchSilence(limitMs));
  }

  #transmit(socket: WebSocket, frame: string): void {
    if (Buffer.byteLength(frame) > MAX_FRAME_BYTES)
      throw new RangeError(`a frame of ours has more than ${MAX_FRAME_BYTES} bytes`);
    // A failed write is followed by the socket's own error and close, which end the session.
    socket.send(frame, () => undefined);
  }

  /** `closeCode` is what to tell the other side; without it there is nobody to tell. */
  #end(end: LinkEnd, closeCode?: number): void {
    const phase = this.#phase;
    if (phase.is === 'ended') return;
    this.#phase = { is: 'ended' };
    this.#cancelTimers();
    if (phase.is === 'asking' || phase.socket.readyState === WebSocket.CONNECTING) this.#abort.abort();
    if (phase.is !== 'asking' && phase.socket.readyState !== WebSocket.CLOSED) {
      const { socket } = phase;
      if (closeCode === undefined || socket.readyState === WebSocket.CONNECTING) socket.terminate();
      else {
        // Reasons are limited to 123 bytes by RFC 6455; ours are codes in the log, not essays on the wire.
        socket.close(closeCode);
        const timer = this.#options.clock.after(CLOSE_DEADLINE_MS, () => socket.terminate());
        socket.once('close', () => timer.cancel());
      }
    }
    this.#options.onEnd(end);
  }

  #cancelTimers(): void {
    this.#deadline?.cancel();
    this.#pings?.cancel();
  }
}
