/**
 * A cloud that speaks the protocol truly and misbehaves on request: enrolment, challenge, upgrade with a checked
 * signature, greeting, ledger, signed states. In memory, on a loopback port. The real one is cloud/server.
 */
import {
  createHash,
  createPublicKey,
  generateKeyPairSync,
  type KeyObject,
  randomBytes,
  sign,
  verify,
} from 'node:crypto';
import { once } from 'node:events';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import type { DesiredState, SignedState } from '@mastline/shared/domain/desired-state';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { decodeUplink, encodeDownlink } from '@mastline/shared/wire/codec';
import type { DownlinkBody, DownlinkKind } from '@mastline/shared/wire/downlink';
import {
  ChallengeRequest,
  EnrolRequest,
  linkProof,
  parseLinkAuthorization,
  REFUSAL,
} from '@mastline/shared/wire/enrolment';
import { MAX_FRAME_BYTES, PING_INTERVAL_MS, silenceLimitOf } from '@mastline/shared/wire/limits';
import type { Uplink, UplinkBody, UplinkKind } from '@mastline/shared/wire/uplink';
import { PROTOCOL_VERSION } from '@mastline/shared/wire/version';
import { type WebSocket, WebSocketServer } from 'ws';
import { BatchDesk, type BatchFault, FakeLedger } from './fake-ledger';

export type ClaimState = 'open' | 'used' | 'expired';

/** What the cloud does wrong now; all off at first. */
export interface Misbehaviour {
  /** What happens to the next batch. */
  nextFault(): BatchFault;
  ignorePings: boolean;
  ignoreHello: boolean;
  /** Takes the challenge and never answers. */
  hangChallenge: boolean;
  /** Refuses challenges with this status and code, and with `Retry-After` when there is one (seconds). */
  refuseChallenge: { status: number; code: string; retryAfter?: number } | undefined;
  /** Answers everything with a web page, as a captive portal does. */
  captivePortal: boolean;
  liveReportMs: number;
  /** The cloud's clock less this machine's, milliseconds. */
  clockOffsetMs: number;
  /** Greets as the cloud of the protocol's first day did: no word of what came later. */
  firstDay: boolean;
  /** Greets with this protocol number. */
  version: number;
}

export interface FakeSession {
  nodeId: string;
  hello: UplinkBody<'hello'> | undefined;
  send<K extends DownlinkKind>(kind: K, body: DownlinkBody<K>): void;
  sendRaw(frame: string | Buffer): void;
  close(code: number): void;
  /** No goodbye. */
  cut(): void;
  /** Reads nothing from now on. */
  pause(): void;
  resume(): void;
  /** The TCP socket under it, to write what no WebSocket would. */
  readonly raw: Socket;
}

interface Waiter {
  matches(message: Uplink): boolean;
  resolve(message: Uplink): void;
}

export class FakeCloud {
  readonly ledger = new FakeLedger();
  readonly claims = new Map<string, ClaimState>();
  readonly misbehave: Misbehaviour = {
    nextFault: () => 'store',
    ignorePings: false,
    ignoreHello: false,
    hangChallenge: false,
    refuseChallenge: undefined,
    captivePortal: false,
    liveReportMs: 0,
    clockOffsetMs: 0,
    firstDay: false,
    version: PROTOCOL_VERSION,
  };
  readonly received: Uplink[] = [];
  readonly sessions = new Set<FakeSession>();
  /** Upgrades that were let through. */
  connections = 0;
  challenges = 0;
  /** WebSocket's own pings. */
  pings = 0;
  readonly stateKeyId = 'state-key-1';
  readonly #stateKeys = generateKeyPairSync('ed25519');
  readonly #nodes = new Map<string, { key: KeyObject; desk: BatchDesk }>();
  readonly #nonces = new Map<string, string>();
  readonly #claimedBy = new Map<string, { publicKey: string; nodeId: string }>();
  readonly #server: Server;
  readonly #sockets = new WebSocketServer({ noServer: true, maxPayload: MAX_FRAME_BYTES, autoPong: false });
  readonly #open = new Set<Socket>();
  #waiters: Waiter[] = [];
  #port = 0;

  readonly #tls: { key: string; cert: string } | undefined;

  /** With `tls` it is an https:// cloud. */
  constructor(tls?: { key: string; cert: string }) {
    this.#tls = tls;
    const onRequest = (request: IncomingMessage, response: ServerResponse) => {
      this.#answer(request, response).catch(error => response.destroy(error));
    };
    this.#server = tls ? createSecureServer(tls, onRequest) : createServer(onRequest);
    this.#server.on('connection', socket => {
      this.#open.add(socket);
      socket.on('close', () => this.#open.delete(socket));
    });
    this.#server.on('upgrade', (request, socket, head) => this.#upgrade(request, socket as Socket, head));
  }

  /** Starts, on the same port when it was running before. */
  async listen(): Promise<void> {
    this.#server.listen(this.#port, '127.0.0.1');
    await once(this.#server, 'listening');
    this.#port = (this.#server.address() as AddressInfo).port;
  }

  get url(): string {
    return `${this.#tls ? 'https' : 'http'}://127.0.0.1:${this.#port}`;
  }

  /** Gone, with every connection; `listen` brings it back. */
  async stop(): Promise<void> {
    const closed = once(this.#server, 'close');
    this.#server.close();
    for (const socket of this.#open) socket.destroy();
    await closed;
  }

  /** The next message of a kind (or one that came already and nobody asked for). */
  next<K extends UplinkKind>(
    kind: K,
    fits: (body: UplinkBody<K>) => boolean = () => true,
  ): Promise<UplinkBody<K>> {
    const matches = (message: Uplink) => message.kind === kind && fits(message.body as UplinkBody<K>);
    const index = this.received.findIndex(matches);
    const [there] = index < 0 ? [] : this.received.splice(index, 1);
    if (there) return Promise.resolve(there.body as UplinkBody<K>);
    return new Promise(resolve => {
      this.#waiters.push({ matches, resolve: message => resolve(message.body as UplinkBody<K>) });
    });
  }

  sign(state: DesiredState, key: KeyObject = this.#stateKeys.privateKey): SignedState {
    const payload = JSON.stringify(state);
    return {
      revision: state.revision,
      hash: createHash('sha256').update(payload).digest('hex'),
      keyId: this.stateKeyId,
      signature: sign(null, Buffer.from(payload), key).toString('base64'),
      payload,
    };
  }

  push(signed: SignedState): void {
    for (const session of this.sessions) session.send('desired-state', signed);
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await bodyOf(request);
    const reply = (status: number, value: unknown) => {
      response.writeHead(status, { 'content-type': 'application/json' }).end(JSON.stringify(value));
    };
    const refuse = (status: number, code: string) => reply(status, { code, message: `refused: ${code}` });
    if (this.misbehave.captivePortal) {
      response.writeHead(200, { 'content-type': 'text/html' }).end('<html>log in to the hotel</html>');
      return;
    }
    if (request.url === '/agent/enrol') return this.#enrol(EnrolRequest.parse(body), reply, refuse);
    if (request.url !== '/agent/challenge') return refuse(404, 'not-found');
    this.challenges += 1;
    if (this.misbehave.hangChallenge) return;
    if (this.misbehave.refuseChallenge) {
      const { status, code, retryAfter } = this.misbehave.refuseChallenge;
      if (retryAfter !== undefined) response.setHeader('retry-after', String(retryAfter));
      return refuse(status, code);
    }
    const { nodeId } = ChallengeRequest.parse(body);
    if (!this.#nodes.has(nodeId)) return refuse(404, REFUSAL.nodeUnknown);
    const nonce = randomBytes(24).toString('base64url');
    this.#nonces.set(nonce, nodeId);
    reply(200, { nonce });
  }

  #enrol(
    { claimCode, publicKey }: EnrolRequest,
    reply: (status: number, value: unknown) => void,
    refuse: (status: number, code: string) => void,
  ): void {
    const known = this.#claimedBy.get(claimCode);
    const answer = (nodeId: string) =>
      reply(200, {
        nodeId,
        stateKeys: [{ keyId: this.stateKeyId, publicKey: rawPublicKey(this.#stateKeys.publicKey) }],
      });
    if (known?.publicKey === publicKey) {
      answer(known.nodeId);
      return;
    }
    const state = this.claims.get(claimCode);
    if (state === undefined) {
      refuse(404, REFUSAL.claimUnknown);
      return;
    }
    if (state === 'used') {
      refuse(409, REFUSAL.claimUsed);
      return;
    }
    if (state === 'expired') {
      refuse(410, REFUSAL.claimExpired);
      return;
    }
    const nodeId = uuidv7();
    this.claims.set(claimCode, 'used');
    this.#claimedBy.set(claimCode, { publicKey, nodeId });
    const key = createPublicKey({
      key: { kty: 'OKP', crv: 'Ed25519', x: Buffer.from(publicKey, 'base64').toString('base64url') },
      format: 'jwk',
    });
    const desk = new BatchDesk(this.ledger, nodeId, () => this.misbehave.nextFault());
    this.#nodes.set(nodeId, { key, desk });
    answer(nodeId);
  }

  #upgrade(request: IncomingMessage, socket: Socket, head: Buffer): void {
    const proof = parseLinkAuthorization(request.headers.authorization);
    const node = proof ? this.#nodes.get(proof.nodeId) : undefined;
    const isGood =
      proof &&
      node &&
      this.#nonces.get(proof.nonce) === proof.nodeId &&
      verify(null, linkProof(proof.nodeId, proof.nonce), node.key, proof.signature);
    if (!isGood) {
      const body = JSON.stringify({ code: 'link/bad-proof', message: 'the proof does not hold' });
      socket.end(
        `HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-length: ${body.length}\r\n\r\n${body}`,
      );
      return;
    }
    this.#nonces.delete(proof.nonce);
    this.#sockets.handleUpgrade(request, socket, head, ws =>
      this.#greet(ws, { nodeId: proof.nodeId, desk: node.desk, raw: socket }),
    );
  }

  #greet(ws: WebSocket, { nodeId, desk, raw }: { nodeId: string; desk: BatchDesk; raw: Socket }): void {
    this.connections += 1;
    const sendRaw = (frame: string | Buffer) => ws.send(frame, () => undefined);
    const session: FakeSession = {
      nodeId,
      hello: undefined,
      send: (kind, body) => sendRaw(encodeDownlink(kind, body)),
      sendRaw,
      close: code => ws.close(code),
      cut: () => ws.terminate(),
      pause: () => ws.pause(),
      resume: () => ws.resume(),
      raw,
    };
    for (const older of this.sessions) if (older.nodeId === nodeId) older.close(CLOSE.replaced);
    this.sessions.add(session);
    ws.on('close', () => this.sessions.delete(session));
    ws.on('error', () => ws.terminate());
    ws.on('ping', () => {
      this.pings += 1;
      if (!this.misbehave.ignorePings) ws.pong(() => undefined);
    });
    ws.on('message', data => {
      const decoded = decodeUplink(String(data));
      if (decoded.is !== 'message') return ws.close(CLOSE.protocol);
      this.#hear(session, desk, decoded.message);
    });
  }

  #hear(session: FakeSession, desk: BatchDesk, message: Uplink): void {
    const now = Date.now() + this.misbehave.clockOffsetMs;
    if (message.kind === 'hello' && !this.misbehave.ignoreHello) {
      session.hello = message.body;
      const welcome: DownlinkBody<'welcome'> = {
        now,
        mark: this.ledger.mark(session.nodeId, message.body.epoch),
        liveReportMs: this.misbehave.liveReportMs,
      };
      if (!this.misbehave.firstDay) {
        welcome.silenceLimitMs = silenceLimitOf(message.body.pingIntervalMs ?? PING_INTERVAL_MS);
        welcome.takes = ['rotation-report', 'event-batch'];
      }
      session.sendRaw(JSON.stringify({ v: this.misbehave.version, kind: 'welcome', body: welcome }));
    }
    if (message.kind === 'ping' && !this.misbehave.ignorePings)
      session.send('pong', { at: message.body.at, now });
    if (message.kind === 'event-batch') {
      const { epoch, stream, first, events, flows } = message.body;
      session.send('event-ack', { epoch, stream, mark: first + (events ?? flows ?? []).length - 1 });
    }
    if (message.kind === 'usage-batch')
      desk.take(message.body, {
        reply: reply => session.sendRaw(JSON.stringify({ v: 1, ...reply })),
        cut: () => session.cut(),
      });
    const waiter = this.#waiters.find(({ matches }) => matches(message));
    if (!waiter) {
      this.received.push(message);
      return;
    }
    this.#waiters = this.#waiters.filter(other => other !== waiter);
    waiter.resolve(message);
  }
}

async function bodyOf(request: IncomingMessage): Promise<unknown> {
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  return JSON.parse(Buffer.concat(chunks).toString('utf8') || 'null');
}

/** The 32 bytes of an Ed25519 public key, base64. */
export function rawPublicKey(key: KeyObject): string {
  return Buffer.from(String(key.export({ format: 'jwk' }).x), 'base64url').toString('base64');
}
