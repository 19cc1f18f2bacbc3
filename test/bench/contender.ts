/** What the bench needs of a program that it measures; peers.ts and mastline.ts make them. */
import type { Access } from './load-generator';
import type { Protocol, ProxyName } from './measures';
import type { Program } from './programs';

export interface Contender {
  name: ProxyName;
  version: string;
  protocols: Protocol[];
  /** Threads that carry bytes, where the bench decides; null where the program does. */
  threads: number | null;
  /** Most flows that it is asked to hold, with the reason; null when as many as anybody. */
  mostFlows: { flows: number; because: string } | null;
  /** What a reader of the table should know. */
  note: string;
  /** What to start. `dir` is empty, its own and removed afterwards; `ports` has one for each protocol. */
  program(at: { dir: string; ports: Map<Protocol, number>; targetPort: number }): Program;
  /** How to reach it in one of its protocols, once it runs. */
  access(protocol: Protocol, port: number): Access;
}

export function portOf(ports: Map<Protocol, number>, protocol: Protocol): number {
  const port = ports.get(protocol);
  if (port === undefined) throw new Error(`no port was given for ${protocol}`);
  return port;
}
