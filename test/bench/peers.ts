/**
 * The other proxies: where they come from, and a configuration that does as much as they can of what the agent must
 * do (a user name and password; one thread where it can be set), logging nothing. danted asks for passwords only of
 * the system's own users, so it is measured without: to its advantage.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { keyFromPassword } from '@mastline/shared/protocols/shadowsocks/keys';
import { type Contender, portOf } from './contender';
import type { ProxyName } from './measures';
import { findProgram } from './programs';

export interface Login {
  user: string;
  password: string;
}

export const SHADOWSOCKS_METHOD = 'aes-256-gcm';

export interface Peer {
  name: ProxyName;
  executable: string;
  /** Debian's package. */
  packageName: string;
  /** The service that the package brings, which nobody asked for here. */
  unit: string;
  make(executable: string, context: { login: Login; fileLimit: number }): Omit<Contender, 'name' | 'version'>;
}

const write = (dir: string, name: string, text: string): string => {
  const path = join(dir, name);
  writeFileSync(path, text, { mode: 0o600 });
  return path;
};

const danted: Peer = {
  name: 'danted',
  executable: 'danted',
  packageName: 'dante-server',
  unit: 'danted',
  make: command => ({
    protocols: ['socks5'],
    threads: null,
    mostFlows: { flows: 1_000, because: 'it forks a process for every few flows' },
    note: 'no password',
    program({ dir, ports }) {
      const port = portOf(ports, 'socks5');
      const user = process.getuid?.() === 0 ? 'user.unprivileged: nobody\n' : '';
      const config = write(
        dir,
        'danted.conf',
        `logoutput: /dev/null\ninternal: 127.0.0.1 port = ${port}\nexternal: lo\nsocksmethod: none\nclientmethod: none\n${user}` +
          'client pass { from: 127.0.0.0/8 to: 0.0.0.0/0 }\nsocks pass { from: 127.0.0.0/8 to: 127.0.0.0/8 command: connect }\n',
      );
      return { command, args: ['-f', config, '-p', join(dir, 'danted.pid')], ports: [port] };
    },
    access: (_protocol, port) => ({ kind: 'socks5', port }),
  }),
};

const microsocks: Peer = {
  name: 'microsocks',
  executable: 'microsocks',
  packageName: 'microsocks',
  unit: 'microsocks',
  make: (command, { login }) => ({
    protocols: ['socks5'],
    threads: null,
    mostFlows: null,
    note: 'password',
    program({ ports }) {
      const port = portOf(ports, 'socks5');
      const args = ['-i', '127.0.0.1', '-p', String(port), '-u', login.user, '-P', login.password];
      return { command, args, ports: [port] };
    },
    access: (_protocol, port) => ({ kind: 'socks5', port, ...login }),
  }),
};

const v2ray: Peer = {
  name: 'v2ray',
  executable: 'v2ray',
  packageName: 'v2ray',
  unit: 'v2ray',
  make: (command, { login }) => ({
    protocols: ['socks5', 'http', 'shadowsocks'],
    threads: null,
    mostFlows: null,
    note: 'password; as many threads as cores',
    program({ dir, ports }) {
      const account = { user: login.user, pass: login.password };
      const inbound = { listen: '127.0.0.1' };
      const config = {
        log: { loglevel: 'none' },
        inbounds: [
          {
            ...inbound,
            port: portOf(ports, 'socks5'),
            protocol: 'socks',
            settings: { auth: 'password', accounts: [account] },
          },
          {
            ...inbound,
            port: portOf(ports, 'http'),
            protocol: 'http',
            settings: { accounts: [account] },
          },
          {
            ...inbound,
            port: portOf(ports, 'shadowsocks'),
            protocol: 'shadowsocks',
            settings: { method: SHADOWSOCKS_METHOD, password: login.password, network: 'tcp' },
          },
        ],
        outbounds: [{ protocol: 'freedom' }],
      };
      const file = write(dir, 'v2ray.json', JSON.stringify(config));
      const old = /V2Ray 4\./.test(firstOutput(command, ['-version']));
      return { command, args: old ? ['-config', file] : ['run', '-c', file], ports: [...ports.values()] };
    },
    access: (protocol, port) =>
      protocol === 'shadowsocks'
        ? { kind: protocol, port, key: keyFromPassword(login.password, 32) }
        : { kind: protocol, port, ...login },
  }),
};

const ssLibev: Peer = {
  name: 'ss-libev',
  executable: 'ss-server',
  packageName: 'shadowsocks-libev',
  unit: 'shadowsocks-libev',
  make: (command, { login, fileLimit }) => ({
    protocols: ['shadowsocks'],
    threads: null,
    mostFlows: null,
    note: 'one user',
    program({ dir, ports }) {
      const port = portOf(ports, 'shadowsocks');
      const config = {
        server: '127.0.0.1',
        server_port: port,
        password: login.password,
        method: SHADOWSOCKS_METHOD,
        mode: 'tcp_only',
        timeout: 300,
        nofile: fileLimit,
      };
      const file = write(dir, 'ss-server.json', JSON.stringify(config));
      return { command, args: ['-c', file], ports: [port] };
    },
    access: (_protocol, port) => ({ kind: 'shadowsocks', port, key: keyFromPassword(login.password, 32) }),
  }),
};

const tinyproxy: Peer = {
  name: 'tinyproxy',
  executable: 'tinyproxy',
  packageName: 'tinyproxy-bin',
  unit: 'tinyproxy',
  make: (command, { login }) => ({
    protocols: ['http'],
    threads: null,
    mostFlows: null,
    note: 'password',
    program({ dir, ports, targetPort }) {
      const port = portOf(ports, 'http');
      const config = write(
        dir,
        'tinyproxy.conf',
        `Port ${port}\nListen 127.0.0.1\nTimeout 600\nMaxClients 20000\nAllow 127.0.0.1\nConnectPort ${targetPort}\n` +
          `BasicAuth ${login.user} ${login.password}\nLogLevel Critical\nLogFile "${join(dir, 'tinyproxy.log')}"\n`,
      );
      return { command, args: ['-d', '-c', config], ports: [port] };
    },
    access: (_protocol, port) => ({ kind: 'http', port, ...login }),
  }),
};

const haproxy: Peer = {
  name: 'haproxy',
  executable: 'haproxy',
  packageName: 'haproxy',
  unit: 'haproxy',
  make: (command, { fileLimit }) => ({
    protocols: ['http'],
    threads: null,
    mostFlows: null,
    note: 'a bare TCP relay: no handshake, no password; one thread',
    program({ dir, ports, targetPort }) {
      const port = portOf(ports, 'http');
      const most = Math.floor((fileLimit - 100) / 2);
      const config = write(
        dir,
        'haproxy.cfg',
        `global\n  nbthread 1\n  maxconn ${most}\ndefaults\n  mode tcp\n  maxconn ${most}\n  timeout connect 10s\n  timeout client 10m\n  timeout server 10m\n` +
          `listen relay\n  bind 127.0.0.1:${port}\n  server sink 127.0.0.1:${targetPort}\n`,
      );
      return { command, args: ['-db', '-q', '-f', config], ports: [port] };
    },
    access: (_protocol, port) => ({ kind: 'direct', port }),
  }),
};

export const PEERS: readonly Peer[] = [danted, microsocks, v2ray, ssLibev, tinyproxy, haproxy];

export interface FoundPeers {
  contenders: Contender[];
  missing: Peer[];
}

/** Which of `wanted` are on this machine, ready to be started. */
export function findPeers(wanted: readonly Peer[], context: { login: Login; fileLimit: number }): FoundPeers {
  const found: FoundPeers = { contenders: [], missing: [] };
  for (const peer of wanted) {
    const executable = findProgram(peer.executable);
    if (executable === null) found.missing.push(peer);
    else
      found.contenders.push({
        name: peer.name,
        version: versionOf(peer),
        ...peer.make(executable, context),
      });
  }
  return found;
}

/** The package's version, since not every peer tells its own. */
function versionOf(peer: Peer): string {
  return (
    firstOutput('dpkg-query', ['-W', '-f', '$' + '{Version}', peer.packageName]).trim() || 'unknown version'
  );
}

/** What a command prints on standard output; empty when it fails. */
function firstOutput(command: string, args: string[]): string {
  try {
    return execFileSync(command, args, {
      encoding: 'utf8',
      timeout: 10_000,
      stdio: ['ignore', 'pipe', 'ignore'],
    });
  } catch {
    // Not a Debian system, or another major version with other options: both mean "not this one".
    return '';
  }
}
