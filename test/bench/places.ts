/** Free ports and folders of their own for the programs of the bench. */
import { once } from 'node:events';
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { type AddressInfo, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Contender } from './contender';
import type { Protocol } from './measures';

/** Ports that were free a moment ago, all different. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = Array.from({ length: count }, () => createServer());
  const ports: number[] = [];
  for (const server of servers) {
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    ports.push((server.address() as AddressInfo).port);
  }
  for (const server of servers) {
    server.close();
    await once(server, 'close');
  }
  return ports;
}

export async function portsFor(contender: Contender): Promise<Map<Protocol, number>> {
  const ports = await freePorts(contender.protocols.length);
  return new Map(contender.protocols.map((protocol, index) => [protocol, ports[index] ?? 0]));
}

export interface Workplace {
  root: string;
  /** A folder that is empty and used by nobody else. */
  folder(name: string): string;
  remove(): void;
}

export function makeWorkplace(): Workplace {
  const root = mkdtempSync(join(tmpdir(), 'mastline-bench-'));
  let made = 0;
  return {
    root,
    folder(name) {
      made += 1;
      const path = join(root, `${made}-${name}`);
      mkdirSync(path, { mode: 0o700 });
      return path;
    },
    remove: () => rmSync(root, { recursive: true, force: true }),
  };
}
