/**
 * A Huawei HiLink stick as its host sees it: the web API on the stick's LAN address. Behaves as the fact sheet says,
 * nuisances included; what it does not know it answers with 100002 and remembers as a fault, so that a test can
 * insist that there was none. What it can do is in hilink-features.ts, how it may misbehave in hilink-knobs.ts.
 */
import { randomBytes } from 'node:crypto';
import { createServer as createHttpServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { Server, Socket } from 'node:net';
import { type Clock, systemClock, type Timer } from '@mastline/shared/base/clock';
import type { VirtualCarrier } from './carrier';
import {
  type Answer,
  FEATURE_GETS,
  FEATURE_POSTS,
  freshMemory,
  type Stick,
  type StickMemory,
} from './hilink-features';
import { type HilinkKnobs, usualKnobs } from './hilink-knobs';
import {
  basicInformation,
  currentPlmn,
  deviceInformation,
  deviceSignal,
  type Element,
  errorXml,
  monitoringStatus,
  OK_XML,
  responseXml,
  type StickIdentity,
  type StickView,
  trafficStatistics,
} from './hilink-replies';
import { HilinkSessions } from './hilink-session';

const NOT_SUPPORTED = 100_002;
const FORMAT_ERROR = 100_005;
/** Longest request body a stick takes, in bytes. */
const MAX_BODY_BYTES = 64 * 1024;
const MAX_FAULTS = 1000;
const MAX_REQUESTS = 100_000;

/** `up` answers, `hang` accepts and never answers, `dead` refuses connections. */
export type ApiMode = 'up' | 'hang' | 'dead';

export interface Fault {
  method: string;
  path: string;
  why: string;
}

export interface HilinkModemOptions {
  identity: StickIdentity;
  carrier: VirtualCarrier;
  /** The private address the carrier gives the stick in its n-th data connection. */
  wanAddress: (session: number) => string;
  dnsServers: readonly string[];
  /** Opens the port of the API; called again when a dead API comes back. */
  listen: () => Promise<Server>;
  /** Bytes carried for the LAN since power-on, for the traffic statistics. */
  bytes: () => Promise<{ up: number; down: number }>;
  knobs?: Partial<HilinkKnobs>;
  /** For the length of a reboot. */
  clock?: Clock;
  /** Makes `listen` open the port at the address from now on; left out where LAN addresses cannot change. */
  relocate?: (address: string) => void;
}

export interface HilinkModem {
  mode(): ApiMode;
  setMode(mode: ApiMode): Promise<void>;
  /** Requests the simulator does not know. */
  faults(): readonly Fault[];
  /** Turned by writing to it. */
  readonly knobs: HilinkKnobs;
  readonly memory: Readonly<StickMemory>;
  /** `METHOD path` of every request, in order. */
  requests(): readonly string[];
  wrongLogins(): number;
  close(): Promise<void>;
}

/** Starts the stick's web server. Rejects with the system's error when its port cannot be had. */
export async function startHilinkModem(options: HilinkModemOptions): Promise<HilinkModem> {
  const knobs: HilinkKnobs = { ...usualKnobs(), ...options.knobs };
  const sessions = new HilinkSessions({
    random: randomText,
    knobs,
    nowMs: () => (options.clock ?? systemClock).monotonicMs(),
  });
  const memory = freshMemory();
  const faults: Fault[] = [];
  const requests: string[] = [];
  const sockets = new Set<Socket>();
  const clock = options.clock ?? systemClock;
  let mode: ApiMode = 'dead';
  let listener: Server | undefined;
  let rebooting: Timer | undefined;
  let closed = false;
  /** What is to happen once the answer is out. */
  let afterwards: 'reboot' | 'relocate' | null = null;

  const stick: Stick = {
    knobs,
    carrier: options.carrier,
    sessions,
    memory,
    reboot: () => {
      afterwards = 'reboot';
    },
    relocate: options.relocate
      ? address => {
          options.relocate?.(address);
          afterwards = 'relocate';
        }
      : undefined,
  };
  const restart = async () => {
    await setMode('dead');
    await options.carrier.hangUp();
    sessions.steal();
    rebooting = clock.after(knobs.rebootMs, () => {
      if (closed) return;
      options.carrier.register();
      setMode('up').catch(error => faults.push({ method: '', path: '', why: String(error) }));
    });
  };
  const actAfterwards = async () => {
    const what = afterwards;
    afterwards = null;
    if (what === 'reboot') await restart();
    else if (what === 'relocate') {
      await setMode('dead');
      sessions.steal();
      await setMode('up');
    }
  };

  const http = createHttpServer((request, response) => {
    // A stick that hangs keeps the connection and says nothing.
    if (mode === 'hang') return;
    if (requests.length < MAX_REQUESTS)
      requests.push(`${request.method} ${(request.url ?? '').replace('/api/', '')}`);
    answer({ options, stick, faults, request }).then(
      reply => {
        if (afterwards === 'reboot' && knobs.losesRebootAnswer) {
          request.socket.resetAndDestroy();
          void actAfterwards();
        } else {
          response.once('close', () => void actAfterwards());
          send(response, reply);
        }
      },
      error => {
        faults.push({ method: request.method ?? '', path: request.url ?? '', why: String(error) });
        response.destroy();
      },
    );
  });
  http.keepAliveTimeout = 5000;

  const open = async () => {
    listener = await options.listen();
    listener.on('connection', socket => {
      sockets.add(socket);
      socket.once('close', () => sockets.delete(socket));
      http.emit('connection', socket);
    });
  };
  const shut = () =>
    new Promise<void>(resolve => {
      for (const socket of sockets) socket.destroy();
      if (!listener) return resolve();
      listener.close(() => resolve());
      listener = undefined;
    });

  const setMode = async (wanted: ApiMode) => {
    if (wanted === 'dead') await shut();
    else if (!listener) await open();
    // Connections that were left hanging are the client's to give up, as with a real stick.
    mode = wanted;
  };
  await setMode('up');
  return {
    mode: () => mode,
    setMode,
    faults: () => faults.slice(),
    knobs,
    memory,
    requests: () => requests.slice(),
    wrongLogins: () => sessions.wrongTries(),
    close: () => {
      closed = true;
      rebooting?.cancel();
      return setMode('dead');
    },
  };
}

interface Exchange {
  options: HilinkModemOptions;
  stick: Stick;
  faults: Fault[];
  request: IncomingMessage;
}

interface Reply {
  body: string;
  type?: string;
  headers?: Record<string, string>;
  cesu8?: boolean;
}

async function answer(exchange: Exchange): Promise<Reply> {
  const { request, stick } = exchange;
  const method = request.method ?? '';
  const path = (request.url ?? '').split('?', 1)[0] ?? '';
  const body = await readBody(request);
  if (method === 'GET' && (path === '/' || path === '/html/home.html')) return homePage(exchange);
  if (!path.startsWith('/api/')) return unknown(exchange, 'no such page');
  const name = path.slice('/api/'.length);
  const { knobs, sessions } = stick;
  if (knobs.stolenAfter > 0) {
    knobs.stolenAfter -= 1;
    if (knobs.stolenAfter === 0) sessions.steal();
  }
  if (knobs.lacks.includes(name)) return { body: errorXml(NOT_SUPPORTED) };
  const scripted = knobs.fail;
  const meant = scripted?.path === name && (scripted.method ?? method) === method;
  if (scripted && meant && scripted.times > 0) {
    scripted.times -= 1;
    return { body: errorXml(scripted.code) };
  }
  return method === 'POST' ? answerPost(exchange, name, body) : answerGet(exchange, name);
}

async function answerGet(exchange: Exchange, name: string): Promise<Reply> {
  const { request, stick, options } = exchange;
  const { sessions, knobs } = stick;
  if (name === 'webserver/SesTokInfo') {
    if (knobs.session !== 'session-token') return { body: errorXml(NOT_SUPPORTED) };
    const { session, token } = sessions.begin(request.headers.cookie);
    return xml([
      ['SesInfo', knobs.sessionPrefix ? `SessionID=${session}` : session],
      ['TokInfo', token],
    ]);
  }
  if (name === 'webserver/token') {
    if (knobs.session === 'none') return { body: errorXml(NOT_SUPPORTED) };
    // Firmware of that age puts 32 other characters before it.
    return xml([['token', `${randomText(32)}${sessions.issue()}`]]);
  }
  const feature = FEATURE_GETS[name];
  const read = GETS[name];
  if (request.method !== 'GET' || (!read && !feature)) return unknown(exchange, `no such ${request.method}`);
  const allowed = sessions.checkGet(name, request.headers.cookie);
  if (!allowed.ok) return { body: errorXml(allowed.code) };
  if (read) return xml(read(await viewOf(options, stick, name)));
  return replyOf(feature?.(stick) ?? NOT_SUPPORTED, stick);
}

async function answerPost(exchange: Exchange, name: string, body: string): Promise<Reply> {
  const { request, stick } = exchange;
  const { sessions, knobs } = stick;
  const change = FEATURE_POSTS[name];
  if (!change) return unknown(exchange, 'no such POST');
  const header = request.headers.__requestverificationtoken;
  const token = Array.isArray(header) ? header[0] : header;
  const allowed = sessions.checkPost(name, request.headers.cookie, token);
  if (!allowed.ok) return { body: errorXml(allowed.code) };
  const done = /^\s*(<\?xml[^>]*\?>)?\s*<request>[\s\S]*<\/request>\s*$/.test(body)
    ? await change(stick, body, token ?? '')
    : FORMAT_ERROR;
  const reply = replyOf(done, stick);
  if (knobs.session === 'none' || !knobs.tokenInReply) return reply;
  const login = done === 0 && (name === 'user/login' || name === 'user/authentication_login');
  if (!login) return { ...reply, headers: { __RequestVerificationToken: sessions.issue() } };
  const tokens = Array.from({ length: knobs.tokensAfterLogin }, () => sessions.issue());
  return {
    ...reply,
    headers:
      tokens.length === 2
        ? {
            __RequestVerificationTokenone: tokens[0] ?? '',
            __RequestVerificationTokentwo: tokens[1] ?? '',
          }
        : { __RequestVerificationToken: `${tokens.join('#')}#` },
  };
}

function replyOf(answer: Answer, stick: Stick): Reply {
  if (answer === 0) return { body: OK_XML };
  if (typeof answer === 'number') return { body: errorXml(answer) };
  if (Array.isArray(answer)) return xml(answer);
  const body = `<?xml version="1.0" encoding="UTF-8"?>\r\n<response>\r\n${answer.inner}\r\n</response>\r\n`;
  return { body, cesu8: stick.knobs.cesu8 };
}

type Read = (view: StickView) => Element[];

const GETS: Record<string, Read | undefined> = {
  'device/information': deviceInformation,
  'device/basic_information': basicInformation,
  'device/signal': deviceSignal,
  'monitoring/status': monitoringStatus,
  'monitoring/traffic-statistics': trafficStatistics,
  'monitoring/check-notifications': () => [
    ['UnreadMessage', 0],
    ['SmsStorageFull', 0],
    ['OnlineUpdateStatus', 10],
  ],
  'net/current-plmn': currentPlmn,
  'dialup/mobile-dataswitch': view => [['dataswitch', view.carrier.dataSwitch ? 1 : 0]],
};

async function viewOf(options: HilinkModemOptions, { knobs }: Stick, name: string): Promise<StickView> {
  const carrier = options.carrier.status();
  return {
    identity: options.identity,
    carrier,
    wanAddress: options.wanAddress(carrier.sessions),
    dnsServers: options.dnsServers,
    // Reading the interface's counters costs a process: only for whom it is.
    bytes: name === 'monitoring/traffic-statistics' ? await options.bytes() : { up: 0, down: 0 },
    status: {
      ...(knobs.sim === 'ready' ? {} : { SimStatus: knobs.sim === 'absent' ? '255' : '0' }),
      ...(knobs.wanInStatus && carrier.address !== null
        ? { WanIPAddress: options.wanAddress(carrier.sessions) }
        : {}),
      ...knobs.status,
    },
    signal: knobs.signal,
  };
}

function homePage({ stick, request }: Exchange): Reply {
  const { session, token } = stick.sessions.begin(request.headers.cookie);
  return {
    body: `<html><head><meta name="csrf_token" content="${token}"></head><body>HiLink (virtual)</body></html>`,
    type: 'text/html',
    headers: { 'set-cookie': `SessionID=${session}; path=/; HttpOnly` },
  };
}

function unknown(exchange: Exchange, why: string): Reply {
  const { faults, request } = exchange;
  if (faults.length < MAX_FAULTS) faults.push({ method: request.method ?? '', path: request.url ?? '', why });
  return { body: errorXml(NOT_SUPPORTED) };
}

function xml(elements: readonly Element[]): Reply {
  return { body: responseXml(elements) };
}

function send(response: ServerResponse, reply: Reply): void {
  const body = reply.cesu8 ? encodeCesu8(reply.body) : Buffer.from(reply.body, 'utf8');
  response.writeHead(200, {
    'content-type': reply.type ?? 'text/html',
    'content-length': body.length,
    ...reply.headers,
  });
  response.end(body);
}

/** Each UTF-16 unit by itself, as the firmware does it: an emoji becomes six bytes that are no UTF-8. */
function encodeCesu8(text: string): Buffer {
  const bytes: number[] = [];
  for (let i = 0; i < text.length; i += 1) {
    const unit = text.charCodeAt(i);
    if (unit < 0x80) bytes.push(unit);
    else if (unit < 0x800) bytes.push(0xc0 | (unit >> 6), 0x80 | (unit & 0x3f));
    else bytes.push(0xe0 | (unit >> 12), 0x80 | ((unit >> 6) & 0x3f), 0x80 | (unit & 0x3f));
  }
  return Buffer.from(bytes);
}

async function readBody(request: IncomingMessage): Promise<string> {
  const parts: Buffer[] = [];
  let bytes = 0;
  for await (const part of request) {
    bytes += part.length;
    if (bytes > MAX_BODY_BYTES) throw new Error(`a request body over ${MAX_BODY_BYTES} bytes`);
    parts.push(part);
  }
  return Buffer.concat(parts).toString('utf8');
}

function randomText(length: number): string {
  return randomBytes(length).toString('base64url').slice(0, length);
}
