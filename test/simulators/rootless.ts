/**
 * Virtual modems for anyone: loopback addresses instead of networks. For instance K, modem N has its web API on
 * 127.K.N.1 (or a pty for AT and MBIM) and the agent dials from 127.K.N.2, which is also the exit address that the origin sees. When the carrier
 * gives another address, the origin reports that one: packets are not rewritten here, the namespaces kind does that.
 * Nothing reaches the real Internet from a 127.x address.
 */
import { createServer, type Server } from 'node:net';
import type { CarrierLink } from './carrier';
import { askHost } from './host-resolver';
import { startInternet } from './internet';
import { closeModem, type Place, startVirtualModem } from './virtual-modem';
import {
  type ModemSpec,
  type NetworkOptions,
  POOL_SIZE,
  type VirtualNetwork,
  type VirtualSlot,
} from './virtual-slot';

const API_PORT_ANY = 0;

const NOTHING_PLUGGED: CarrierLink = {
  ...{ address: null, carries: false, credit: true },
  ...{ address6: null, carries6: false },
};

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
  const placeOf = ({ k, n, source }: { k: number; n: number; source: string }): Place => {
    const api = `127.${k}.${n}.1`;
    let port = API_PORT_ANY;
    return {
      pool: Array.from({ length: POOL_SIZE }, (_, i) => `127.${k}.${n}.${2 + i}`),
      innerPool: Array.from({ length: POOL_SIZE }, (_, i) => `10.${k}.${n}.${POOL_SIZE + 4 * i}`),
      dnsServers: [internet.dns.address],
      apply: async link => {
        const before = links.get(source);
        links.set(source, link);
        internet.turnAway(source, !link.credit);
        // A flow does not survive the address or the connection it ran over.
        if (before && (before.address !== link.address || !link.carries)) internet.cut(source);
      },
      listen: async () => {
        const server = await listenOn(api, port);
        const bound = server.address();
        if (bound !== null && typeof bound === 'object') port = bound.port;
        return server;
      },
      url: () => `http://${api}:${port}`,
      bytes: () => carriedAtOrigin(internet, source),
    };
  };
  const slots: VirtualSlot[] = [];
  const close = async () => {
    for (const one of slots) await closeModem(one);
    await internet.close();
  };
  try {
    const add = async (spec: ModemSpec) => {
      const n = spec.slot;
      const source = `127.${k}.${n}.2`;
      const running = await startVirtualModem(spec, placeOf({ k, n, source }), options);
      const made: VirtualSlot = {
        ...running,
        slot: n,
        spec,
        config: {
          slot: n,
          usbPath: `virtual-${spec.name ?? `${k}.${n}`}`,
          sourceAddress: source,
          api: running.api,
          dnsServers: [`${internet.dns.address}:${internet.dns.port}`],
          virtual: true,
        },
      };
      slots.push(made);
      slots.sort((a, b) => a.slot - b.slot);
      return made;
    };
    const remove = async (slot: number) => {
      const at = slots.findIndex(one => one.slot === slot);
      const [gone] = at < 0 ? [] : slots.splice(at, 1);
      if (gone) await closeModem(gone);
      // Nothing leaves through a modem that is not there.
      const source = `127.${k}.${slot}.2`;
      links.set(source, NOTHING_PLUGGED);
      internet.cut(source);
    };
    for (const spec of options.modems) await add(spec);
    return { slots, internet, echoUrls: [`${internet.origin.url}/ip`], add, remove, close };
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
