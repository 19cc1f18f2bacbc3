/**
 * A TCP proxy between agent and cloud that breaks what it carries when told: it cuts connections, leaves one side
 * half-open, goes silent, and does things to usage batches that no TCP would: it doubles, reorders and shortens them and
 * breaks frames off in the middle. It reads the WebSocket frames of the agent's side (RFC 6455 section 5.2); all else
 * passes as it came. Bounded: it holds at most one batch back on a connection, and reads no faster than it may write.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { MAX_FRAME_BYTES } from '@mastline/shared/wire/limits';

const HOST = '127.0.0.1';
/** A batch that waits for the next one to overtake it waits no longer. */
const OVERTAKE_MS = 1_500;
const MAX_HEAD_BYTES = 16 * 1024;

export type BatchTrick = 'double' | 'reorder' | 'truncate' | 'break';

export interface WickedLink {
  port: number;
  /** Ports of the cloud's processes. A connection goes to the next in turn, or to one that answers. */
  clouds: number[];
  /** What is done to usage batches from now on, at random one in two; several take turns by chance. */
  tricks: Set<BatchTrick>;
  /** How often each trick was played, and connections cut. */
  played: Record<BatchTrick | 'cut' | 'half-open' | 'stall', number>;
  /** Ends all connections by a reset, on both sides at once. */
  cut(): void;
  /** Resets one side only; the other hears nothing until `heal`. */
  halfOpen(side: 'agent' | 'cloud'): void;
  /** Nothing passes, nothing is lost, until `heal`. */
  stall(): void;
  /** Carries on; what was left half-open is reset, as the kernel of a peer that knows nothing of it would. */
  heal(): void;
  close(): Promise<void>;
}

interface Pair {
  agent: Socket;
  cloud: Socket;
  halfOpen: boolean;
}

export async function startWickedLink(cloudPorts: number[], random: () => number): Promise<WickedLink> {
  const pairs = new Set<Pair>();
  let stalled = false;
  let turn = 0;
  const played: WickedLink['played'] = {
    double: 0,
    reorder: 0,
    truncate: 0,
    break: 0,
    cut: 0,
    'half-open': 0,
    stall: 0,
  };

  const destroyBoth = (pair: Pair) => {
    pairs.delete(pair);
    pair.agent.resetAndDestroy();
    pair.cloud.resetAndDestroy();
  };

  const accept = async (agent: Socket) => {
    // A reset while a process is looked for is no news: its connection is closed below.
    agent.on('error', () => undefined);
    agent.pause();
    turn += 1;
    const cloud = await firstThatAnswers(link.clouds, turn);
    if (cloud === undefined || agent.destroyed) {
      agent.resetAndDestroy();
      cloud?.destroy();
      return;
    }
    const pair: Pair = { agent, cloud, halfOpen: false };
    pairs.add(pair);
    const uplink = new Uplink({
      write: bytes => {
        if (!cloud.destroyed && !cloud.write(bytes)) agent.pause();
      },
      trick: () => (random() < 0.5 ? [...link.tricks][Math.floor(random() * link.tricks.size)] : undefined),
      playedTrick: trick => {
        played[trick] += 1;
      },
      breakOff: () => destroyBoth(pair),
    });
    if (stalled) cloud.pause();
    agent.on('data', (bytes: Buffer) => {
      if (!pair.halfOpen) uplink.take(bytes);
    });
    cloud.on('data', (bytes: Buffer) => {
      if (!pair.halfOpen && !agent.destroyed && !agent.write(bytes)) cloud.pause();
    });
    agent.on('drain', () => !stalled && cloud.resume());
    cloud.on('drain', () => !stalled && agent.resume());
    agent.on('end', () => !pair.halfOpen && cloud.end());
    cloud.on('end', () => !pair.halfOpen && agent.end());
    for (const [one, other] of [
      [agent, cloud],
      [cloud, agent],
    ] as const) {
      // A broken end is what this proxy is about; the other end is told below.
      one.on('error', () => undefined);
      one.on('close', () => {
        uplink.end();
        if (pair.halfOpen) return;
        pairs.delete(pair);
        other.destroy();
      });
    }
    // Paused until there was somebody to read for.
    if (!stalled) agent.resume();
  };

  const server: Server = createServer({ allowHalfOpen: true, noDelay: true }, agent => void accept(agent));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen({ port: 0, host: HOST }, resolve);
  });
  const address = server.address();
  if (typeof address !== 'object' || address === null) throw new Error('the link proxy has no port');

  const link: WickedLink = {
    port: address.port,
    clouds: cloudPorts,
    tricks: new Set(),
    played,
    cut() {
      for (const pair of [...pairs]) {
        played.cut += 1;
        destroyBoth(pair);
      }
    },
    halfOpen(side) {
      for (const pair of pairs) {
        played['half-open'] += 1;
        pair.halfOpen = true;
        (side === 'agent' ? pair.agent : pair.cloud).resetAndDestroy();
      }
    },
    stall() {
      stalled = true;
      for (const { agent, cloud } of pairs) {
        played.stall += 1;
        agent.pause();
        cloud.pause();
      }
    },
    heal() {
      stalled = false;
      for (const pair of [...pairs]) {
        if (pair.halfOpen) destroyBoth(pair);
        else {
          pair.agent.resume();
          pair.cloud.resume();
        }
      }
    },
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve());
        for (const pair of [...pairs]) destroyBoth(pair);
      }),
  };
  return link;
}

/** A connection to one of these, beginning with the `turn`-th; undefined when none answers. */
async function firstThatAnswers(ports: readonly number[], turn: number): Promise<Socket | undefined> {
  for (const [nth] of ports.entries()) {
    const port = ports[(turn + nth) % ports.length] ?? 0;
    const socket = connect({ host: HOST, port, noDelay: true, allowHalfOpen: true });
    const answers = await new Promise<boolean>(resolve => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    if (answers) return socket;
    socket.destroy();
  }
  return undefined;
}

interface Frame {
  bytes: Buffer;
  /** The parsed message when it is a whole, masked text frame with a usage batch in it. */
  batch: { v: number; kind: string; body: { records: unknown[] } } | undefined;
}

interface UplinkEnds {
  write(bytes: Buffer): void;
  /** What to do to the batch at hand. */
  trick(): BatchTrick | undefined;
  playedTrick(trick: BatchTrick): void;
  breakOff(): void;
}

/** The agent's bytes, one frame at a time once it speaks WebSocket. */
class Uplink {
  readonly #to: UplinkEnds;
  #mode: 'head' | 'frames' | 'raw' = 'head';
  #held: Buffer = Buffer.alloc(0);
  #overtaken: { frame: Buffer; timer: NodeJS.Timeout } | undefined;
  #ended = false;

  constructor(to: UplinkEnds) {
    this.#to = to;
  }

  take(bytes: Buffer): void {
    if (this.#ended) return;
    if (this.#mode === 'raw') {
      this.#to.write(bytes);
      return;
    }
    this.#held = this.#held.length === 0 ? bytes : Buffer.concat([this.#held, bytes]);
    if (this.#mode === 'head') this.#readHead();
    while (this.#mode === 'frames' && !this.#ended) {
      const length = frameLength(this.#held);
      if (length === undefined || this.#held.length < length) return;
      const frame = this.#held.subarray(0, length);
      this.#held = this.#held.subarray(length);
      this.#frame({ bytes: frame, batch: batchIn(frame) });
    }
  }

  end(): void {
    this.#ended = true;
    clearTimeout(this.#overtaken?.timer);
    this.#overtaken = undefined;
  }

  #readHead(): void {
    const end = this.#held.indexOf('\r\n\r\n');
    if (end < 0 && this.#held.length < MAX_HEAD_BYTES) return;
    const isUpgrade =
      end >= 0 && /\r\nupgrade: *websocket\r\n/i.test(this.#held.toString('latin1', 0, end + 2));
    const passed = isUpgrade ? end + 4 : this.#held.length;
    this.#to.write(this.#held.subarray(0, passed));
    this.#held = this.#held.subarray(passed);
    this.#mode = isUpgrade ? 'frames' : 'raw';
  }

  #frame({ bytes, batch }: Frame): void {
    const trick = batch === undefined ? undefined : this.#to.trick();
    // Whatever comes next overtakes the one that waits, if it is a batch; nothing else is put out of order.
    const waiting = batch === undefined ? undefined : this.#overtaken;
    if (waiting !== undefined) {
      this.#release([bytes, waiting.frame]);
      this.#to.playedTrick('reorder');
      return;
    }
    switch (trick) {
      case undefined:
        this.#to.write(bytes);
        return;
      case 'double':
        this.#to.playedTrick('double');
        this.#to.write(Buffer.concat([bytes, bytes]));
        return;
      case 'reorder': {
        const timer = setTimeout(() => this.#release([bytes]), OVERTAKE_MS);
        this.#overtaken = { frame: bytes, timer };
        return;
      }
      case 'truncate': {
        if (batch === undefined || batch.body.records.length < 2) {
          this.#to.write(bytes);
          return;
        }
        const kept = Math.ceil(batch.body.records.length / 2);
        const shortened = { ...batch, body: { ...batch.body, records: batch.body.records.slice(0, kept) } };
        this.#to.playedTrick('truncate');
        this.#to.write(textFrame(JSON.stringify(shortened)));
        return;
      }
      case 'break':
        this.#to.playedTrick('break');
        this.#to.write(bytes.subarray(0, Math.ceil(bytes.length / 2)));
        this.#to.breakOff();
        return;
      default:
        trick satisfies never;
    }
  }

  #release(frames: Buffer[]): void {
    clearTimeout(this.#overtaken?.timer);
    this.#overtaken = undefined;
    if (!this.#ended) this.#to.write(Buffer.concat(frames));
  }
}

/** Bytes of the frame that begins here, mask included; undefined until its head is here. */
function frameLength(bytes: Buffer): number | undefined {
  if (bytes.length < 2) return undefined;
  const short = (bytes[1] ?? 0) & 0x7f;
  const head = short === 127 ? 10 : short === 126 ? 4 : 2;
  if (bytes.length < head) return undefined;
  const payload =
    short === 127 ? Number(bytes.readBigUInt64BE(2)) : short === 126 ? bytes.readUInt16BE(2) : short;
  if (payload > 2 * MAX_FRAME_BYTES) throw new Error(`the agent sent a frame of ${payload} bytes`);
  return head + (((bytes[1] ?? 0) & 0x80) === 0 ? 0 : 4) + payload;
}

const TEXT_WHOLE = 0x81;

function batchIn(frame: Buffer): Frame['batch'] {
  if (frame[0] !== TEXT_WHOLE || ((frame[1] ?? 0) & 0x80) === 0) return undefined;
  const short = frame[1] ?? 0;
  const head = (short & 0x7f) === 127 ? 10 : (short & 0x7f) === 126 ? 4 : 2;
  const text = masked(frame.subarray(head + 4), frame.subarray(head, head + 4)).toString('utf8');
  if (!text.includes('"usage-batch"')) return undefined;
  const message = JSON.parse(text);
  return message.kind === 'usage-batch' ? message : undefined;
}

/** A masked text frame as a client sends it; the mask is no secret here. */
function textFrame(text: string): Buffer {
  const payload = Buffer.from(text);
  const mask = Buffer.from([1, 2, 3, 4]);
  const isShort = payload.length < 126;
  const isMiddle = payload.length < 65_536;
  const head = Buffer.alloc(isShort ? 2 : isMiddle ? 4 : 10);
  head[0] = TEXT_WHOLE;
  head[1] = 0x80 | (isShort ? payload.length : isMiddle ? 126 : 127);
  if (!isShort && isMiddle) head.writeUInt16BE(payload.length, 2);
  else if (!isShort) head.writeBigUInt64BE(BigInt(payload.length), 2);
  return Buffer.concat([head, mask, masked(payload, mask)]);
}

function masked(payload: Buffer, mask: Buffer): Buffer {
  const out = Buffer.from(payload);
  for (let at = 0; at < out.length; at += 1) out[at] = (out[at] ?? 0) ^ (mask[at & 3] ?? 0);
  return out;
}
