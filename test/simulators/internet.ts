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
}

export interface Internet {
  origin: { url: string; address: string; port: number };
  dns: { address: string; port: number };
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
  const origin: Origin = await startOrigin({
    host: addresses.host,
    port: addresses.originPort,
    pays: remote => !turnedAway.has(remote),
    ...policy,
  });
  let dns: NameServer;
  try {
    dns = await startNameServer({
      host: addresses.dnsHost,
      port: addresses.dnsPort,
      names: { [ORIGIN_NAME]: origin.address },
      forward,
    });
  } catch (error) {
    await origin.close();
    throw error;
  }
  return {
    origin: { url: origin.url, address: origin.address, port: origin.port },
    dns: { address: dns.address, port: dns.port },
    report: async id => origin.report(id),
    turnAway: (address, on) => void (on ? turnedAway.add(address) : turnedAway.delete(address)),
    cut: remote => origin.cut(remote),
    close: async () => {
      await origin.close();
      await dns.close();
    },
  };
}
