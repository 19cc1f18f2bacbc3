/**
 * The plan as the gate reads it: looked up by name instead of searched, ranges parsed once. Pure; a new plan makes a
 * new policy, nothing is changed in place.
 */
import { hash, timingSafeEqual } from 'node:crypto';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { Credential, Endpoint } from '@mastline/shared/domain/endpoint';
import { type AddressRange, parseAddressRange } from '@mastline/shared/domain/ip-range';
import type { Egress, ServicePlan } from '../ports';
import { type CompiledLimits, compileLimits } from './customer-limits';

export interface GuardedEgress extends Egress {
  keptLimits: CompiledLimits;
  guardedRanges: readonly AddressRange[];
}

/** One of those with a name. */
interface NamedCredential {
  credential: Credential | null;
  /** SHA-256 of its secret, in the characters of `digestOf`. */
  verifier: Uint8Array;
}

export interface Policy {
  endpoints: ReadonlyMap<string, Endpoint>;
  credentials: ReadonlyMap<string, Credential>;
  /** Names are unique within an organization only, so one name may stand for several credentials. */
  credentialsByName: ReadonlyMap<string, readonly NamedCredential[]>;
  /** Endpoints that serve clients from some addresses without a login, and whom that is billed to. */
  openTo: ReadonlyMap<string, { ranges: readonly AddressRange[]; credentialId: string }>;
  credentialLimits: ReadonlyMap<string, CompiledLimits>;
  egresses: ReadonlyMap<number, GuardedEgress>;
  allowTargets: readonly AddressRange[];
  /** Networks that the host itself is in: nobody's targets, except by `allowTargets`. */
  hostRanges: readonly AddressRange[];
}

/** Throws `plan/invalid` when a range cannot be read: a guard that is not understood must not be left out. */
export function compilePolicy(plan: ServicePlan, hostRanges: readonly AddressRange[]): Policy {
  const byName = new Map<string, NamedCredential[]>();
  for (const credential of plan.credentials) {
    const named = { credential, verifier: Buffer.from(credential.verifier.toLowerCase(), 'latin1') };
    const same = byName.get(credential.username);
    if (same) same.push(named);
    else byName.set(credential.username, [named]);
  }
  return {
    endpoints: new Map(plan.endpoints.map(endpoint => [endpoint.id, endpoint])),
    credentials: new Map(plan.credentials.map(credential => [credential.id, credential])),
    credentialsByName: byName,
    egresses: new Map(
      plan.egresses.map(egress => [
        egress.slot,
        {
          ...egress,
          guardedRanges: egress.guarded.map(rangeOf),
          keptLimits: compileLimits(egress.limits, `slot ${egress.slot}`),
        },
      ]),
    ),
    openTo: new Map(
      plan.endpoints.flatMap(({ id, openTo }) =>
        openTo
          ? [
              [
                id,
                { ranges: openTo.sourceAddresses.map(rangeOf), credentialId: openTo.credentialId },
              ] as const,
            ]
          : [],
      ),
    ),
    credentialLimits: new Map(
      plan.credentials.map(({ id, username, limits }) => [
        id,
        compileLimits(limits, `credential ${username}`),
      ]),
    ),
    allowTargets: plan.allowTargets.map(rangeOf),
    hostRanges,
  };
}

function rangeOf(text: string): AddressRange {
  const range = parseAddressRange(text);
  if (range) return range;
  throw new CodedError('plan/invalid', `"${text}" is not an address range`, {
    userMessage: `"${text}" is not an address range: write 10.0.0.0/8, 127.0.0.1:8000 or [fd00::/8]:443.`,
  });
}

export const EMPTY_POLICY: Policy = compilePolicy(
  { endpoints: [], credentials: [], egresses: [], allowTargets: [] },
  [],
);

/** Compared with when the name is unknown, so that both cases do the same work. Nothing hashes to it on purpose. */
const NOBODY: readonly NamedCredential[] = [
  { credential: null, verifier: Buffer.from('0'.repeat(64), 'latin1') },
];

/** The credential with this name and secret, or null. Takes the same time for a wrong name and a wrong secret. */
export function authenticate(policy: Policy, username: string, secret: string): Credential | null {
  const presented = digestOf(secret);
  let found: Credential | null = null;
  for (const { credential, verifier } of policy.credentialsByName.get(username) ?? NOBODY)
    if (timingSafeEqual(presented, verifier)) found = credential;
  return found;
}

/** SHA-256 as hexadecimal characters, valid until the next call: a digest in a new buffer costs five times as much. */
function digestOf(secret: string): Uint8Array {
  digest.write(hash('sha256', secret, 'hex'), 'latin1');
  return digest;
}

const digest = Buffer.alloc(64);
