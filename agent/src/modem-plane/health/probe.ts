/**
 * One probe through a slot, end to end: name, TCP, HTTP, and who answered. Asks a second service while the first is late. Counts what it costs in SIM data, headers included. When to probe is path-watch.ts, whether it may cost
 * anything now is probe-budget.ts.
 */
import { randomBytes } from 'node:crypto';
import { Resolver } from 'node:dns/promises';
import { isIP } from 'node:net';
import { type Clock, sleep } from '@mastline/shared/base/clock';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { CountOwn } from '../../ports';
import { askFrom, familyOf, urlsFor } from '../address-family';
import { boundRequest, LOOKUP, type RequestFigures } from '../bound-request';
import { type Answerer, whoAnswered } from './captive';

/** One service has this long; a mobile network that pages a sleeping modem takes up to three seconds. */
export const PROBE_DEADLINE_MS = 4500;
const NEXT_AFTER_MS = 2000;
const RESOLVER_MS = 2000;
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
/** What the header of IPv6 is longer (RFC 8200). */
const LONGER_HEADER = 20;
/** SYNs that go unanswered within the deadline: at 0, 1 and 3 seconds. */
const LOST_SYNS = 3;

export interface ProbeRequest {
  /** Asked in this order. */
  urls: readonly string[];
  localAddress: string;
  dnsServers: readonly string[];
  clock: Clock;
  signal: AbortSignal;
  count?: CountOwn | undefined;
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
  const urls = urlsFor(request.localAddress, request.urls).slice(0, SERVICES_ASKED);
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
        count: request.count,
        onFigures: moved => {
          figures = moved;
          wireBytes += wireBytesOf(moved, familyOf(request.localAddress));
        },
      });
      const { location, 'content-type': contentType } = reply.headers;
      const answerer = whoAnswered(url, { status: reply.status, location, contentType, body: reply.body });
      // One that speaks for itself is proof; a carrier's page may be a service's own trouble.
      if (answerer.kind === 'service') enough.abort();
      return { answerer, figures, problem: '', code: undefined };
    } catch (error) {
      const code = error instanceof Error ? codeOf(error.cause) : undefined;
      return { answerer: null, figures, problem: messageOf(error), code };
    }
  });
  const answers = await Promise.all(asked);
  const refusing = answers.find(one => one.code === 'ECONNREFUSED');
  if (refusing) refusing.answerer = { kind: 'service', address: null, problem: refusing.problem };
  const nobody = answers.every(one => one.answerer === null && one.figures?.connectMs == null);
  // Services go down, too, and a box must not stop serving for that: a resolver that answers has been reached.
  if (nobody && !request.signal.aborted && (await resolverAnswers(request))) {
    const problem = `no echo service answers, but the name server does: ${problemsOf(answers)}`;
    const answerer: Answerer = { kind: 'service', address: null, problem };
    answers.unshift({ answerer, figures: null, problem, code: undefined });
    wireBytes += LOOKUP_BYTES;
    request.count?.(LOOKUP);
  }
  const good = answers.find(one => one.answerer?.kind === 'service');
  const page = answers.find(one => one.answerer?.kind === 'carrier');
  const { connectMs = null, answerMs = null } = (good ?? page ?? answers[0])?.figures ?? {};
  return { outcome: outcomeOf(good ?? page, answers), connectMs, answerMs, wireBytes };
}

interface Answer {
  answerer: Answerer | null;
  figures: RequestFigures | null;
  problem: string;
  /** Of the system; a refusal comes from the other end. */
  code: string | undefined;
}

const problemsOf = (answers: readonly Answer[]) => answers.map(one => one.problem).join('; ');

/** Asked for a name that nobody has: what stands in a cache would prove nothing. */
async function resolverAnswers({ urls, localAddress, dnsServers }: ProbeRequest): Promise<boolean> {
  const host = new URL(urls[0] ?? 'http://127.0.0.1').hostname;
  const zone = isIP(host) === 0 ? host : 'example.com';
  const resolver = new Resolver({ timeout: RESOLVER_MS, tries: 1 });
  if (!askFrom(resolver, localAddress, dnsServers)) return false;
  try {
    await resolver.resolve4(`p${randomBytes(6).toString('hex')}.${zone}`);
    return true;
  } catch (error) {
    // "There is no such name" is an answer; a server that could not find out has reached nobody itself.
    return codeOf(error) === 'ENOTFOUND' || codeOf(error) === 'ENODATA';
  }
}

function outcomeOf(best: Answer | undefined, all: readonly Answer[]): ProbeResult['outcome'] {
  const answerer = best?.answerer;
  if (!answerer) return { kind: 'silent', problem: problemsOf(all) };
  return answerer.kind === 'service'
    ? { kind: 'carries', address: answerer.address, problem: answerer.problem }
    : { kind: 'captive', problem: answerer.problem, credit: answerer.credit };
}

/** What a request cost on the link, from what its connection moved. An upper estimate, held by a test with real counters. */
export function wireBytesOf(figures: RequestFigures, family: 4 | 6 = 4): number {
  const more = family === 6 ? LONGER_HEADER : 0;
  const lookup = figures.lookedUp ? LOOKUP_BYTES + 2 * more : 0;
  if (figures.connectMs === null) return lookup + LOST_SYNS * (SYN_BYTES + more);
  const { sentBytes, receivedBytes } = figures;
  const segments = Math.ceil(sentBytes / MSS_BYTES) + Math.ceil(receivedBytes / MSS_BYTES) + EMPTY_SEGMENTS;
  const headers = 2 * (SYN_BYTES + more) + segments * (SEGMENT_BYTES + more);
  return lookup + headers + sentBytes + receivedBytes;
}
