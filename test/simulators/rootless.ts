/**
 * Virtual modems for anyone: loopback addresses instead of networks. For instance K, modem N has its web API on
 * 127.K.N.1 and the agent dials from 127.K.N.2, which is also the exit address that the origin sees. When the carrier
 * gives another address, the origin reports that one: packets are not rewritten here, the namespaces kind does that.
 * Nothing reaches the real Internet from a 127.x address.
 */
import { createServer, type Server } from 'node:net';
import { systemClock } from '@mastline/shared/base/clock';
import { type CarrierLink, VirtualCarrier } from './carrier';
import { startHilinkModem } from './hilink-modem';
import { identityOf } from './hilink-replies';
import { askHost } from './host-resolver';
import { startInternet } from './internet';
import { type NetworkOptions, POOL_SIZE, type VirtualNetwork, type VirtualSlot } from './virtual-slot';

const API_PORT_ANY = 0;

/** Starts the rootless kind: needs no rights, only Linux's whole 127.0.0.0/8 on the loopback interface. */
export async function startRootless(options: NetworkOptions): Promise<VirtualNetwork> {
  const k = options.instance;
  const links = new Map<string, CarrierLink>();
  const internet = await startInternet(
    { host: `127.${k}.0.1`, originPort: 0, dnsHost: `127.${k}.0.2`, dnsPort: 0 },
    askHost,
    {
      addressOf: remote => links.get(remote)?.address ?? remote,
      accepts: remote => {
        const link = links.get(remote);
        return link === undefined || (link.address !== null && link.carries);
      },
    },
  );
  const slots: VirtualSlot[] = [];
  const close = async () => {
    for (const { modem, carrier } of slots) {
      await modem.close();
      await carrier.close();
    }
    await internet.close();
  };
  try {
    for (let n = 1; n <= options.modems; n += 1) {
      const source = `127.${k}.${n}.2`;
      const carrier = new VirtualCarrier({
        pool: Array.from({ length: POOL_SIZE }, (_, i) => `127.${k}.${n}.${2 + i}`),
        clock: systemClock,
        apply: async link => {
          const before = links.get(source);
          links.set(source, link);
          // A flow does not survive the address or the connection it ran over.
          if (before && (before.address !== link.address || !link.carries)) internet.cut(source);
        },
        onFailure: options.onFailure,
        registrationDelayMs: options.registrationDelayMs,
        connectDelayMs: options.connectDelayMs,
      });
      const api = `127.${k}.${n}.1`;
      let port = API_PORT_ANY;
      const modem = await startHilinkModem({
        identity: identityOf(k, n),
        carrier,
        wanAddress: session => `10.${k}.${n}.${1 + (session % 250)}`,
        dnsServers: [internet.dns.address],
        listen: async () => {
          const server = await listenOn(api, port);
          const bound = server.address();
          if (bound !== null && typeof bound === 'object') port = bound.port;
          return server;
        },
        bytes: () => carriedAtOrigin(internet, source),
      });
      slots.push({
        slot: n,
        carrier,
        modem,
        config: {
          slot: n,
          usbPath: `virtual-${k}.${n}`,
          sourceAddress: source,
          api: { kind: 'hilink', url: `http://${api}:${port}` },
          dnsServers: [`${internet.dns.address}:${internet.dns.port}`],
          virtual: true,
        },
      });
      await carrier.powerOn();
    }
    return { slots, internet, echoUrls: [`${internet.origin.url}/ip`], close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** There is no interface with counters; the origin knows what came from the address. */
async function carriedAtOrigin(
  internet: {
    report(
      id: string | null,
    ): Promise<{ connections: { remoteAddress: string; bytesReceived: number; bytesSent: number }[] }>;
  },
  source: string,
): Promise<{ up: number; down: number }> {
  let up = 0;
  let down = 0;
  for (const one of (await internet.report(null)).connections)
    if (one.remoteAddress === source) {
      up += one.bytesReceived;
      down += one.bytesSent;
    }
  return { up, down };
}

function listenOn(host: string, port: number): Promise<Server> {
  const server = createServer();
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen({ host, port }, () => {
      server.off('error', reject);
      resolve(server);
    });
  });
}
