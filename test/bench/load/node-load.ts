/**
 * The load generator for machines without a C compiler: the same command line, wire (load.h) and output as the one in
 * C, at several times its cost. Proxies are driven by the same rules: what was begun is finished, every block is
 * looked at, and secrets come by the environment.
 */
import { randomFillSync } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import { parseArgs } from 'node:util';
import { messageOf } from '@mastline/shared/base/coded-error';
import { openAeadClient } from '@mastline/shared/protocols/shadowsocks/aead-stream';
import { requireMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import type { ShadowsocksStream } from '@mastline/shared/protocols/shadowsocks/stream';
import { percentileOf } from '../statistics';
import { serveSink } from './node-sink';
import { BLOCK_BYTES, COMMAND_BYTES, patternAt, patternHolds } from './pattern';

/** Units asked for ahead, proof of a stalled flow and its deadline: as in client.c. */
const AHEAD = 2;
const UNIT = 8 << 20;
const PROOF_BYTES = 1024 * 1024;
const PROOF_MS = 30_000;
const MOST_FAILURES = 1_000;
const MOST_SAMPLES = 4_000_000;
const HEAD_BYTES = 1_024;
const PING = Buffer.from('p');
/** After its echo the sink closes first (load.h says why). */
const LAST_PING = Buffer.from('q');

const { positionals, values } = parseArgs({
  allowPositionals: true,
  options: {
    kind: { type: 'string', default: 'direct' },
    proxy: { type: 'string' },
    target: { type: 'string' },
    connections: { type: 'string', default: '1' },
    opening: { type: 'string', default: '64' },
    seconds: { type: 'string', default: '1' },
    limit: { type: 'string', default: '60' },
  },
});
const mode = positionals[0];
const bulk = mode === 'download' || mode === 'upload' || mode === 'duplex';
const keeps = mode === 'hold' || mode === 'stall';
const begun = performance.now();
const connections = Number(values.connections);
let stopAt = begun + Number(values.seconds) * 1000;

const flows = new Set<Flow>();
const samples: number[] = [];
let [started, finished, failed, lost, carried, opening, holding] = [0, 0, 0, 0, 0, 0, 0];
let phase: 'running' | 'holding' | 'proving' = 'running';
let complaint = '';

const over = () => performance.now() >= stopAt;

interface Flow {
  socket: Socket;
  shadow: ShadowsocksStream | null;
  open: boolean;
  step: 'method' | 'login' | 'request';
  head: Buffer;
  began: number;
  asked: boolean;
  finishing: boolean;
  held: boolean;
  answered: boolean;
  units: number;
  awaited: number;
  payload: number;
  upAt: number;
  downAt: number;
}

function address(text: string | undefined, option: string): { host: string; port: number } {
  const match = /^([\d.]+):(\d{1,5})$/.exec(text ?? '');
  if (!match) throw new Error(`${option} must be an IPv4 ADDRESS:PORT`);
  return { host: match[1] ?? '', port: Number(match[2]) };
}

function end(flow: Flow, well: boolean, why = ''): void {
  if (!flows.delete(flow)) return;
  if (!well && complaint === '') complaint = why;
  if (keeps && flow.held && !well) {
    holding -= 1;
    lost += 1;
  }
  if (!flow.held) opening -= 1;
  flow.socket.destroy();
  if (!well) failed += 1;
  else if (mode !== 'echo') finished += 1;
  if (mode === 'connect' && !over() && failed < MOST_FAILURES) start();
  else advance();
}

function command(operation: string, bytes: number): Buffer {
  const made = Buffer.alloc(COMMAND_BYTES);
  made.write(operation, 0, 'latin1');
  made.writeBigUInt64LE(BigInt(bytes), 1);
  return made;
}

/** Writes and tells whether more may be written now. */
function send(flow: Flow, bytes: Buffer): boolean {
  if (!flow.shadow) return flow.socket.write(bytes);
  const out = Buffer.allocUnsafe(flow.shadow.sealer.bound(bytes.length));
  return flow.socket.write(out.subarray(0, flow.shadow.sealer.seal(bytes, out)));
}

/** Asks for units and sends payload while the kernel takes it; goes on when the socket drains. */
function pump(flow: Flow): void {
  for (;;) {
    if (flow.payload > 0) {
      const bytes = Math.min(flow.payload, BLOCK_BYTES);
      const room = send(flow, patternAt(flow.upAt, bytes));
      flow.upAt += bytes;
      flow.payload -= bytes;
      if (!room) return;
    } else if (flow.units >= AHEAD || flow.finishing) {
      return;
    } else if (flow.asked && over()) {
      flow.finishing = true;
      if (mode !== 'duplex') return;
      flow.awaited += 1;
      send(flow, command('U', 0));
      return;
    } else {
      flow.asked = true;
      flow.units += 1;
      flow.awaited += mode === 'upload' ? 1 : UNIT;
      if (mode !== 'download') flow.payload = UNIT;
      if (!send(flow, command(mode === 'download' ? 'D' : mode === 'upload' ? 'U' : 'B', UNIT))) return;
    }
  }
}

function takeBulk(flow: Flow, block: Buffer) {
  if (block.length > flow.awaited) return end(flow, false, 'more came than was asked for');
  flow.awaited -= block.length;
  if (mode === 'upload') {
    if (block[0] !== 0x6b) return end(flow, false, "the sink's answer was bent");
    carried += block.length * UNIT;
    flow.units -= block.length;
  } else {
    const answered = mode === 'duplex' && flow.finishing && flow.awaited === 0;
    const payload = answered ? block.subarray(0, -1) : block;
    if (answered && block.at(-1) !== 0x6b) return end(flow, false, "the sink's answer was bent");
    if (!patternHolds(payload, flow.downAt))
      return end(flow, false, `bytes were lost, doubled or swapped at ${flow.downAt}`);
    const before = Math.floor(flow.downAt / UNIT);
    flow.downAt += payload.length;
    const units = Math.floor(flow.downAt / UNIT) - before;
    flow.units -= units;
    carried += units * UNIT * (mode === 'duplex' ? 2 : 1);
  }
  pump(flow);
  if (flow.finishing && flow.awaited === 0 && flow.payload === 0) end(flow, true);
}

function markHeld(flow: Flow): void {
  if (flow.held) return;
  flow.held = true;
  holding += 1;
  opening -= 1;
  advance();
}

function record(flow: Flow): void {
  if (samples.length < MOST_SAMPLES) samples.push((performance.now() - flow.began) * 1000);
}

function take(flow: Flow, block: Buffer) {
  if (block.length === 0) return;
  if (bulk) return takeBulk(flow, block);
  switch (mode) {
    case 'connect':
      record(flow);
      flow.answered = true;
      return;
    case 'echo':
      record(flow);
      finished += 1;
      if (over()) return end(flow, true);
      flow.began = performance.now();
      send(flow, PING);
      return;
    case 'hold':
      if (phase === 'proving') flow.answered = true;
      return markHeld(flow);
    default:
      if (!patternHolds(block, flow.downAt))
        return end(flow, false, `bytes were lost, doubled or swapped at ${flow.downAt}`);
      flow.downAt += block.length;
      if (phase !== 'proving') flow.socket.pause();
      else if (flow.downAt >= PROOF_BYTES) return end(flow, true);
      markHeld(flow);
  }
}

function opened(flow: Flow) {
  flow.open = true;
  if (bulk) return pump(flow);
  if (mode === 'echo') flow.began = performance.now();
  send(
    flow,
    mode === 'stall'
      ? command('S', 0)
      : Buffer.concat([command('E', 0), mode === 'connect' ? LAST_PING : PING]),
  );
}

/** Reads the proxy's replies; bytes behind them are the target's. */
function handshake(flow: Flow, bytes: Buffer) {
  flow.head = Buffer.concat([flow.head, bytes]);
  const { head } = flow;
  if (head.length > HEAD_BYTES && values.kind === 'http')
    return end(flow, false, `the proxy's reply is longer than ${HEAD_BYTES} bytes`);
  let used: number;
  if (values.kind === 'http') {
    used = head.indexOf('\r\n\r\n') + 4;
    if (used < 4) return;
    const line = head.toString('latin1', 0, head.indexOf('\r\n'));
    if (!/^HTTP\/1\.\d 200/.test(line)) return end(flow, false, `the proxy answered '${line}'`);
  } else if (flow.step !== 'request') {
    if (head.length < 2) return;
    const wantsLogin = flow.step === 'method' && head[1] === 2 && process.env.LOAD_USER !== undefined;
    if (head[1] !== 0 && !wantsLogin)
      return end(flow, false, `the proxy refused the ${flow.step} (${head[1]})`);
    flow.step = wantsLogin ? 'login' : 'request';
    flow.head = head.subarray(2);
    flow.socket.write(wantsLogin ? socksLogin() : socksRequest());
    return;
  } else {
    if (head.length < 5) return;
    if (head[1] !== 0) return end(flow, false, `the proxy refused the request (${head[1]})`);
    used = head[3] === 1 ? 10 : head[3] === 4 ? 22 : 7 + (head[4] ?? 0);
    if (head.length < used) return;
  }
  opened(flow);
  take(flow, head.subarray(used));
}

const user = () => Buffer.from(process.env.LOAD_USER ?? '');
const password = () => Buffer.from(process.env.LOAD_PASSWORD ?? '');
const socksLogin = () =>
  Buffer.concat([Buffer.from([1, user().length]), user(), Buffer.from([password().length]), password()]);

function socksRequest(): Buffer {
  const { host, port } = address(values.target, '--target');
  return Buffer.from([5, 1, 0, 1, ...host.split('.').map(Number), port >> 8, port & 255]);
}

function greet(flow: Flow) {
  const target = address(values.target, '--target');
  const login = process.env.LOAD_USER !== undefined;
  switch (values.kind) {
    case 'socks5':
      flow.socket.write(Buffer.from([5, 1, login ? 2 : 0]));
      return;
    case 'http': {
      const secret = Buffer.concat([user(), Buffer.from(':'), password()]).toString('base64');
      const place = `${target.host}:${target.port}`;
      const line = login ? `Proxy-Authorization: Basic ${secret}\r\n` : '';
      flow.socket.write(`CONNECT ${place} HTTP/1.1\r\nHost: ${place}\r\n${line}\r\n`);
      return;
    }
    case 'shadowsocks': {
      const key = Buffer.from(process.env.LOAD_KEY ?? '', 'hex');
      if (key.length !== 32) throw new Error('LOAD_KEY must be 64 hex digits');
      flow.shadow = openAeadClient(
        requireMethod('aes-256-gcm'),
        { key, target },
        into => void randomFillSync(into),
      );
      return opened(flow);
    }
    default:
      return opened(flow);
  }
}

function start(): void {
  started += 1;
  opening += 1;
  const { host, port } = address(values.proxy ?? values.target, '--proxy');
  const socket = connect({ host, port, noDelay: true });
  const flow: Flow = {
    socket,
    shadow: null,
    open: false,
    step: 'method',
    head: Buffer.alloc(0),
    began: performance.now(),
    asked: false,
    finishing: false,
    held: false,
    answered: false,
    units: 0,
    awaited: 0,
    payload: 0,
    upAt: 0,
    downAt: 0,
  };
  flows.add(flow);
  socket.on('connect', () => greet(flow));
  socket.on('drain', () => {
    if (flow.open && bulk) pump(flow);
  });
  socket.on('data', bytes => {
    if (!flow.open) return handshake(flow, bytes);
    if (!flow.shadow) return take(flow, bytes);
    const { opener } = flow.shadow;
    const out = Buffer.allocUnsafe(opener.bound(bytes.length));
    const made = opener.open(bytes, out);
    if (made < 0) return end(flow, false, `the proxy sent what does not open: ${opener.cause}`);
    take(flow, out.subarray(0, made));
  });
  socket.on('error', error => end(flow, false, messageOf(error)));
  socket.on('end', () => end(flow, flow.answered, 'the flow was closed before its end'));
}

/** Begins what may begin, and tells when all flows are held or over. */
function advance(): void {
  while (phase === 'running' && started < connections && (!keeps || opening < Number(values.opening)))
    start();
  if (keeps && phase === 'running' && opening === 0 && started === connections) {
    phase = 'holding';
    say({
      event: 'held',
      flows: holding,
      failed,
      seconds: (performance.now() - begun) / 1000,
      error: complaint,
    });
  }
  if (flows.size === 0 && phase !== 'holding') report();
}

const say = (value: object) => process.stdout.write(`${JSON.stringify(value)}\n`);

let reported = false;
function report(): void {
  if (reported) return;
  reported = true;
  if (flows.size > 0 && complaint === '') complaint = 'not finished in time';
  const { user: own, system } = process.cpuUsage();
  const line = {
    event: 'done',
    seconds: (performance.now() - begun) / 1000,
    bytes: carried,
    finished,
    failed,
    unfinished: flows.size,
    lost,
    measured: samples.length,
    p50Micros: percentileOf(samples, 0.5),
    p99Micros: percentileOf(samples, 0.99),
    cpuSeconds: (own + system) / 1e6,
    error: complaint,
  };
  process.stdout.write(`${JSON.stringify(line)}\n`, () => process.exit(0));
}

function prove(): void {
  phase = 'proving';
  stopAt = performance.now() + PROOF_MS;
  setTimeout(report, PROOF_MS);
  for (const flow of [...flows]) {
    if (mode === 'stall') flow.socket.resume();
    else send(flow, LAST_PING);
  }
  advance();
}

function drive(): void {
  setTimeout(report, Number(values.limit) * 1000);
  process.stdin.on('end', () => {
    // Nobody is there to read the report, unless flows are held: then their proof is wanted.
    if (phase === 'holding') prove();
    else if (!reported) process.exit(1);
  });
  process.stdin.resume();
  advance();
}

const MODES = ['download', 'upload', 'duplex', 'connect', 'echo', 'hold', 'stall'];
if (mode === 'sink') serveSink();
else if (mode !== undefined && MODES.includes(mode)) drive();
else {
  console.error(`load: there is no mode "${mode}"; there are sink, ${MODES.join(', ')}`);
  process.exit(2);
}
