/**
 * How fast a slot is, on demand and within a budget of data: latency, then download, then upload, through the slot's
 * own address. Every byte counts against the budget, headers of TCP and IP included (an upper estimate); whatever is
 * spent or late first ends a direction. Asking for it is speedtest-command.ts.
 */
import { type ClientRequest, type IncomingMessage, request as requestHttp } from 'node:http';
import { request as requestHttps } from 'node:https';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { CountOwn } from '../../ports';
import { familyOf } from '../address-family';
import { lookupThrough } from '../bound-request';

/** One direction has this long: enough for a radio to wake up and a window to open. */
const DIRECTION_MS = 10_000;
/** Until an answer begins. */
const ANSWER_MS = 10_000;
/** Of what is sent: headers of 52 bytes on segments of 1348, acknowledgements for every second, handshakes, names. */
const OVERHEAD = 1.07;
const CHUNK_BYTES = 64 * 1024;
export const MIN_BUDGET_BYTES = 100_000;
/** Of the budget; the rest is for the upload. */
const DOWN_SHARE = 0.75;

export interface SpeedTestUrls {
  /** Answers with as many bytes as its address says where `{bytes}` stands. */
  downUrl: string;
  /** Takes a POST; without it only the download is measured. */
  upUrl?: string | undefined;
}

export interface SpeedTestRequest extends SpeedTestUrls {
  /** Of data on the SIM, both directions together. */
  maxBytes: number;
  localAddress: string;
  dnsServers: readonly string[];
  clock: Clock;
  signal: AbortSignal;
  count?: CountOwn | undefined;
}

export interface DirectionResult {
  /** Payload. */
  bytes: number;
  tookMs: number;
  bitsPerSecond: number;
}

export interface SpeedTestResult {
  /** Until the first byte of the answer, connection and all. */
  latencyMs: number;
  down: DirectionResult;
  up: DirectionResult | null;
  /** At most this went over the SIM. */
  usedBytes: number;
}

/** Rejects with `speedtest/…` when a server does not do its part. */
export async function speedTest(request: SpeedTestRequest): Promise<SpeedTestResult> {
  const { maxBytes, upUrl } = request;
  if (maxBytes < MIN_BUDGET_BYTES)
    throw new CodedError('speedtest/budget', `${maxBytes} bytes are too few`, {
      userMessage: `A speed test needs at least ${MIN_BUDGET_BYTES / 1_000_000} MB.`,
    });
  const payload = Math.floor(maxBytes / OVERHEAD);
  const downBytes = Math.floor(upUrl === undefined ? payload : payload * DOWN_SHARE);
  const { latencyMs, ...down } = await download(request, downBytes);
  const up = upUrl === undefined ? null : await upload({ ...request, upUrl }, payload - downBytes);
  return {
    latencyMs: Math.round(latencyMs),
    down,
    up,
    usedBytes: Math.min(maxBytes, Math.ceil((down.bytes + (up?.bytes ?? 0)) * OVERHEAD)),
  };
}

async function download(
  request: SpeedTestRequest,
  bytes: number,
): Promise<DirectionResult & { latencyMs: number }> {
  const url = request.downUrl.replaceAll('{bytes}', String(bytes));
  return exchange(request, { url, method: 'GET', headers: {} }, (call, { clock, done, failed }) => {
    const begun = clock.monotonicMs();
    call.once('response', (response: IncomingMessage) => {
      const from = clock.monotonicMs();
      const latencyMs = from - begun;
      if (response.statusCode !== 200) return failed(badAnswer(url, response));
      let got = 0;
      const end = () => done({ ...resultOf(got, clock.monotonicMs() - from), latencyMs });
      const late = clock.after(DIRECTION_MS, end);
      response.on('data', (part: Buffer) => {
        got += part.length;
        // A server that gives more than it was asked for does not get at the SIM's data.
        if (got >= bytes) end();
      });
      response.once('end', end);
      response.once('close', () => late.cancel());
    });
    call.end();
  });
}

async function upload(
  request: SpeedTestRequest & { upUrl: string },
  bytes: number,
): Promise<DirectionResult> {
  const url = request.upUrl;
  const headers = { 'content-type': 'application/octet-stream', 'content-length': String(bytes) };
  return exchange(request, { url, method: 'POST', headers }, (call, { clock, done, failed }) => {
    const chunk = Buffer.alloc(CHUNK_BYTES);
    let given = 0;
    let from = 0;
    const sent = () => Math.max(0, given - call.writableLength - (call.socket?.writableLength ?? 0));
    const late = clock.after(ANSWER_MS + DIRECTION_MS, () =>
      done(resultOf(sent(), clock.monotonicMs() - from)),
    );
    call.once('close', () => late.cancel());
    call.once('response', (response: IncomingMessage) => {
      if ((response.statusCode ?? 500) >= 300) return failed(badAnswer(url, response));
      response.resume();
      done(resultOf(given === bytes ? bytes : sent(), clock.monotonicMs() - from));
    });
    const write = () => {
      while (given < bytes) {
        const part = chunk.subarray(0, Math.min(CHUNK_BYTES, bytes - given));
        given += part.length;
        if (!call.write(part)) return void call.once('drain', write);
      }
      call.end();
    };
    call.once('socket', socket => {
      const begin = () => {
        from = clock.monotonicMs();
        write();
      };
      if (socket.connecting) socket.once('connect', begin);
      else begin();
    });
  });
}

interface Settle<T> {
  clock: Clock;
  done: (value: T) => void;
  failed: (error: CodedError) => void;
}

/** One request from the slot's address, given up when `work` has what it wants. */
function exchange<T>(
  request: SpeedTestRequest,
  what: { url: string; method: string; headers: Record<string, string> },
  work: (call: ClientRequest, settle: Settle<T>) => void,
): Promise<T> {
  const { localAddress, dnsServers, clock, signal } = request;
  const { url, method, headers } = what;
  return new Promise((resolve, reject) => {
    const call = (url.startsWith('https:') ? requestHttps : requestHttp)(url, {
      method,
      headers: { connection: 'close', ...headers },
      agent: false,
      family: familyOf(localAddress),
      localAddress,
      signal,
      ...(dnsServers.length === 0 ? {} : { lookup: lookupThrough(localAddress, dnsServers) }),
    });
    const late = clock.after(ANSWER_MS + 2 * DIRECTION_MS, () =>
      failed(
        new CodedError(
          'speedtest/timeout',
          `${url}: no end within ${(ANSWER_MS + 2 * DIRECTION_MS) / 1000} s`,
        ),
      ),
    );
    const finish = () => {
      late.cancel();
      const { bytesWritten = 0, bytesRead = 0 } = call.socket ?? {};
      request.count?.({ upBytes: bytesWritten, downBytes: bytesRead, upDatagrams: 0, downDatagrams: 0 });
      call.destroy();
    };
    const done = (value: T) => {
      resolve(value);
      finish();
    };
    const failed = (error: CodedError) => {
      reject(error);
      finish();
    };
    call.on('error', error =>
      failed(
        new CodedError('speedtest/failed', `${url}: ${codeOf(error) ?? messageOf(error)}`, { cause: error }),
      ),
    );
    work(call, { clock, done, failed });
  });
}

function resultOf(bytes: number, tookMs: number): DirectionResult {
  const ms = Math.max(1, tookMs);
  return { bytes, tookMs: Math.round(ms), bitsPerSecond: Math.round((bytes * 8000) / ms) };
}

function badAnswer(url: string, response: IncomingMessage): CodedError {
  return new CodedError('speedtest/bad-answer', `${url}: HTTP ${response.statusCode}`, {
    userMessage: `${url} answered HTTP ${response.statusCode}: see "speedTest" in the configuration of the agent.`,
  });
}
