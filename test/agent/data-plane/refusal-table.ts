/**
 * How each reason of refusal is brought about, by each protocol, or why it cannot come up there: the rows of the
 * refusal matrix (refusal-matrix.test.ts). The compiler asks for a row for each reason of shared/protocols/refusal.ts
 * and for a cell for each protocol. The stage and its clients are refusal-stage.ts.
 */
import { createCipheriv, hkdfSync } from 'node:crypto';
import dgram from 'node:dgram';
import { once } from 'node:events';
import type { Socket } from 'node:net';
import type { FlowLimits } from '@mastline/shared/domain/flow-limits';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import { socks5Datagram } from '@mastline/shared/protocols/socks5-udp';
import { decode, encode } from 'dns-packet';
import { eventually } from '../../support/eventually';
import { ALICE, pipelinedSocks5 } from './clients';
import { startDeafOrigin } from './deaf-origin';
import {
  answerOf,
  ask,
  associate,
  dropped,
  hear,
  httpHead,
  PROTOCOLS,
  type Protocol,
  pageFor,
  pageIn,
  type Setting,
  type Stage,
  saidTo,
  sealedPacket,
  slot,
} from './refusal-stage';
import { credential, readExactly, SECRET } from './rig';
import { clientStream, keyFor, type MethodName, packetCodec, seal, shadowsocks } from './shadowsocks-client';

export interface Scene {
  set(stage: Stage): Setting | Promise<Setting>;
  /** Says what the client saw; left out, it asks for the target in the ordinary way. */
  act?(stage: Stage, setting: Setting): Promise<string>;
  /** What it should see, where the table of refusals cannot say so. */
  saw?: string;
}

/** One or more ways to bring it about; a text says why there is none. */
export type Cell = Scene | readonly Scene[] | string;
export type Row = Record<Protocol, Cell>;

const HOST = '127.0.0.1';
const PUBLIC = { host: '8.8.8.8', port: 80 };
const NAMED = { host: 'target.example', port: 80 };
const MALFORMED = Buffer.from('not what it should be');

const SAME_LOGIN = 'the log-in is that of CONNECT, by the same code: see SOCKS5';
const NO_NAME = 'there is no user name in it, so nothing to ask for';
const NO_CHAIN = 'datagrams do not go through chains, which is command-not-supported';
const NOTHING_OPENED = 'a datagram opens no connection, so nobody refuses one';
const TUNNEL = 'bytes only pass: what the target says is for the client to judge';
const HTTP_ONLY = 'only HTTP has such a thing';
const SHADOWSOCKS_ONLY = 'only Shadowsocks looks for it';
const NO_ANSWER = 'dropped, 0 answers';
const SILENCE = 'silence, then reset';

const everywhere = (scene: Cell, except: Partial<Row> = {}): Row => ({
  ...(Object.fromEntries(PROTOCOLS.map(protocol => [protocol, scene])) as Row),
  ...except,
});
const only = (cells: Partial<Row>, elsewhere: string): Row => everywhere(elsewhere, cells);

const setting = (what: Setting): Scene => ({ set: () => what });
const limited = (limits: FlowLimits, more: Setting = {}): Scene =>
  setting({ ...more, plan: { credentials: [credential({ limits })] } });
const raw = (hex: string, saw?: string): Scene => ({
  set: () => ({}),
  act: stage => saidTo(stage, Buffer.from(hex.replaceAll(' ', ''), 'hex')),
  ...(saw === undefined ? {} : { saw }),
});
const LOGIN = Buffer.concat([
  Buffer.from([5, 1, 2, 1, 5]),
  Buffer.from('alice'),
  Buffer.from([SECRET.length]),
  Buffer.from(SECRET),
]).toString('hex');
const head = (text: string): Scene => ({ set: () => ({}), act: stage => pageFor(stage, text) });

/** Nothing comes and nothing closes when it is refused; only the deadline of the handshake ends it. */
async function silence(stage: Stage, bytes: Buffer): Promise<string> {
  const before = await stage.refusals();
  const socket = await stage.dial();
  const heard = hear(socket);
  socket.write(bytes);
  await stage.nextRefusal(before);
  const early = socket.destroyed || socket.readableEnded;
  const { bytes: answer, end } = await stage.passTimeUntil(heard);
  return early || answer.length > 0
    ? `${answer.toString('hex')} ${end}, early: ${early}`
    : `silence, then ${end}`;
}

const silent = (bytes: (stage: Stage) => Buffer, what: Setting = {}): Scene => ({
  set: () => what,
  act: stage => silence(stage, bytes(stage)),
  saw: SILENCE,
});

/** Shadowsocks AEAD as its specification has it: what the right key says, sense or not. */
function authentic(chunks: 'datagram' | 'stream', plain: Buffer): Buffer {
  const salt = Buffer.alloc(32, plain.length);
  const key = Buffer.from(hkdfSync('sha1', keyFor('aes-256-gcm'), salt, 'ss-subkey', 32));
  const sealed = (counter: number, bytes: Buffer) => {
    const nonce = Buffer.alloc(12);
    nonce[0] = counter;
    const cipher = createCipheriv('aes-256-gcm', key, nonce);
    return Buffer.concat([cipher.update(bytes), cipher.final(), cipher.getAuthTag()]);
  };
  if (chunks === 'datagram') return Buffer.concat([salt, sealed(0, plain)]);
  return Buffer.concat([salt, sealed(0, Buffer.from([0, plain.length])), sealed(1, plain)]);
}

const EDITION_2022: Setting = { method: '2022-blake3-aes-256-gcm' };

/** A name server that says `rcode` to everything; null says nothing. */
async function nameServer(stage: Stage, rcode: number | null): Promise<Setting> {
  const server = dgram.createSocket('udp4');
  server.on('message', (query, from) => {
    if (rcode === null) return;
    const { id = 0, questions = [] } = decode(query);
    server.send(encode({ type: 'response', id, flags: rcode, questions }), from.port, from.address);
  });
  server.bind(0, HOST);
  await once(server, 'listening');
  stage.keep({ close: () => new Promise<void>(resolve => server.close(() => resolve())) });
  return {
    target: NAMED,
    plan: { egresses: [slot({ dnsServers: [`${HOST}:${server.address().port}`] })] },
    byDatagram: true,
  };
}

const SERVFAIL = 2;
const NXDOMAIN = 3;

/** An endpoint behind a SOCKS5 hop that does what `serve` says. */
const behindHop = (serve: (socket: Socket) => void, more: Setting = {}): Scene => ({
  async set(stage) {
    const { port } = await stage.origin(serve);
    return {
      ...more,
      hop: 1,
      target: PUBLIC,
      endpoint: { chain: [{ protocol: 'socks5', host: HOST, port }] },
    };
  },
});

/** Says `replies` in hex, one to each thing that it hears. */
const hopSaying = (...replies: string[]) => {
  return (socket: Socket) => {
    const left = [...replies];
    socket.on('data', () => socket.write(Buffer.from(left.shift() ?? '', 'hex')));
    socket.on('end', () => socket.end());
  };
};

const chained = setting({
  endpoint: { chain: [{ protocol: 'socks5', host: HOST, port: 1 }] },
});

const talking = (serve: (socket: Socket) => void, more: Setting = {}): Scene => ({
  async set(stage) {
    const { port } = await stage.origin(serve);
    return { ...more, target: { host: HOST, port } };
  },
});

/** A flow that runs when a plan comes that has its endpoint no more. */
const endpointGone = (open: (stage: Stage, port: number) => Promise<Socket>): Scene => ({
  set: () => ({}),
  async act(stage) {
    const echo = await stage.origin(socket => socket.pipe(socket));
    const heard = hear(await open(stage, echo.port));
    const { plan, plane } = stage.rig;
    await plane.apply({ ...plan, endpoints: plan.endpoints.slice(1) });
    return (await heard).end;
  },
  saw: 'reset',
});

/** A kept connection that asks for something more while the plane drains. */
const whileDraining = (request: string): Scene => ({
  set: () => ({}),
  async act(stage) {
    const origin = await stage.origin(socket => {
      socket.on('data', () => socket.write('HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi'));
    });
    const socket = await stage.dial();
    let said = '';
    socket.on('data', bytes => {
      said += bytes;
    });
    socket.write(httpHead(`GET http://${HOST}:${origin.port}/`).replace('Connection: close\r\n', ''));
    await eventually(() => said.endsWith('hi'), 'the answer of the target');
    said = '';
    const closing = stage.rig.plane.close(60_000);
    socket.write(httpHead(request));
    await eventually(() => socket.readableEnded, 'the end behind the refusal');
    const page = pageIn(said);
    socket.destroy();
    await stage.passTimeUntil(closing);
    return page;
  },
});

export const ROWS: Record<RefusalReason, Row> = {
  'bad-request': {
    socks5: [
      raw(`${LOGIN} 05 01 01 01 01010101 0050`),
      raw(`${LOGIN} 05 01 00 01 01010101 0000`),
      raw('05 01 02 05', '05020101 end'),
    ],
    connect: head(httpHead('CONNECT target.example')),
    absolute: head('GET http://a.example/ HTTP/1.1\r\nHost : a\r\n\r\n'),
    shadowsocks: [
      silent(() => authentic('stream', MALFORMED)),
      silent(() => {
        const request = seal(clientStream('aes-256-gcm', PUBLIC), Buffer.from('hello'));
        request[60] = (request[60] ?? 0) ^ 1;
        return request;
      }),
    ],
    'socks5-udp': {
      set: () => ({}),
      async act(stage) {
        const { reply } = await associate(stage, ALICE);
        return dropped(stage, socks5Datagram(PUBLIC, Buffer.alloc(0)).subarray(0, 9), reply.readUInt16BE(8));
      },
      saw: NO_ANSWER,
    },
    'shadowsocks-udp': {
      set: () => ({}),
      act: stage => dropped(stage, authentic('datagram', MALFORMED), stage.port),
    },
  },
  'bad-framing': only(
    {
      connect: head(httpHead('CONNECT a.example:80').replace('\r\n\r\n', '\r\nContent-Length: 3\r\n\r\n')),
      absolute: head(
        'POST http://a.example/ HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n',
      ),
    },
    HTTP_ONLY,
  ),
  'not-a-proxy-request': only(
    {
      connect: 'CONNECT is a request to a proxy',
      absolute: [
        head('GET / HTTP/1.1\r\nHost: a\r\n\r\n'),
        head('GET https://a.example/ HTTP/1.1\r\nHost: a\r\n\r\n'),
      ],
    },
    HTTP_ONLY,
  ),
  'head-too-large': only(
    {
      connect: head(`CONNECT a.example:80 HTTP/1.1\r\nX: ${'x'.repeat(40_000)}`),
      absolute: head(`GET http://a.example/ HTTP/1.1\r\nX: ${'x'.repeat(40_000)}`),
    },
    HTTP_ONLY,
  ),
  'handshake-timeout': {
    socks5: [unfinished(''), unfinished('05 01'), unfinished(`${LOGIN} 05 01 00`, '05020100 reset')],
    connect: unfinishedHead('CONNECT a.example:80 HT'),
    absolute: unfinishedHead('GET http://a.example/ HTTP/1.1\r\nHost: a'),
    shadowsocks: [unfinished(''), unfinished('0102030405060708')],
    'socks5-udp': SAME_LOGIN,
    'shadowsocks-udp': 'datagrams have no handshake',
  },
  'unsupported-protocol': {
    socks5: [
      // SOCKS4, then 4a with a name: both hear their own refusal.
      raw('04 01 0050 08080808 616c69636500', '005b000000000000 end'),
      raw('04 01 0050 00000001 616c69636500 612e6578616d706c6500', '005b000000000000 end'),
      { ...setting({ endpoint: { protocols: ['http'] } }), saw: ' reset' },
    ],
    connect: setting({ endpoint: { protocols: ['socks5'] } }),
    absolute: setting({ endpoint: { protocols: ['socks5'] } }),
    shadowsocks: 'any first byte may be of its salt: another protocol is a wrong key',
    'socks5-udp': 'there is no other protocol to take it for',
    'shadowsocks-udp': 'any first byte may be of its salt: another protocol is a wrong key',
  },
  'unsupported-version': only(
    {
      connect: head('CONNECT a.example:80 HTTP/3.0\r\nHost: a\r\n\r\n'),
      absolute: head('GET http://a.example/ HTTP/2.0\r\nHost: a\r\n\r\n'),
    },
    HTTP_ONLY,
  ),
  'command-not-supported': {
    socks5: [
      { set: () => ({}), act: stage => saidTo(stage, pipelinedSocks5(PUBLIC, 2)) },
      { set: () => ({}), act: stage => saidTo(stage, pipelinedSocks5(PUBLIC, 9)) },
    ],
    connect: 'every method that is not CONNECT is for the target to judge',
    absolute: 'every method is for the target to judge',
    shadowsocks: 'there is one command only',
    'socks5-udp': [
      chained,
      {
        set: () => ({}),
        async act(stage) {
          const { reply } = await associate(stage, ALICE);
          const fragment = socks5Datagram(PUBLIC, Buffer.from('x'));
          fragment[2] = 1;
          return dropped(stage, fragment, reply.readUInt16BE(8));
        },
        saw: NO_ANSWER,
      },
    ],
    'shadowsocks-udp': chained,
  },
  'address-type-not-supported': {
    socks5: raw(`${LOGIN} 05 01 00 02`),
    connect: 'an address is text there, and what is none is bad-request',
    absolute: 'an address is text there, and what is none is bad-request',
    shadowsocks: 'a stranger who sends it hears nothing either way: bad-request',
    'socks5-udp': raw(`${LOGIN} 05 03 00 02`),
    'shadowsocks-udp': 'a stranger who sends it hears nothing either way: bad-request',
  },
  'credentials-required': {
    socks5: raw('05 01 00', '05ff end'),
    connect: setting({ login: null }),
    absolute: setting({ login: null }),
    shadowsocks: 'without a key it is noise, which is bad-credentials',
    'socks5-udp': SAME_LOGIN,
    'shadowsocks-udp': 'without a key it is noise, which is bad-credentials',
  },
  'bad-credentials': {
    socks5: ['alice', 'nobody'].map(username => ({
      ...setting({ login: { username, secret: 'wrong' } }),
      saw: '05020101 end',
    })),
    connect: setting({ login: { username: 'alice', secret: 'wrong' } }),
    absolute: setting({ login: { username: 'nobody', secret: SECRET } }),
    shadowsocks: silent(() => seal(clientStream('aes-256-gcm', PUBLIC, 'wrong'), Buffer.from('hello'))),
    'socks5-udp': SAME_LOGIN,
    'shadowsocks-udp': {
      set: () => ({}),
      async act(stage) {
        const out = Buffer.alloc(1_000);
        const bytes = packetCodec('aes-256-gcm', 'wrong').seal(PUBLIC, Buffer.from('x'), out);
        return dropped(stage, out.subarray(0, bytes), stage.port);
      },
    },
  },
  'bad-parameter': everywhere(setting({ login: { username: 'alice-sesion-a', secret: SECRET } }), {
    shadowsocks: NO_NAME,
    'shadowsocks-udp': NO_NAME,
  }),
  replayed: only(
    {
      shadowsocks: talkingTwice('aes-256-gcm'),
      'shadowsocks-udp': {
        set: () => ({}),
        async act(stage) {
          const packet = sealedPacket({ host: HOST, port: 1 });
          const first = dgram.createSocket('udp4');
          await new Promise(resolve => first.send(packet, stage.port, HOST, resolve));
          first.close();
          return dropped(stage, packet, stage.port);
        },
      },
    },
    SHADOWSOCKS_ONLY,
  ),
  'clock-skew': only(
    {
      shadowsocks: silent(stage => {
        stage.clock.jumpTo(Date.now() + 60_000);
        return seal(clientStream('2022-blake3-aes-256-gcm', PUBLIC), Buffer.from('hello'));
      }, EDITION_2022),
      'shadowsocks-udp': {
        set: () => EDITION_2022,
        act(stage, what) {
          stage.clock.jumpTo(Date.now() - 60_000);
          return ask(stage, 'shadowsocks-udp', what);
        },
      },
    },
    'only the 2022 edition of Shadowsocks asks for the time',
  ),
  suspended: everywhere(setting({ plan: { credentials: [credential({ suspended: true })] } })),
  'endpoint-not-allowed': everywhere(
    setting({ plan: { credentials: [credential({ endpointIds: ['side'] })] } }),
  ),
  'private-target': everywhere([
    setting({ target: { host: '169.254.169.254', port: 80 }, byDatagram: true }),
    setting({ target: { host: 'localhost', port: 80 }, plan: { allowTargets: [] }, byDatagram: true }),
  ]),
  'port-denied': everywhere([
    setting({ target: { host: '8.8.8.8', port: 25 }, byDatagram: true }),
    limited({ ports: ['443'] }, { target: PUBLIC, byDatagram: true }),
  ]),
  'too-many-flows': everywhere(limited({ concurrentFlows: 1 }, { held: 1 })),
  'too-many-new-flows': everywhere(limited({ flowsPerMinute: 1 }, { held: 1 })),
  'quota-exhausted': everywhere(limited({ quota: { lease: 'a', bytes: 0 } })),
  expired: everywhere(limited({ expiresAt: 1 })),
  'source-not-allowed': everywhere(limited({ sourceAddresses: ['10.0.0.0/8'] })),
  'modem-busy': everywhere(
    setting({ plan: { egresses: [slot({ limits: { concurrentFlows: 1 } })] }, held: 1 }),
  ),
  'modem-quota-exhausted': everywhere(
    setting({ plan: { egresses: [slot({ limits: { quota: { lease: 'a', bytes: 0 } } })] } }),
  ),
  draining: {
    socks5: endpointGone(async (stage, port) => {
      const socket = await stage.dial();
      socket.write(pipelinedSocks5({ host: HOST, port }));
      await readExactly(socket, 14);
      return socket;
    }),
    connect: whileDraining('CONNECT a.example:80'),
    absolute: whileDraining('GET http://a.example/'),
    shadowsocks: endpointGone(async (stage, port) => {
      const client = await shadowsocks(stage.port, 'aes-256-gcm', { host: HOST, port });
      const echoed = once(client.socket, 'data');
      client.send(Buffer.from('x'));
      await echoed;
      return stage.socket(client.socket);
    }),
    'socks5-udp': {
      set: () => ({}),
      async act(stage) {
        const { control } = await associate(stage, ALICE);
        const heard = hear(control);
        const { plan, plane } = stage.rig;
        await plane.apply({ ...plan, endpoints: plan.endpoints.slice(1) });
        return (await heard).end;
      },
      saw: 'end',
    },
    'shadowsocks-udp': {
      set: () => ({}),
      async act(stage) {
        const packet = sealedPacket({ host: HOST, port: 1 });
        const client = dgram.createSocket('udp4');
        let answers = 0;
        client.on('message', () => {
          answers += 1;
        });
        client.send(packet, stage.port, HOST);
        const { plan, plane } = stage.rig;
        const open = async () =>
          (await plane.metrics())[0]?.paths.some(path => path.openFlows === 1) ?? false;
        await eventually(open, 'the association');
        await plane.apply({ ...plan, endpoints: plan.endpoints.slice(1) });
        client.close();
        return `dropped, ${answers} answers`;
      },
    },
  },
  'no-modem': everywhere([
    setting({ plan: { egresses: [slot({ ready: false })] } }),
    setting({ plan: { egresses: [] } }),
  ]),
  'no-matching-modem': everywhere(setting({ login: { username: 'alice-modem-9', secret: SECRET } }), {
    shadowsocks: NO_NAME,
    'shadowsocks-udp': NO_NAME,
  }),
  'rotation-unavailable': everywhere(setting({ login: { username: 'alice-rotate-1', secret: SECRET } }), {
    shadowsocks: NO_NAME,
    'shadowsocks-udp': NO_NAME,
  }),
  'rotation-failed': everywhere(
    setting({
      login: { username: 'alice-rotate-1', secret: SECRET },
      rotate: async () => ({ kind: 'failed', reason: 'no registration' }),
    }),
    {
      shadowsocks: NO_NAME,
      'socks5-udp': 'an association rotates nothing, which is rotation-unavailable',
      'shadowsocks-udp': NO_NAME,
    },
  ),
  'hop-unreachable': everywhere(
    setting({ hop: 1, target: PUBLIC, endpoint: { chain: [{ protocol: 'http', host: HOST, port: 1 }] } }),
    { 'socks5-udp': NO_CHAIN, 'shadowsocks-udp': NO_CHAIN },
  ),
  'hop-refused': everywhere(
    [behindHop(socket => socket.end()), behindHop(hopSaying('0500', '05010001000000000000'))],
    { 'socks5-udp': NO_CHAIN, 'shadowsocks-udp': NO_CHAIN },
  ),
  'hop-credentials': everywhere(behindHop(hopSaying('05ff')), {
    'socks5-udp': NO_CHAIN,
    'shadowsocks-udp': NO_CHAIN,
  }),
  'hop-protocol': everywhere(
    behindHop(socket => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')),
    {
      'socks5-udp': NO_CHAIN,
      'shadowsocks-udp': NO_CHAIN,
    },
  ),
  'hop-timeout': everywhere(
    behindHop(socket => socket.resume(), { waits: true }),
    {
      'socks5-udp': NO_CHAIN,
      'shadowsocks-udp': NO_CHAIN,
    },
  ),
  'chain-invalid': everywhere(
    {
      async set(stage) {
        const port = await stage.choosePort();
        return { hop: 1, target: PUBLIC, endpoint: { chain: [{ protocol: 'socks5', host: HOST, port }] } };
      },
    },
    { 'socks5-udp': NO_CHAIN, 'shadowsocks-udp': NO_CHAIN },
  ),
  'modem-failed': everywhere(
    setting({
      target: PUBLIC,
      plan: { egresses: [slot({ sourceAddress: '203.0.113.7' })] },
      byDatagram: true,
    }),
  ),
  'network-unreachable': everywhere(
    setting({
      target: { host: '2606:4700::1111', port: 80 },
      plan: { egresses: [slot({ sourceAddress: HOST })] },
      byDatagram: true,
    }),
  ),
  'resolver-failed': everywhere({ set: stage => nameServer(stage, SERVFAIL) }),
  'resolver-timeout': everywhere({
    set: async stage => ({ ...(await nameServer(stage, null)), waits: true }),
  }),
  'name-not-found': everywhere({ set: stage => nameServer(stage, NXDOMAIN) }),
  'origin-refused': everywhere(setting({ target: { host: HOST, port: 1 } }), {
    'socks5-udp': NOTHING_OPENED,
    'shadowsocks-udp': NOTHING_OPENED,
  }),
  // No route of loopback answers "host unreachable"; a hop does, and it is told as the target's.
  'origin-unreachable': everywhere(behindHop(hopSaying('0500', '05040001000000000000')), {
    'socks5-udp': NOTHING_OPENED,
    'shadowsocks-udp': NOTHING_OPENED,
  }),
  'origin-timeout': everywhere(
    {
      async set(stage) {
        const { port } = stage.keep(await startDeafOrigin());
        return { target: { host: HOST, port }, waits: true };
      },
    },
    { 'socks5-udp': NOTHING_OPENED, 'shadowsocks-udp': NOTHING_OPENED },
  ),
  'origin-closed': everywhere(TUNNEL, { absolute: talking(socket => socket.end(), { carried: true }) }),
  'origin-bad-response': everywhere(TUNNEL, {
    absolute: talking(socket => socket.end('220 mail.example ready\r\n\r\n'), { carried: true }),
  }),
};

/** A SOCKS or Shadowsocks client that goes silent: there is no answer to a request that did not come. */
function unfinished(hex: string, saw = ' reset'): Scene {
  return {
    set: () => ({}),
    async act(stage) {
      const answer = saidTo(stage, Buffer.from(hex.replaceAll(' ', ''), 'hex'));
      await accepted(stage);
      return stage.passTimeUntil(answer);
    },
    saw,
  };
}

function unfinishedHead(text: string): Scene {
  return {
    set: () => ({}),
    async act(stage) {
      const answer = pageFor(stage, text);
      await accepted(stage);
      return stage.passTimeUntil(answer);
    },
  };
}

const accepted = (stage: Stage) =>
  eventually(async () => (await stage.rig.plane.metrics())[0]?.handshakes === 1, 'the connection');

/** The same beginning of a stream twice: the first is served, the second meets silence. */
function talkingTwice(method: MethodName): Scene {
  return {
    set: () => ({ method }),
    async act(stage) {
      const echo = await stage.origin(socket => socket.pipe(socket));
      const request = seal(clientStream(method, { host: HOST, port: echo.port }), Buffer.from('hello'));
      const first = await stage.dial();
      const answered = once(first, 'data');
      first.write(request);
      await answered;
      return silence(stage, request);
    },
    saw: SILENCE,
  };
}

/** What a client of `protocol` should see in `scene`. */
export function expectedOf(
  scene: Scene,
  refused: { reason: RefusalReason; protocol: Protocol; setting: Setting },
): string {
  return scene.saw ?? answerOf(refused.reason, refused.protocol, refused.setting);
}
