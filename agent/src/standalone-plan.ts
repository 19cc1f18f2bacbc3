/**
 * The standalone file as the plan that the data plane understands. Each way out of it is a slot; a way keeps its
 * number as long as the process lives, so that flows are not taken for another's when the file is read again.
 */
import { createHash } from 'node:crypto';
import { isIPv6, SocketAddress } from 'node:net';
import { networkInterfaces } from 'node:os';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { Credential, Endpoint } from '@mastline/shared/domain/endpoint';
import type { StandaloneConfig } from './config';
import type { Egress, ServicePlan } from './ports';
import { type EgressConfig, egressKey } from './standalone-file';
import { shadowsocksServices } from './standalone-shadowsocks';

/** Numbers of the ways out that were ever seen, by their text; kept by the caller between two readings. */
export type SlotNumbers = Map<string, number>;

/** Throws `standalone/no-interface` or `standalone/no-address` when a way out does not exist on this machine. */
export function planOf(config: StandaloneConfig, numbers: SlotNumbers = new Map()): ServicePlan {
  const egresses = new Map<number, Egress>();
  const slotOf = (egress: EgressConfig): number => {
    const key = egressKey(egress);
    const slot = numbers.get(key) ?? numbers.size + 1;
    numbers.set(key, slot);
    const limits = egress.limits ?? egresses.get(slot)?.limits;
    egresses.set(slot, {
      slot,
      sourceAddress: sourceAddressOf(egress),
      ...(egress.address6 === undefined ? {} : { sourceAddress6: ownAddress(egress.address6) }),
      dnsServers: egress.dnsServers ?? [],
      ready: true,
      imei: null,
      guarded: [],
      ...(limits ? { limits } : {}),
    });
    return slot;
  };
  const { services } = shadowsocksServices(config);
  const endpoints = config.listeners.map(
    ({ name, protocols, host, port, egress, tls, chain, openTo }): Endpoint => ({
      id: name,
      name,
      protocols,
      reach: 'direct',
      listen: { host, port },
      slots: [slotOf(egress)],
      shadowsocks: services.get(name),
      tls,
      chain,
      ...(openTo
        ? { openTo: { sourceAddresses: openTo.sourceAddresses, credentialId: openTo.credential } }
        : {}),
    }),
  );
  const credentials = config.credentials.map(
    ({ username, secret, verifier, listeners, limits }): Credential => ({
      id: username,
      username,
      verifier:
        verifier ??
        createHash('sha256')
          .update(secret ?? '')
          .digest('hex'),
      endpointIds: listeners ?? null,
      suspended: false,
      ...(limits ? { limits } : {}),
    }),
  );
  return { endpoints, credentials, egresses: [...egresses.values()], allowTargets: config.allowTargets };
}

/** Binding an interface's address is what routes by it where the system has a rule for it; the file's author decides. */
function sourceAddressOf(egress: EgressConfig): string | null {
  const { address } = egress;
  const interfaces = networkInterfaces();
  if (egress.interface !== undefined) {
    const own = interfaces[egress.interface];
    const chosen = own?.find(one => one.family === 'IPv4') ?? own?.find(one => !one.scopeid);
    if (chosen) return chosen.address;
    throw new CodedError('standalone/no-interface', `interface ${egress.interface} has no address`, {
      userMessage: `The interface "${egress.interface}" does not exist or has no address. This machine has: ${Object.keys(interfaces).join(', ')}.`,
    });
  }
  if (address === undefined) return null;
  return ownAddress(address);
}

function ownAddress(text: string): string {
  // One spelling, the system's.
  const address = isIPv6(text) ? new SocketAddress({ address: text, family: 'ipv6' }).address : text;
  const own = Object.values(networkInterfaces()).some(list => list?.some(one => one.address === address));
  // All of 127.0.0.0/8 is local without being listed.
  if (own || address.startsWith('127.')) return address;
  throw new CodedError('standalone/no-address', `${address} is not an address of this machine`, {
    userMessage: `Flows cannot leave from ${address}: this machine has no such address.`,
  });
}
