/**
 * Who a client is, by user name and secret, and what it asks for in its user name. The whole name is tried first, so
 * that credentials with dashes in their names work; then it is taken apart (shared/protocols/username-parameters.ts).
 * What is wrong with a parameter is told only to who knows the secret. Pure.
 */
import { inRange } from '@mastline/shared/domain/ip-range';
import type { RefusalDetail } from '@mastline/shared/protocols/refusal';
import {
  credentialNameOf,
  parseUsername,
  type UsernameParameters,
} from '@mastline/shared/protocols/username-parameters';
import { authenticate, type Policy } from './policy';

/** A client that is known. */
export interface Guest {
  credentialId: string;
  wish: Omit<UsernameParameters, 'name'>;
  /** What is wrong with its parameters: nothing is opened for it. */
  problem: RefusalDetail | null;
  /** Let in because of where it comes from: its flows end when that is no reason any more. */
  bySource?: true;
}

/** Of most clients. */
export const NO_WISH: Guest['wish'] = {};

/** A client that is known and asks for nothing special. */
export function guestOf(credentialId: string): Guest {
  return { credentialId, wish: NO_WISH, problem: null };
}

/** The guest that the endpoint serves without a login because of where it comes from, or null. */
export function knownBySource(policy: Policy, endpointId: string, source: string): Guest | null {
  const open = policy.openTo.get(endpointId);
  return open?.ranges.some(range => inRange(range, source, 0))
    ? { ...guestOf(open.credentialId), bySource: true }
    : null;
}

/** The guest with this login, or null. */
export function logIn(policy: Policy, username: string, secret: string): Guest | null {
  const whole = authenticate(policy, username, secret);
  if (whole) return guestOf(whole.id);
  if (!username.includes('-')) return null;
  const credential = authenticate(policy, credentialNameOf(username), secret);
  if (!credential) return null;
  const parsed = parseUsername(username);
  if (parsed.kind === 'parsed') {
    const { name: _, ...wish } = parsed.username;
    return { credentialId: credential.id, wish, problem: null };
  }
  const text = `"${parsed.parameter}": ${parsed.problem}.`;
  return { credentialId: credential.id, wish: NO_WISH, problem: { text } };
}

/** Equal when two guests would be led the same way: a kept connection serves only such. */
export function sameRoute(one: Guest, other: Guest): boolean {
  return one.credentialId === other.credentialId && JSON.stringify(one.wish) === JSON.stringify(other.wish);
}
