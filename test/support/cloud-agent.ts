/**
 * An agent's end of the wire for tests of the cloud: enrols, answers challenges, sends what it is told, remembers what it
 * gets. It keeps the protocol unless a test makes it lie. The real agent has its own tests.
 */
import { generateKeyPairSync, type KeyObject, sign } from 'node:crypto';
import { rawPublicKey } from '@mastline/cloud/server/rollout/signing';
import { decodeDownlink, encodeUplink } from '@mastline/shared/wire/codec';
import type { Downlink, DownlinkBody, DownlinkKind } from '@mastline/shared/wire/downlink';
import { CONSENT_TEXT_VERSION, linkAuthorization, linkProof } from '@mastline/shared/wire/enrolment';
import type { UplinkBody, UplinkKind } from '@mastline/shared/wire/uplink';
import WebSocket from 'ws';

const WAIT_MS = 10_000;

export interface DeviceKey {
  privateKey: KeyObject;
  publicKey: string;
}

export function deviceKey(): DeviceKey {
  const { publicKey, privateKey } = generateKeyPairSync('ed25519');
  return { privateKey, publicKey: rawPublicKey(publicKey).toString('base64') };
}

export interface Answer {
  status: number;
  body: Record<string, unknown>;
}

export async function post(url: string, body: unknown): Promise<Answer> {
  const response = await fetch(url, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(body),
    signal: AbortSignal.timeout(WAIT_MS),
  });
  return { status: response.status, body: (await response.json()) as Record<string, unknown> };
}

export function enrol(
  url: string,
  key: DeviceKey,
  claimCode: string,
  consent = CONSENT_TEXT_VERSION,
): Promise<Answer> {
  return post(`${url}/agent/enrol`, {
    claimCode,
    publicKey: key.publicKey,
    agentVersion: '0.1.0',
    hostname: 'box',
    consent: { textVersion: consent, acceptedBy: 'a test' },
  });
}

export async function challenge(url: string, nodeId: string): Promise<string> {
  const { body } = await post(`${url}/agent/challenge`, { nodeId });
  return String(body.nonce);
}

export function authorizationFor(nodeId: string, nonce: string, privateKey: KeyObject): string {
  return linkAuthorization(nodeId, nonce, sign(null, linkProof(nodeId, nonce), privateKey));
}

export interface TestLink {
  sendRaw(frame: string | Buffer): void;
  send<K extends UplinkKind>(kind: K, body: UplinkBody<K>): void;
  /** The next message of that kind, also one that came before the call. */
  next<K extends DownlinkKind>(kind: K): Promise<DownlinkBody<K>>;
  closed: Promise<{ code: number; reason: string }>;
  close(): void;
  /** Reads nothing until `resume`. */
  pause(): void;
  resume(): void;
}

/** Opens a link; rejects with `HTTP <status> <code>` when the upgrade is refused. */
export function openLink(url: string, authorization: string): Promise<TestLink> {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/agent`, { headers: { authorization } });
    const inbox: Downlink[] = [];
    const waiting: { kind: DownlinkKind; give: (message: Downlink) => void }[] = [];
    socket.on('message', data => {
      const decoded = decodeDownlink(data.toString());
      if (decoded.is !== 'message') throw new Error(`the cloud sent what is not a message: ${decoded.is}`);
      const { message } = decoded;
      const index = waiting.findIndex(each => each.kind === message.kind);
      if (index < 0) inbox.push(message);
      else waiting.splice(index, 1)[0]?.give(message);
    });
    const closed = new Promise<{ code: number; reason: string }>(done =>
      socket.on('close', (code, reason) => done({ code, reason: reason.toString() })),
    );
    socket.on('unexpected-response', (_request, response) => {
      let text = '';
      response.setEncoding('utf8').on('data', chunk => {
        text += chunk;
      });
      response.on('end', () => reject(new Error(`HTTP ${response.statusCode} ${JSON.parse(text).code}`)));
    });
    socket.on('error', reject);
    socket.on('open', () =>
      resolve({
        sendRaw: frame => socket.send(frame),
        send: (kind, body) => socket.send(encodeUplink(kind, body)),
        next: kind => {
          const index = inbox.findIndex(each => each.kind === kind);
          if (index >= 0) return Promise.resolve(inbox.splice(index, 1)[0]?.body as never);
          return new Promise((give, fail) => {
            const timer = setTimeout(() => fail(new Error(`no ${kind} from the cloud`)), WAIT_MS);
            waiting.push({
              kind,
              give: message => {
                clearTimeout(timer);
                give(message.body as never);
              },
            });
          });
        },
        closed,
        close: () => socket.close(),
        pause: () => socket.pause(),
        resume: () => socket.resume(),
      }),
    );
  });
}

/** Challenge, proof, socket, hello, welcome. */
export async function connect(
  url: string,
  node: { id: string; privateKey: KeyObject },
  hello: Partial<UplinkBody<'hello'>> & { epoch: string },
): Promise<{ link: TestLink; welcome: DownlinkBody<'welcome'> }> {
  const nonce = await challenge(url, node.id);
  const link = await openLink(url, authorizationFor(node.id, nonce, node.privateKey));
  link.send('hello', {
    agentVersion: '0.1.0',
    bootId: 'boot',
    now: Date.now(),
    lastSequence: 0,
    running: { revision: 0, hash: null },
    ...hello,
  });
  return { link, welcome: await link.next('welcome') };
}
