/**
 * What is wrong with a chain before anybody dials it, by hop and field, so that files, forms and nodes say the same.
 * Pure; says nothing of a secret. Dialling is agent/src/data-plane/chain.ts.
 */
import { CodedError } from '../base/coded-error';
import { type ChainHop, MAX_CHAIN_HOPS } from '../domain/endpoint';
import { keysFromPassword } from './shadowsocks/keys';
import { requireMethod } from './shadowsocks/methods';
import { normalizeHost } from './target';

/** Identity keys in front of one's own (SIP023); more are a mistake. */
const MAX_KEYS = 8;
/** RFC 1929: one byte says how long. */
const MAX_SOCKS5_BYTES = 255;

export type HopField = 'protocol' | 'host' | 'port' | 'username' | 'secret' | 'method';

export interface HopProblem {
  /** Which hop, from 0. */
  at: number;
  field: HopField;
  /** A piece of a sentence that begins with what is wrong, without a full stop. */
  message: string;
}

/** Everything that is wrong; empty when the chain may work. */
export function chainProblems(hops: readonly ChainHop[]): HopProblem[] {
  const problems: HopProblem[] = [];
  const seen = new Map<string, number>();
  for (const [at, hop] of hops.entries()) {
    const say = (field: HopField, message: string) => problems.push({ at, field, message });
    if (at >= MAX_CHAIN_HOPS) say('protocol', `a chain has at most ${MAX_CHAIN_HOPS} hops`);
    const host = normalizeHost(hop.host);
    if (host === null) say('host', 'the host is neither an address nor a name');
    const place = `${host} ${hop.port}`;
    const before = seen.get(place);
    if (before !== undefined) say('host', `this is hop ${before + 1} again: the chain runs in a circle`);
    else seen.set(place, at);
    if (hop.protocol === 'shadowsocks') judgeShadowsocks(hop, say);
    else judgeLogin(hop, say);
  }
  return problems;
}

type Say = (field: HopField, message: string) => unknown;

function judgeShadowsocks(hop: ChainHop, say: Say): void {
  if (hop.username) say('username', 'Shadowsocks has a password only');
  if (!hop.method) say('method', 'Shadowsocks needs a method');
  if (!hop.secret) say('secret', 'Shadowsocks needs a password');
  if (!hop.method || !hop.secret) return;
  try {
    const keys = keysFromPassword(hop.secret, requireMethod(hop.method));
    if (keys.length > MAX_KEYS) say('secret', `the password has more than ${MAX_KEYS} keys`);
  } catch (error) {
    if (!(error instanceof CodedError)) throw error;
    say('secret', error.userMessage);
  }
}

function judgeLogin(hop: ChainHop, say: Say): void {
  if (hop.method) say('method', 'only Shadowsocks has a method');
  if (hop.username && !hop.secret) say('secret', 'user name and password belong together');
  if (!hop.username && hop.secret) say('username', 'user name and password belong together');
  if (hop.protocol === 'http' && hop.username?.includes(':'))
    say('username', 'HTTP user names must not have a colon in them');
  if (hop.protocol !== 'socks5') return;
  for (const field of ['username', 'secret'] as const)
    if (Buffer.byteLength(hop[field] ?? '') > MAX_SOCKS5_BYTES)
      say(field, `SOCKS5 user names and passwords have at most ${MAX_SOCKS5_BYTES} bytes`);
}
