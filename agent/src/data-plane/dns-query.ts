/**
 * Asks name servers one question, from the slot's own address: by UDP, again by UDP when nothing comes, by TCP when the
 * answer was cut (RFC 7766), and the next server when one says that it cannot. Each try has a port and an id of its
 * own, against forged answers (RFC 5452), and is heard until the end, since a radio that sleeps answers late. What
 * bytes mean is shared/protocols/dns.ts; what is done with answers is resolver.ts.
 */
import { randomInt } from 'node:crypto';
import { createSocket } from 'node:dgram';
import { connect, isIP, isIPv6 } from 'node:net';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import {
  type DnsAnswer,
  type DnsQuestion,
  dnsQuery,
  RCODE_FORMAT_ERROR,
  readDnsAnswer,
} from '@mastline/shared/protocols/dns';
import type { CountOwn, Egress } from '../ports';
import { sourceFor } from './source-address';

/** How long each try waits before the next one begins beside it. */
const TRY_MS = [1_000, 2_000, 2_000, 3_000];
const DNS_PORT = 53;

export interface NameServer {
  address: string;
  port: number;
  /** To ask from; null lets the kernel choose. */
  localAddress: string | null;
}

/** `failed`: servers answered that they cannot, or could not be asked. `silent`: nothing came in time. */
export type QueryOutcome = Extract<DnsAnswer, { kind: 'found' | 'none' }> | { kind: 'failed' | 'silent' };

/** The servers that the slot can reach. Written as `1.2.3.4`, `1.2.3.4:53`, `2001:db8::1` or `[2001:db8::1]:53`. */
export function nameServersOf(
  egress: Pick<Egress, 'sourceAddress' | 'sourceAddress6' | 'dnsServers'>,
): NameServer[] {
  return egress.dnsServers.flatMap(text => {
    const match = isIP(text) === 0 ? /^(?:\[([^\]]+)\]|([0-9.]+))(?::([0-9]{1,5}))?$/.exec(text) : null;
    const address = match ? (match[1] ?? match[2] ?? '') : text;
    const port = Number(match?.[3] ?? DNS_PORT);
    if (isIP(address) === 0 || port < 1 || port > 65_535) return [];
    const source = sourceFor(egress, address);
    return source.ok ? [{ address, port, localAddress: source.localAddress }] : [];
  });
}

export interface QueryOptions {
  servers: readonly NameServer[];
  clock: Clock;
  /** Told what is sent and received. */
  count?: CountOwn | undefined;
}

/**
 * Asks `servers`, of which there must be one. `settled` is called once, after this returns; calling what this returns
 * gives up, and `settled` is then not called.
 */
export function askNameServers(
  question: DnsQuestion,
  options: QueryOptions,
  settled: (outcome: QueryOutcome) => void,
): () => void {
  const query = new Query(question, options, settled);
  query.next();
  return () => query.close();
}

/** One message on its way. */
interface Try {
  close(): void;
}

class Query {
  readonly #question: DnsQuestion;
  readonly #servers: NameServer[];
  readonly #clock: Clock;
  readonly #settled: (outcome: QueryOutcome) => void;
  readonly #count: CountOwn;
  readonly #tries = new Set<Try>();
  readonly #plain = new Set<NameServer>();
  #begun = 0;
  #failed = false;
  #timer: Timer | null = null;
  #closed = false;

  constructor(question: DnsQuestion, options: QueryOptions, settled: (outcome: QueryOutcome) => void) {
    this.#question = question;
    this.#servers = [...options.servers];
    this.#clock = options.clock;
    this.#settled = settled;
    this.#count = options.count ?? (() => undefined);
  }

  /** Begins the next try, of the server whose turn it is. */
  next(): void {
    this.#timer?.cancel();
    this.#timer = null;
    const waitMs = TRY_MS[this.#begun];
    const server = this.#servers[0];
    if (waitMs === undefined || server === undefined) {
      this.#settle({ kind: this.#failed ? 'failed' : 'silent' });
      return;
    }
    this.#servers.push(...this.#servers.splice(0, 1));
    this.#begun += 1;
    this.#timer = this.#clock.after(waitMs, () => this.next());
    this.#udp(server);
  }

  close(): void {
    this.#closed = true;
    this.#timer?.cancel();
    for (const one of this.#tries) one.close();
    this.#tries.clear();
  }

  #settle(outcome: QueryOutcome): void {
    if (this.#closed) return;
    this.close();
    this.#settled(outcome);
  }

  #take(answer: DnsAnswer | null, server: NameServer, by: Try): void {
    if (answer === null || this.#closed) return;
    if (answer.kind === 'found' || answer.kind === 'none') {
      this.#settle(answer);
      return;
    }
    this.#end(by);
    if (answer.kind === 'truncated') this.#tcp(server);
    else if (answer.rcode === RCODE_FORMAT_ERROR && !this.#plain.has(server)) {
      this.#plain.add(server);
      this.#udp(server);
    } else this.#fails(server);
  }

  #end(one: Try): void {
    this.#tries.delete(one);
    one.close();
  }

  /** Is not asked again. */
  #fails(server: NameServer): void {
    if (this.#closed) return;
    this.#failed = true;
    const at = this.#servers.indexOf(server);
    if (at >= 0) this.#servers.splice(at, 1);
    this.next();
  }

  #sent(upBytes: number, upDatagrams: number): void {
    this.#count({ upBytes, downBytes: 0, upDatagrams, downDatagrams: 0 });
  }

  #message(server: NameServer): { id: number; bytes: Buffer } {
    const id = randomInt(0x1_0000);
    return { id, bytes: dnsQuery(id, this.#question, !this.#plain.has(server)) };
  }

  #udp(server: NameServer): void {
    const { id, bytes } = this.#message(server);
    const socket = createSocket(isIPv6(server.address) ? 'udp6' : 'udp4');
    let open = true;
    let bound = false;
    const one: Try = {
      close: () => {
        if (!open) return;
        open = false;
        socket.close();
      },
    };
    const failed = () => {
      if (!open) return;
      this.#end(one);
      this.#fails(server);
    };
    this.#tries.add(one);
    socket.once('listening', () => {
      bound = true;
    });
    // Refused by a firewall or nobody there (ICMP), no descriptor, no such local address. Closing what was not bound
    // yet had to wait, and when binding fails nobody else does it.
    socket.on('error', () => {
      if (open) failed();
      else if (!bound) socket.close();
    });
    socket.on('message', answer => {
      this.#count({ upBytes: 0, downBytes: answer.length, upDatagrams: 0, downDatagrams: 1 });
      if (open) this.#take(readDnsAnswer(answer, id, this.#question), server, one);
    });
    const { localAddress, address, port } = server;
    socket.bind({ port: 0, exclusive: true, ...(localAddress === null ? {} : { address: localAddress }) });
    // Connected: the kernel drops what others send.
    socket.connect(port, address, (error?: Error) => {
      if (error) failed();
      else if (open) socket.send(bytes, unsent => (unsent ? failed() : this.#sent(bytes.length, 1)));
    });
  }

  #tcp(server: NameServer): void {
    const { id, bytes } = this.#message(server);
    const { localAddress, address: host, port } = server;
    const socket = connect({ host, port, ...(localAddress === null ? {} : { localAddress }) });
    const one: Try = { close: () => void socket.destroy() };
    this.#tries.add(one);
    let held: Buffer = Buffer.alloc(0);
    socket.once('connect', () => {
      socket.write(Buffer.concat([Buffer.from([bytes.length >> 8, bytes.length & 0xff]), bytes]));
      this.#sent(2 + bytes.length, 0);
    });
    socket.on('data', part => {
      this.#count({ upBytes: 0, downBytes: part.length, upDatagrams: 0, downDatagrams: 0 });
      held = Buffer.concat([held, part]);
      if (held.length < 2 || held.length < 2 + held.readUInt16BE(0)) return;
      const message = held.subarray(2, 2 + held.readUInt16BE(0));
      const answer = readDnsAnswer(message, id, this.#question);
      // Here nobody else can have sent it: what is not the answer is a failure.
      if (answer && answer.kind !== 'truncated') this.#take(answer, server, one);
      else socket.destroy();
    });
    // "close" follows.
    socket.on('error', () => undefined);
    socket.once('close', () => {
      if (!this.#tries.delete(one)) return;
      this.#fails(server);
    });
  }
}
