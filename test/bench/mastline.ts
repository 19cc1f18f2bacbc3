/**
 * The agent as it runs alone (`run --config`), with all that it does for a real customer: a password, the rules about
 * targets, and exact metering into a spool on disk.
 */
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { messageOf } from '@mastline/shared/base/coded-error';
import { keyFromPassword } from '@mastline/shared/protocols/shadowsocks/keys';
import { type Contender, portOf } from './contender';
import type { Protocol } from './measures';
import { type Login, SHADOWSOCKS_METHOD } from './peers';
import type { Programs } from './programs';

const PROGRAM = join(import.meta.dirname, '../../agent/dist/main.js');
/** Other customers of the box: looking somebody up among them is part of the work. */
const OTHER_CREDENTIALS = 99;

export function mastline(
  threads: number,
  options: { login: Login; version: string; protocols: Protocol[] },
): Contender {
  const { login, version, protocols } = options;
  return {
    name: 'mastline',
    version,
    protocols,
    threads,
    mostFlows: null,
    note: 'password, policy, metering to disk',
    program({ dir, ports, targetPort }) {
      const config = {
        listeners: protocols.map(protocol => ({
          name: protocol,
          host: '127.0.0.1',
          port: portOf(ports, protocol),
          ...speaking(protocol),
        })),
        credentials: [
          ...Array.from({ length: OTHER_CREDENTIALS }, (_, index) => ({
            username: `customer${index}`,
            secret: `${login.password}${index}`,
            // The peers know one Shadowsocks user, and so does the agent there.
            listeners: protocols.filter(protocol => protocol !== 'shadowsocks'),
          })),
          { username: login.user, secret: login.password },
        ],
        allowTargets: [`127.0.0.1:${targetPort}`],
        dataDir: join(dir, 'data'),
        threads,
      };
      const file = join(dir, 'agent.json');
      writeFileSync(file, JSON.stringify(config), { mode: 0o600 });
      return {
        command: process.execPath,
        args: [PROGRAM, 'run', '--config', file],
        env: { LOG_LEVEL: 'warn', NODE_OPTIONS: '' },
        ports: protocols.map(protocol => portOf(ports, protocol)),
      };
    },
    access: (protocol, port) =>
      protocol === 'shadowsocks'
        ? { kind: protocol, port, key: keyFromPassword(login.password, 32) }
        : { kind: protocol, port, ...login },
  };
}

/** What a listener's entry says about its protocol. */
function speaking(protocol: Protocol): object {
  return protocol === 'shadowsocks'
    ? { protocols: [protocol], method: SHADOWSOCKS_METHOD }
    : { protocols: [protocol] };
}

/** The agent's own words when it will not run `contender`; null when it starts and listens. */
export async function refusalOf(
  contender: Contender,
  programs: Programs,
  at: { dir: string; ports: Map<Protocol, number>; targetPort: number },
): Promise<string | null> {
  try {
    const running = await programs.start(contender.program(at));
    await running.stop();
    return null;
  } catch (error) {
    return messageOf(error).replace(/\s+/g, ' ');
  }
}
