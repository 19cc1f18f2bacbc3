/**
 * Asks a data plane for something by each of its protocols and says what the client saw, as a short text to compare:
 * what the refusal matrix is played on. What is asked, and why it is refused, is refusal-table.ts.
 */
import dgram from 'node:dgram';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import type { Egress, RotateSlot, ServicePlan } from '@mastline/agent/ports';
import type { Endpoint } from '@mastline/shared/domain/endpoint';
import { REFUSALS, type RefusalReason } from '@mastline/shared/protocols/refusal';
import { socks5Datagram } from '@mastline/shared/protocols/socks5-udp';
import { formatAuthority, type Target } from '@mastline/shared/protocols/target';
import type { Certificates } from '../../support/certificates';
import { type FakeClock, fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { ALICE, basic, type Login, openTunnel, pipelinedSocks5, tcp } from './clients';
import { credential, endpoint, memorySink, type Origin, type Rig, startOrigin, startRig } from './rig';
import { clientStream, type MethodName, packetCodec, seal, shadowsocksEndpoint } from './shadowsocks-client';

export const PROTOCOLS = [
  'socks5',
  'connect',
  'absolute',
  'shadowsocks',
  'socks5-udp',
  'shadowsocks-udp',
] as const;
export type Protocol = (typeof PROTOCOLS)[number];

const HOST = '127.0.0.1';
const HOUR_MS = 3_600_000;
const ANSWER_DEADLINE_MS = 15_000;

/** The slot of every plan here, with what a scene changes of it. */
export const slot = (overrides: Partial<Egress> = {}): Egress => ({
  slot: 1,
  sourceAddress: null,
  dnsServers: [],
  ready: true,
  imei: null,
  guarded: [],
  ...overrides,
});

/** What is served and asked for. */
export interface Setting {
  plan?: Partial<Omit<ServicePlan, 'endpoints'>>;
  /** Changes of the endpoint that is asked. */
  endpoint?: Partial<Endpoint>;
  /** Of a Shadowsocks endpoint. */
  method?: MethodName;
  target?: Target;
  login?: Login | null;
  rotate?: RotateSlot;
  /** Flows of the same credential that are open already. */
  held?: number;
  /** Time has to pass before the answer comes. */
  waits?: boolean;
  /** Over UDP it is found with a datagram, when the association stands already. */
  byDatagram?: boolean;
  /** The request itself reaches the target before it fails, and is billed. */
  carried?: boolean;
  /** The hop that is named. */
  hop?: number;
}

/** A rig that is served, and what is to be closed with it. */
export class Stage {
  readonly clock: FakeClock = fakeClock();
  readonly sink = memorySink();
  readonly #closers: (() => Promise<unknown>)[] = [];
  readonly #certificates: Certificates | null;
  /** Port of the endpoint that is asked. */
  port = 0;
  #rig: Rig | null = null;
  #dialling = 0;

  /** With certificates everything is asked inside TLS. */
  constructor(certificates: Certificates | null = null) {
    this.#certificates = certificates;
  }

  get rig(): Rig {
    if (!this.#rig) throw new Error('nothing is served yet');
    return this.#rig;
  }

  /** Closed last come, first gone. */
  keep<Kept extends { close(): Promise<unknown> }>(kept: Kept): Kept {
    this.#closers.unshift(() => kept.close());
    return kept;
  }

  origin(serve: (socket: Socket) => void): Promise<Origin> {
    return startOrigin(serve).then(origin => this.keep(origin));
  }

  socket(socket: Socket): Socket {
    this.#closers.unshift(async () => socket.destroy());
    return socket;
  }

  /** A connection to the endpoint that is asked, with TLS done; no time passes meanwhile. */
  async dial(): Promise<Socket> {
    this.#dialling += 1;
    try {
      return this.socket(await (this.#certificates ? this.#dialTls(this.#certificates) : tcp(this.port)));
    } finally {
      this.#dialling -= 1;
    }
  }

  async #dialTls({ ca }: Certificates): Promise<Socket> {
    // Node takes `allowHalfOpen` here and documents it; its types do not know it yet.
    const options = { port: this.port, host: HOST, ca, servername: 'localhost', allowHalfOpen: true };
    const socket = connectTls(options);
    await once(socket, 'secureConnect');
    socket.on('error', () => undefined);
    return socket;
  }

  /** Before anything is served, for settings that name it. */
  async choosePort(): Promise<number> {
    this.port = await freePort();
    return this.port;
  }

  async serve(protocol: Protocol, setting: Setting): Promise<void> {
    this.clock.jumpTo(Date.now());
    const sideDoor = setting.held ? await freePort() : null;
    const rig = await this.#startOnFreePort(protocol, setting, sideDoor);
    this.#rig = rig;
    this.#closers.unshift(() => rig.close());
    if (!setting.held || sideDoor === null) return;
    const echo = await this.origin(socket => socket.pipe(socket));
    for (let at = 0; at < setting.held; at += 1) this.socket(await openTunnel(sideDoor, echo.port));
  }

  /** Other programs of this machine may take a port between its choice and its use: then another is chosen. */
  async #startOnFreePort(protocol: Protocol, setting: Setting, sideDoor: number | null): Promise<Rig> {
    const named = this.port !== 0;
    for (let tries = 1; ; tries += 1) {
      if (!named) await this.choosePort();
      const asked = protocol.startsWith('shadowsocks')
        ? shadowsocksEndpoint(this.port, setting.method ?? 'aes-256-gcm')
        : endpoint(this.port);
      const endpoints = [{ ...asked, ...this.#tls(), ...setting.endpoint }];
      if (sideDoor !== null) endpoints.push(endpoint(sideDoor, { id: 'side' }));
      try {
        return await startRig({
          sink: this.sink,
          clock: this.clock,
          limits: setting.waits ? { lingerMs: HOUR_MS, handshakeMs: HOUR_MS, udpIdleMs: HOUR_MS } : {},
          ...(setting.rotate ? { rotate: setting.rotate } : {}),
          plan: { credentials: [credential()], egresses: [slot()], ...setting.plan, endpoints },
        });
      } catch (error) {
        if (named || tries === 3 || !/is taken by another program/.test(String(error))) throw error;
      }
    }
  }

  #tls(): Partial<Endpoint> {
    if (!this.#certificates) return {};
    const { certPath: certFile, keyPath: keyFile } = this.#certificates;
    return { tls: { certFile, keyFile, required: true } };
  }

  /** All that was refused so far. */
  async refusals(): Promise<Record<string, number>> {
    const sums: Record<string, number> = {};
    for (const lane of await this.rig.plane.metrics())
      for (const [reason, times] of Object.entries(lane.refusals)) sums[reason] = (sums[reason] ?? 0) + times;
    return sums;
  }

  /** Resolves when anything more was refused than now. */
  async nextRefusal(before: Record<string, number>): Promise<void> {
    const sum = (counts: Record<string, number>) => Object.values(counts).reduce((all, one) => all + one, 0);
    await eventually(async () => sum(await this.refusals()) > sum(before), 'a refusal to be counted');
  }

  /** Lets time pass until `answer` is there. */
  async passTimeUntil<Answer>(answer: Promise<Answer>): Promise<Answer> {
    let settled = false;
    const settling = answer.finally(() => {
      settled = true;
    });
    settling.catch(() => undefined);
    const end = performance.now() + ANSWER_DEADLINE_MS;
    while (!settled) {
      if (performance.now() > end) throw new Error('no answer, however much time passes');
      // The deadline of a handshake must not end before its client has begun it.
      if (this.#dialling > 0) await new Promise(setImmediate);
      else await this.clock.advance(1_000);
    }
    return settling;
  }

  async close(): Promise<void> {
    for (const closer of this.#closers) await closer();
  }
}

/** Everything that comes until the connection is over, as hex, and how it ended. */
export function hear(socket: Socket): Promise<{ bytes: Buffer; end: 'end' | 'reset' }> {
  return new Promise(resolve => {
    const chunks: Buffer[] = [];
    const over = (end: 'end' | 'reset') => resolve({ bytes: Buffer.concat(chunks), end });
    socket.on('data', chunk => chunks.push(chunk));
    socket.once('end', () => over('end'));
    socket.once('close', () => over('reset'));
    socket.resume();
  });
}

/** Sends `bytes` and says in hex what came back. */
export async function saidTo(stage: Stage, bytes: Buffer): Promise<string> {
  const socket = await stage.dial();
  const heard = hear(socket);
  socket.write(bytes);
  const { bytes: answer, end } = await heard;
  return `${answer.toString('hex')} ${end}`;
}

/** Sends `text` and says what answer came, in words of HTTP. */
export async function pageFor(stage: Stage, text: string): Promise<string> {
  const socket = await stage.dial();
  const heard = hear(socket);
  socket.write(text, 'latin1');
  const { bytes, end } = await heard;
  return end === 'reset' ? `${bytes.length} bytes, reset` : pageIn(bytes.toString());
}

/** Status, reason and page of an answer that is whole; throws when it is not. */
export function pageIn(answer: string): string {
  const at = answer.indexOf('\r\n\r\n');
  const [first = '', ...fields] = answer.slice(0, at).split('\r\n');
  const field = (name: string) =>
    fields.find(one => one.toLowerCase().startsWith(`${name}: `))?.slice(name.length + 2);
  const page = answer.slice(at + 4);
  const status = /^HTTP\/1\.1 (\d{3}) [A-Z][A-Za-z -]+$/.exec(first)?.[1];
  if (at < 0 || !status) throw new Error(`no HTTP answer: ${answer}`);
  if (Number(field('content-length')) !== Buffer.byteLength(page))
    throw new Error(`no whole page: ${answer}`);
  if (field('cache-control') !== 'no-store') throw new Error('a refusal may be kept by a cache');
  if ((status === '407') !== (field('proxy-authenticate')?.startsWith('Basic ') ?? false))
    throw new Error('407 and Proxy-Authenticate belong together');
  return `${status} ${field('mastline-error')} ${page.split(/(?<=\.)[ \n]/)[0]}`;
}

/** The whole request by each of the protocols; what came of it. */
export function ask(stage: Stage, protocol: Protocol, setting: Setting): Promise<string> {
  const target = setting.target ?? { host: HOST, port: 80 };
  const login = setting.login === undefined ? ALICE : setting.login;
  switch (protocol) {
    case 'socks5':
      return saidTo(stage, pipelinedSocks5(target, 1, login ?? ALICE));
    case 'connect':
      return pageFor(stage, httpHead(`CONNECT ${formatAuthority(target)}`, login));
    case 'absolute':
      return pageFor(stage, httpHead(`GET http://${formatAuthority(target)}/`, login));
    case 'shadowsocks':
      return saidTo(stage, seal(clientStream(setting.method ?? 'aes-256-gcm', target), Buffer.from('hello')));
    case 'socks5-udp':
      return associateAndSend(stage, target, login ?? ALICE);
    case 'shadowsocks-udp':
      return dropped(stage, sealedPacket(target, setting.method), stage.port);
  }
}

export function httpHead(request: string, login: Login | null = ALICE): string {
  const authorization = login ? `Proxy-Authorization: ${basic(login)}\r\n` : '';
  return `${request} HTTP/1.1\r\nHost: a.example\r\nConnection: close\r\n${authorization}\r\n`;
}

/** A datagram as the client with the right key seals it. */
export function sealedPacket(target: Target, method: MethodName = 'aes-256-gcm'): Buffer {
  const out = Buffer.alloc(2_000);
  return out.subarray(0, packetCodec(method).seal(target, Buffer.from('hello'), out));
}

/** An association that stands: its connection, and where its datagrams go. */
export async function associate(stage: Stage, login: Login): Promise<{ control: Socket; reply: Buffer }> {
  const control = await stage.dial();
  const chunks: Buffer[] = [];
  control.on('data', chunk => chunks.push(chunk));
  control.write(pipelinedSocks5({ host: '0.0.0.0', port: 0 }, 3, login));
  const all = () => Buffer.concat(chunks);
  await eventually(() => all().length >= 14 || control.readableEnded || control.destroyed, 'a reply');
  return { control, reply: all().subarray(4) };
}

async function associateAndSend(stage: Stage, target: Target, login: Login): Promise<string> {
  const { control, reply } = await associate(stage, login);
  if (reply[1] !== 0) {
    await eventually(() => control.readableEnded, 'the end behind a refusal');
    return `05020100${reply.toString('hex')} end`;
  }
  return dropped(stage, socks5Datagram(target, Buffer.from('hello')), reply.readUInt16BE(8));
}

/** Sends a datagram that is refused, and says how many came back until it was counted. */
export async function dropped(stage: Stage, packet: Buffer, port: number): Promise<string> {
  const before = await stage.refusals();
  const socket = dgram.createSocket('udp4');
  let answers = 0;
  socket.on('message', () => {
    answers += 1;
  });
  socket.bind(0, HOST);
  await once(socket, 'listening');
  stage.keep({ close: () => new Promise<void>(resolve => socket.close(() => resolve())) });
  socket.send(packet, port, HOST);
  await stage.nextRefusal(before);
  // What we send ourselves arrives behind anything that was answered before.
  const own = dgram.createSocket('udp4');
  own.send('behind', socket.address().port, HOST, () => own.close());
  await eventually(() => answers > 0, 'our own datagram');
  return `dropped, ${answers - 1} answers`;
}

/** What the table of refusals says that a client of this protocol sees. */
export function answerOf(reason: RefusalReason, protocol: Protocol, setting: Setting = {}): string {
  const { leg, http, page, socks5 } = REFUSALS[reason];
  const reply = `0502010005${socks5.toString(16).padStart(2, '0')}0001000000000000 end`;
  const hop = setting.hop === undefined ? '' : `; hop=${setting.hop}`;
  switch (protocol) {
    case 'socks5':
      return reply;
    case 'socks5-udp':
      return setting.byDatagram ? 'dropped, 0 answers' : reply;
    case 'connect':
    case 'absolute':
      return `${http} leg=${leg}; code=${reason}${hop} ${page}`;
    case 'shadowsocks':
      return ' reset';
    case 'shadowsocks-udp':
      return 'dropped, 0 answers';
  }
}
