/**
 * One probe through a slot, end to end: name, TCP, HTTP, and who answered. Asks services in turn until one answers for
 * itself. Counts what it costs in SIM data, headers included. When to probe is path-watch.ts, whether it may cost
 * anything now is probe-budget.ts.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import { boundRequest, type RequestFigures } from '../bound-request';
import { whoAnswered } from './captive';

/** One service has this long; a mobile network that pages a sleeping modem takes up to three seconds. */
export const PROBE_DEADLINE_MS = 5000;
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
  const problems: string[] = [];
  let captive: { kind: 'captive'; problem: string; credit: boolean } | null = null;
  let wireBytes = 0;
  let last: RequestFigures | null = null;
  for (const url of request.urls.slice(0, SERVICES_ASKED)) {
    if (request.signal.aborted) break;
    try {
      const reply = await boundRequest({
        url,
        localAddress: request.localAddress,
        dnsServers: request.dnsServers,
        deadlineMs: PROBE_DEADLINE_MS,
        maxBytes: MAX_ANSWER_BYTES,
        headers: { accept: 'text/plain, application/json' },
        clock: request.clock,
        signal: request.signal,
        onFigures: figures => {
          last = figures;
          wireBytes += wireBytesOf(figures);
        },
      });
      const { location, 'content-type': contentType } = reply.headers;
      const answer = whoAnswered(url, { status: reply.status, location, contentType, body: reply.body });
      if (answer.kind === 'service')
        return {
          outcome: { kind: 'carries', address: answer.address, problem: answer.problem },
          ...times(last),
          wireBytes,
        };
      captive ??= { kind: 'captive', problem: answer.problem, credit: answer.credit };
    } catch (error) {
      problems.push(messageOf(error));
    }
  }
  const outcome = captive ?? { kind: 'silent', problem: problems.join('; ') };
  return { outcome, ...times(last), wireBytes };
}

/** What a request cost on the link, from what its connection moved. An upper estimate, held by a test with real counters. */
export function wireBytesOf(figures: RequestFigures): number {
  const lookup = figures.lookedUp ? LOOKUP_BYTES : 0;
  if (figures.connectMs === null) return lookup + LOST_SYNS * SYN_BYTES;
  const { sentBytes, receivedBytes } = figures;
  const segments = Math.ceil(sentBytes / MSS_BYTES) + Math.ceil(receivedBytes / MSS_BYTES) + EMPTY_SEGMENTS;
  return lookup + 2 * SYN_BYTES + segments * SEGMENT_BYTES + sentBytes + receivedBytes;
}

function times(figures: RequestFigures | null): { connectMs: number | null; answerMs: number | null } {
  return { connectMs: figures?.connectMs ?? null, answerMs: figures?.answerMs ?? null };
}
