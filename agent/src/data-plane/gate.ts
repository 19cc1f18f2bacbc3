/**
 * Decides whether a request may pass, and later whether an address that its name resolved to may be reached. Pure:
 * the policy is a value, the answer is a value. What a refusal looks like on the wire is shared/protocols/refusal.ts.
 */
import { isIP } from 'node:net';
import type { Credential, Endpoint } from '@mastline/shared/domain/endpoint';
import { type AddressRange, holds, readAddress } from '@mastline/shared/domain/ip-range';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Target } from '@mastline/shared/protocols/target';
import { chooseModem, type ModemAsk } from './choose-modem';
import type { GuardedEgress, Policy } from './policy';

export type Verdict = { admit: true; egress: GuardedEgress } | { admit: false; reason: RefusalReason };

const refuse = (reason: RefusalReason): Verdict => ({ admit: false, reason });

/** Ports that no customer gets by default: mail from a SIM is how its address ends on every block list. */
const DENIED_PORTS = new Set([25]);

export interface ProxyAsk {
  endpointId: string;
  credentialId: string;
  /** Null for an association, whose datagrams name theirs. */
  target: Target | null;
  /** What the client wants of the modem. */
  modem?: ModemAsk;
}

/** Judges what can be judged before the target's name is resolved. */
export function judge(ask: ProxyAsk, policy: Policy): Verdict {
  const endpoint = policy.endpoints.get(ask.endpointId);
  const credential = policy.credentials.get(ask.credentialId);
  const reason = standing(endpoint, credential);
  if (reason) return refuse(reason);
  if (!endpoint) return refuse('draining');
  const choice = chooseModem(endpoint, policy.egresses, ask.modem);
  const egress = choice.ok ? choice.egress : null;
  const { target } = ask;
  if (target === null) return choice.ok ? { admit: true, egress: choice.egress } : refuse(choice.reason);
  if (isIP(target.host) !== 0) {
    // Judged before the modem is: a client that asks for the forbidden hears so, whatever the weather.
    const refused = judgeAddress(target.host, target.port, { policy, egress });
    if (refused) return refuse(refused);
  } else if (isDeniedPort(target.port) && !policy.allowTargets.some(range => range.port === target.port))
    return refuse('port-denied');
  return choice.ok ? { admit: true, egress: choice.egress } : refuse(choice.reason);
}

/** Whether credential and endpoint are in good standing with each other; asked again when a plan changes. */
export function standing(
  endpoint: Endpoint | undefined,
  credential: Credential | undefined,
): RefusalReason | null {
  if (!endpoint) return 'draining';
  if (!credential) return 'bad-credentials';
  if (credential.suspended) return 'suspended';
  if (credential.endpointIds !== null && !credential.endpointIds.includes(endpoint.id))
    return 'endpoint-not-allowed';
  return null;
}

/** What addresses are judged by. `hostRanges`: networks of the host itself (host-networks.ts). */
export interface AddressRules {
  policy: Pick<Policy, 'allowTargets' | 'hostRanges'>;
  egress: Pick<GuardedEgress, 'guardedRanges'> | null;
}

/** Why this resolved address and port may not be reached, or null. The node's own `allowTargets` overrule. */
export function judgeAddress(address: string, port: number, rules: AddressRules): RefusalReason | null {
  const read = readAddress(address);
  if (!read) return 'private-target';
  const { policy, egress } = rules;
  // Port 25 is opened only by a range that names it, not by one that means "this network, any port".
  for (const range of policy.allowTargets)
    if (holds(range, read, port) && (range.port === port || !isDeniedPort(port))) return null;
  const isHere = (range: AddressRange) => holds(range, read, port);
  if (!read.isPublic || policy.hostRanges.some(isHere) || egress?.guardedRanges.some(isHere))
    return 'private-target';
  return isDeniedPort(port) ? 'port-denied' : null;
}

const isDeniedPort = (port: number) => DENIED_PORTS.has(port);
