/**
 * `npm run bench:datagrams`: what a datagram costs the agent, by SOCKS5's UDP ASSOCIATE and by Shadowsocks, with all
 * that it does for a real customer (mastline.ts). Clients here send datagrams of QUIC's size to an echo and keep some
 * on their way; what counts is the agent's CPU by datagram carried, there or back. The clients are in Node and cost
 * more than the agent: rates say little, the agent's CPU says all.
 *
 *     npm run bench:datagrams -- --seconds 3 --repeats 5
 */
import { randomBytes, randomFillSync } from 'node:crypto';
import { createSocket, type Socket } from 'node:dgram';
import { once } from 'node:events';
import { connect } from 'node:net';
import { AGENT_VERSION } from '@mastline/agent/version';
import { AeadPacketClient } from '@mastline/shared/protocols/shadowsocks/aead-packets';
import { keyFromPassword } from '@mastline/shared/protocols/shadowsocks/keys';
import { requireMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import { MAX_PACKET_OVERHEAD_BYTES } from '@mastline/shared/protocols/shadowsocks/packets';
import { parseSocks5Datagram, socks5Datagram } from '@mastline/shared/protocols/socks5-udp';
import { buildAgent } from '../../installer/local/build';
import { readFlags, wholeFlag } from '../support/flags';
import { mastline } from './mastline';
import { type Login, SHADOWSOCKS_METHOD } from './peers';
import { makeWorkplace, portsFor } from './places';
import { cpuSecondsOf } from './process-tree';
import { Programs, reachableFileLimit } from './programs';

/** A QUIC packet on a path of 1,500 bytes. */
const PAYLOAD_BYTES = 1_200;
const ASSOCIATIONS = 4;
/** Datagrams of one association on their way; what is lost is sent anew after a while. */
const ON_THEIR_WAY = 16;
const LOST_AFTER_MS = 100;
const WARM_SECONDS = 1;
const PROTOCOLS = ['socks5', 'shadowsocks'] as const;

/** A client's socket, and how its datagrams are dressed. */
interface Client {
  socket: Socket;
  port: number;
  wrap(payload: Buffer): Buffer;
  /** Bytes of payload in an answer; 0 when it is none. */
  unwrap(packet: Buffer): number;
  close(): void;
}

const values = readFlags({
  seconds: { type: 'string', default: '3' },
  repeats: { type: 'string', default: '5' },
});
const seconds = wholeFlag('seconds', values.seconds, { least: 1, most: 600 });
const repeats = wholeFlag('repeats', values.repeats, { least: 1, most: 1_000 });

const workplace = makeWorkplace();
const programs = new Programs(reachableFileLimit(), workplace.root);
const origin = createSocket('udp4');
try {
  await buildAgent();
  origin.bind(0, '127.0.0.1');
  await once(origin, 'listening');
  origin.on('message', (bytes, from) => origin.send(bytes, from.port, from.address));
  const login: Login = { user: 'bench', password: randomBytes(20).toString('hex') };
  const agent = mastline(1, { login, version: AGENT_VERSION, protocols: [...PROTOCOLS] });
  const ports = await portsFor(agent);
  const targetPort = origin.address().port;
  const running = await programs.start(agent.program({ dir: workplace.folder('agent'), ports, targetPort }));
  for (const repeat of Array.from({ length: repeats + 1 }, (_, at) => at))
    for (const protocol of PROTOCOLS) {
      const port = ports.get(protocol) ?? 0;
      const clients: Client[] = [];
      for (let at = 0; at < ASSOCIATIONS; at += 1)
        clients.push(
          protocol === 'socks5'
            ? await socks5Client(port, login, targetPort)
            : await shadowsocksClient(port, login, targetPort),
        );
      try {
        // The first round lets compilers do their work.
        const lasts = repeat === 0 ? WARM_SECONDS : seconds;
        const before = cpuSecondsOf(running.pid);
        const answered = await load(clients, lasts);
        const micros = ((cpuSecondsOf(running.pid) - before) / (2 * answered)) * 1e6;
        running.mustLive();
        if (answered === 0) throw new Error(`nothing came back over ${protocol}`);
        if (repeat > 0)
          console.log(
            `${repeat} ${protocol.padEnd(12)} ${micros.toFixed(1)} µs CPU a datagram, ${Math.round((2 * answered) / lasts)} a second`,
          );
      } finally {
        for (const client of clients) client.close();
      }
    }
  await running.stop();
} finally {
  origin.close();
  await programs.close();
  workplace.remove();
}

/** Answers that came in `lasts` seconds. */
async function load(clients: readonly Client[], lasts: number): Promise<number> {
  const payload = randomBytes(PAYLOAD_BYTES);
  let answered = 0;
  let over = false;
  const timers: NodeJS.Timeout[] = [];
  for (const client of clients) {
    let waiting = 0;
    let heard = 0;
    let heardBefore = 0;
    const send = () => {
      waiting += 1;
      client.socket.send(client.wrap(payload), client.port, '127.0.0.1');
    };
    client.socket.on('message', packet => {
      if (client.unwrap(packet) !== PAYLOAD_BYTES) throw new Error('an answer is not what was sent');
      answered += over ? 0 : 1;
      heard += 1;
      waiting -= 1;
      if (!over) send();
    });
    timers.push(
      setInterval(() => {
        if (heard === heardBefore) waiting = 0;
        heardBefore = heard;
        while (!over && waiting < ON_THEIR_WAY) send();
      }, LOST_AFTER_MS),
    );
    while (waiting < ON_THEIR_WAY) send();
  }
  await new Promise(resolve => setTimeout(resolve, lasts * 1000));
  over = true;
  for (const timer of timers) clearInterval(timer);
  return answered;
}

async function openSocket(): Promise<Socket> {
  const socket = createSocket('udp4');
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  return socket;
}

async function shadowsocksClient(port: number, login: Login, targetPort: number): Promise<Client> {
  const method = requireMethod(SHADOWSOCKS_METHOD);
  const key = keyFromPassword(login.password, method.keyBytes);
  const codec = new AeadPacketClient(method, key, into => void randomFillSync(into));
  const target = { host: '127.0.0.1', port: targetPort };
  const socket = await openSocket();
  return {
    socket,
    port,
    wrap(payload) {
      const out = Buffer.allocUnsafe(payload.length + MAX_PACKET_OVERHEAD_BYTES);
      return out.subarray(0, codec.seal(target, payload, out));
    },
    unwrap: packet => codec.open(packet)?.payload.length ?? 0,
    close: () => socket.close(),
  };
}

async function socks5Client(port: number, login: Login, targetPort: number): Promise<Client> {
  const lifeLine = connect(port, '127.0.0.1');
  lifeLine.on('error', () => undefined);
  const say = async (bytes: Buffer): Promise<Buffer> => {
    lifeLine.write(bytes);
    const [answer] = (await once(lifeLine, 'data')) as [Buffer];
    return answer;
  };
  await say(Buffer.from([5, 1, 2]));
  const [user, password] = [Buffer.from(login.user), Buffer.from(login.password)];
  await say(Buffer.concat([Buffer.from([1, user.length]), user, Buffer.from([password.length]), password]));
  const answer = await say(Buffer.from([5, 3, 0, 1, 0, 0, 0, 0, 0, 0]));
  if (answer[1] !== 0) throw new Error(`UDP ASSOCIATE was refused with ${answer[1]}`);
  const target = { host: '127.0.0.1', port: targetPort };
  const socket = await openSocket();
  return {
    socket,
    port: answer.readUInt16BE(8),
    wrap: payload => socks5Datagram(target, payload),
    unwrap(packet) {
      const read = parseSocks5Datagram(packet);
      return read.kind === 'datagram' ? read.payload.length : 0;
    },
    close() {
      socket.close();
      lifeLine.destroy();
    },
  };
}
