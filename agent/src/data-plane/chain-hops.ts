/**
 * What can be said of a chain without dialling it: whether it makes sense (shared/protocols/chain-hops.ts knows), and
 * what a hop's answer means. Pure. The handshakes are chain.ts.
 */
import { networkInterfaces } from 'node:os';
import type { ChainHop, Endpoint } from '@mastline/shared/domain/endpoint';
import { isLoopbackAddress } from '@mastline/shared/domain/ip-range';
import { chainProblems } from '@mastline/shared/protocols/chain-hops';
import type { HttpConnectStep } from '@mastline/shared/protocols/http-connect-client';
import { REFUSALS, type RefusalDetail, type RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Socks5ClientStep } from '@mastline/shared/protocols/socks5-client';
import { formatAuthority, normalizeHost, type Target } from '@mastline/shared/protocols/target';
import type { ListenerOutcome } from '../ports';

export interface HopRefusal {
  reason: RefusalReason;
  detail: RefusalDetail;
}

/** Why the endpoint's chain cannot work, as a problem of its listener; null when it may. */
export function chainProblem(endpoint: Endpoint): NonNullable<ListenerOutcome['problem']> | null {
  const sentence = problemOf(endpoint.chain ?? []);
  return sentence === null ? null : { code: 'listener/bad-chain', message: sentence };
}

function problemOf(hops: readonly ChainHop[]): string | null {
  const [problem] = chainProblems(hops);
  const hop = problem && hops[problem.at];
  return hop ? `${nameOf(hop, problem.at)}: ${problem.message}.` : null;
}

/** For people: which hop, never its secret. `at` counts from 0. */
export function nameOf(hop: ChainHop, at: number): string {
  return `Hop ${at + 1} (${hop.protocol}, ${formatAuthority({ host: hop.host, port: hop.port })})`;
}

/** Whether an address and port is one of our own listeners: a first hop there would come back to us. */
export function isOwnListener(
  place: { address: string; port: number },
  endpoints: Iterable<Endpoint>,
): boolean {
  for (const { listen } of endpoints) {
    if (listen.port !== place.port) continue;
    if (listen.host === place.address) return true;
    if ((listen.host === '0.0.0.0' || listen.host === '::') && isOwnAddress(place.address)) return true;
  }
  return false;
}

function isOwnAddress(address: string): boolean {
  if (isLoopbackAddress(address)) return true;
  return Object.values(networkInterfaces()).some(list => list?.some(one => one.address === address));
}

/** Where in the chain something went wrong. */
export interface HopPlace {
  hops: readonly ChainHop[];
  /** From 0. */
  at: number;
}

/** A refusal that names the hop. */
export function hopRefusal(place: HopPlace, reason: RefusalReason, what: string): HopRefusal {
  const hop = place.hops[place.at];
  const name = hop ? nameOf(hop, place.at) : `Hop ${place.at + 1}`;
  return { reason, detail: { text: `${name} ${what}.`, hop: place.at + 1 } };
}

/** The first hop could not be dialled: what the dialer says of its target is said of the hop. */
export function firstHopRefusal(
  hops: readonly ChainHop[],
  reason: RefusalReason,
): HopRefusal | { reason: RefusalReason } {
  const place = { hops, at: 0 };
  const { leg, page } = REFUSALS[reason];
  const what = `is not to be had: ${page.charAt(0).toLowerCase()}${page.slice(1, -1)}`;
  if (reason === 'origin-timeout') return hopRefusal(place, 'hop-timeout', 'did not answer in time');
  if (leg === 'origin') return hopRefusal(place, 'hop-unreachable', what);
  return leg === 'policy' ? hopRefusal(place, 'chain-invalid', what) : { reason };
}

/** What comes behind this hop failed, and the hop said so. Of the last hop that is the target. */
function behind(place: HopPlace, how: 'refused' | 'unreachable' | 'timeout'): HopRefusal {
  if (place.at + 1 >= place.hops.length)
    return hopRefusal(place, `origin-${how}`, `says that the target ${WORDS[how]}`);
  const next = { ...place, at: place.at + 1 };
  return hopRefusal(
    next,
    how === 'timeout' ? 'hop-timeout' : 'hop-unreachable',
    `${WORDS[how]}, says hop ${place.at + 1}`,
  );
}

const WORDS = {
  refused: 'refused the connection',
  unreachable: 'cannot be reached',
  timeout: 'did not answer in time',
} as const;

export function socks5Failure(place: HopPlace, step: Socks5ClientStep & { kind: 'failed' }): HopRefusal {
  switch (step.cause) {
    case 'not-socks5':
      return hopRefusal(place, 'hop-protocol', 'does not speak SOCKS5');
    case 'no-method':
      return hopRefusal(place, 'hop-credentials', 'wants another kind of log-in');
    case 'bad-credentials':
      return hopRefusal(place, 'hop-credentials', 'did not take user name and password');
    case 'refused':
      // RFC 1928 section 6.
      if (step.reply === 3 || step.reply === 4) return behind(place, 'unreachable');
      if (step.reply === 5) return behind(place, 'refused');
      if (step.reply === 6) return behind(place, 'timeout');
      return hopRefusal(place, 'hop-refused', `refused to connect further (reply ${step.reply})`);
  }
}

export function httpFailure(place: HopPlace, step: HttpConnectStep & { kind: 'failed' }): HopRefusal {
  switch (step.cause) {
    case 'not-http':
      return hopRefusal(place, 'hop-protocol', 'does not speak HTTP');
    case 'bad-credentials':
      return hopRefusal(place, 'hop-credentials', 'did not take user name and password');
    case 'refused':
      if (step.status === 502 || step.status === 503) return behind(place, 'unreachable');
      if (step.status === 504) return behind(place, 'timeout');
      return hopRefusal(place, 'hop-refused', `refused to connect further (status ${step.status})`);
  }
}

export const targetOf = (hop: ChainHop): Target => ({
  host: normalizeHost(hop.host) ?? hop.host,
  port: hop.port,
});
