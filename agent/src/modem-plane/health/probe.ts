/**
 * One probe through a slot, end to end: name, TCP, HTTP, and who answered. Asks a second service while the first is late. Counts what it costs in SIM data, headers included. When to probe is path-watch.ts, whether it may cost
 * anything now is probe-budget.ts.
 */
import { type Clock, sleep } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import { boundRequest, type RequestFigures } from '../bound-request';
import { type Answerer, whoAnswered } from './captive';

/** One service has this long; a mobile network that pages a sleeping modem takes up to three seconds. */
export const PROBE_DEADLINE_MS = 4500;
const NEXT_AFTER_MS = 2000;
/** Services asked in one probe: more only cost when the modem is dead. */
const SERVICES_ASKED = 2;
const MAX_ANSWER_BYTES = 16 * 1024;

/** IPv4 and TCP with timestamps (RFC 791, 9293, 7323): 20 + 32; SYNs carry 8 more. */
const SEGMENT_BYTES = 52;
const SYN_BYTES = 60;
/** Segments without data: the third of the handshake, an acknowledgement each for question and answer, and the goodbye. */
const EMPTY_SEGMENTS = 7;
const MSS_BYTES = 1348;
/** A question and its answer over UDP, with a name of usual length and two addresses. */
const LOOKUP_BYTES = 28 + 45 + 28 + 90;
/** SYNs that go unanswered within the deadline: at 0, 1 and 3 seconds. */
const LOST_SYNS = 3;

export interface ProbeRequest {
  /** Asked in this order. */
  urls: readonly string[];
  localAddress: string;
  dnsServers: readonly string[];
  clock: Clock;
  signal: AbortSignal;
}

export interface ProbeResult {
  outcome:
    | { kind: 'carries'; address: string | null; problem: string }
    | { kind: 'captive'; problem: string; credit: boolean }
    | { kind: 'silent'; problem: string };
  /** Milliseconds until TCP stood and until the answer came; null when they did not. */
  connectMs: number | null;
  answerMs: number | null;
  /** On the radio link, an upper estimate. */
  wireBytes: number;
}

/** Never rejects for what a network does. */
export async function probe(request: ProbeRequest): Promise<ProbeResult> {
  const urls = request.urls.slice(0, SERVICES_ASKED);
  const enough = new AbortController();
  const signal = AbortSignal.any([request.signal, enough.signal]);
  let wireBytes = 0;
  const asked = urls.map(async (url, i): Promise<Answer> => {
    let figures: RequestFigures | null = null;
    try {
      // The next one is asked while the one before is late, so that a dead path is known soon.
      if (i > 0) await sleep(request.clock, i * NEXT_AFTER_MS, signal);
      const reply = await boundRequest({
        url,
        localAddress: request.localAddress,
        dnsServers: request.dnsServers,
        deadlineMs: PROBE_DEADLINE_MS,
        maxBytes: MAX_ANSWER_BYTES,
        headers: { accept: 'text/plain, application/json' },
        clock: request.clock,
        signal,
        onFigures: moved => {
          figures = moved;
          wireBytes += wireBytesOf(moved);
        },
      });
      const { location, 'content-type': contentType } = reply.headers;
      const answerer = whoAnswered(url, { status: reply.status, location, contentType, body: reply.body });
      // One that speaks for itself is proof; a carrier's page may be a service's own trouble.
      if (answerer.kind === 'service') enough.abort();
      return { answerer, figures, problem: '' };
    } catch (error) {
      return { answerer: null, figures, problem: messageOf(error) };
    }
  });
  const answers = await Promise.all(asked);
  const good = answers.find(one => one.answerer?.kind === 'service');
  const page = answers.find(one => one.answerer?.kind === 'carrier');
  const { connectMs = null, answerMs = null } = (good ?? page ?? answers[0])?.figures ?? {};
  return { outcome: outcomeOf(good ?? page, answers), connectMs, answerMs, wireBytes };
}

interface Answer {
  answerer: Answerer | null;
  figures: RequestFigures | null;
  problem: string;
}

function outcomeOf(best: Answer | undefined, all: readonly Answer[]): ProbeResult['outcome'] {
  const answerer = best?.answerer;
  if (!answerer) return { kind: 'silent', problem: all.map(one => one.problem).join('; ') };
  return answerer.kind === 'service'
    ? { kind: 'carries', address: answerer.address, problem: answerer.problem }
    : { kind: 'captive', problem: answerer.problem, credit: answerer.credit };
}

/** What a request cost on the link, from what its connection moved. An upper estimate, held by a test with real counters. */
export function wireBytesOf(figures: RequestFigures): number {
  const lookup = figures.lookedUp ? LOOKUP_BYTES : 0;
  if (figures.connectMs === null) return lookup + LOST_SYNS * SYN_BYTES;
  const { sentBytes, receivedBytes } = figures;
  const segments = Math.ceil(sentBytes / MSS_BYTES) + Math.ceil(receivedBytes / MSS_BYTES) + EMPTY_SEGMENTS;
  return lookup + 2 * SYN_BYTES + segments * SEGMENT_BYTES + sentBytes + receivedBytes;
}
