/**
 * What stands on the virtual Internet: the origin and the carrier's name server, in one process or in a namespace's
 * own. Both kinds of virtual network use it through `Internet`.
 */
import { type Forward, type NameServer, startNameServer } from './name-server';
import { type Origin, startOrigin } from './origin';
import type { OriginReport } from './origin-report';

export const ORIGIN_NAME = 'origin.mastline.test';

export interface InternetAddresses {
  host: string;
  originPort: number;
  dnsHost: string;
  dnsPort: number;
  /** The same of IPv6, where the kernel has it. */
  six?: { host: string; dnsHost: string };
}

export interface Internet {
  origin: { url: string; address: string; port: number };
  dns: { address: string; port: number };
  /** The origin's IPv6 side; the same counts. */
  origin6?: { url: string; address: string; port: number };
  report(id: string | null): Promise<OriginReport>;
  /** The carrier answers in the origin's place whoever comes from there, and asks for money. */
  turnAway(address: string, on: boolean): void;
  close(): Promise<void>;
}

/** Starts both in this process. `policy` lets the rootless kind play carrier at the origin's door. */
export async function startInternet(
  addresses: InternetAddresses,
  forward: Forward,
  policy: { addressOf?: (remote: string) => string; accepts?: (remote: string) => boolean } = {},
): Promise<Internet & { cut(remoteAddress: string): void }> {
  const turnedAway = new Set<string>();
  const { six } = addresses;
  const opened: { close(): Promise<void> }[] = [];
  const close = async () => {
    for (const one of opened.toReversed()) await one.close();
  };
  const originAt = async (host: string): Promise<Origin> => {
    const pays = (remote: string) => !turnedAway.has(remote);
    const origin = await startOrigin({ host, port: addresses.originPort, pays, ...policy });
    opened.push(origin);
    return origin;
  };
  try {
    const origin = await originAt(addresses.host);
    const origin6 = six && (await originAt(six.host));
    const names = { [ORIGIN_NAME]: [origin.address, ...(origin6 ? [origin6.address] : [])] };
    const dnsAt = async (host: string): Promise<NameServer> => {
      const dns = await startNameServer({ host, port: addresses.dnsPort, names, forward });
      opened.push(dns);
      return dns;
    };
    const dns = await dnsAt(addresses.dnsHost);
    if (six) await dnsAt(six.dnsHost);
    return {
      origin: { url: origin.url, address: origin.address, port: origin.port },
      ...(origin6 ? { origin6: { url: origin6.url, address: origin6.address, port: origin6.port } } : {}),
      dns: { address: dns.address, port: dns.port },
      report: async id => {
        const { connections } = origin.report(id);
        return { id, connections: [...connections, ...(origin6?.report(id).connections ?? [])] };
      },
      turnAway: (address, on) => void (on ? turnedAway.add(address) : turnedAway.delete(address)),
      cut: remote => origin.cut(remote),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}
