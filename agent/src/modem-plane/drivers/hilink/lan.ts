/** The request that gives a stick a subnet of its own, so that several of them do not all want 192.168.8.0/24. */
import type { Outcome } from '../../driver';
import { failed } from './errors';
import type { RequestElements } from './stick-text';

/** Common in the LANs of hosts; above 252 are the kernel's own routing tables. */
const AVOIDED: readonly number[] = [0, 1, 88, 100];
const MAX_SUBNET = 252;
const LEASE_SECONDS = 86_400;

/** All elements, since the stick takes none alone. */
export function lanRequest(subnet: number): Outcome<RequestElements> {
  if (!Number.isInteger(subnet) || subnet < 0 || subnet > MAX_SUBNET || AVOIDED.includes(subnet))
    return failed(
      'failed',
      'hilink/lan-subnet',
      `subnet: 192.168.${subnet}.0/24 will not do; give a number from 2 to ${MAX_SUBNET}, not 88 or 100`,
    );
  const stick = `192.168.${subnet}.1`;
  const host = `192.168.${subnet}.100`;
  return {
    ok: true,
    value: [
      ['DnsStatus', 1],
      ['DhcpStartIPAddress', host],
      ['DhcpIPAddress', stick],
      ['accessipaddress', ''],
      ['homeurl', 'hi.link'],
      ['DhcpStatus', 1],
      ['DhcpLanNetmask', '255.255.255.0'],
      ['SecondaryDns', stick],
      ['PrimaryDns', stick],
      ['DhcpEndIPAddress', host],
      ['DhcpLeaseTime', LEASE_SECONDS],
    ],
  };
}
