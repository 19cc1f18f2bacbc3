/**
 * The forms in which a simulated MBIM modem can be reached: a pty (which looks to libmbim and to the agent like
 * /dev/cdc-wdm0), a Unix socket, and mbim-proxy's abstract socket. socat makes the pty and the abstract name, since
 * Node 20 can do neither.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { createServer, type Socket } from 'node:net';
import { type Clock, systemClock, type Timer } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import { removeOldLink } from '../at/pty';
import { MbimConnection } from './connection';
import type { MbimModem } from './modem';

const SOCAT_DEADLINE_MS = 5_000;
/** What socat says when it is ready, at two -d. */
const READY = /starting data transfer loop|listening on/;
const MAX_SAID_CHARACTERS = 2_000;

export interface SimulatedPort {
  /** Where a host finds the modem. */
  path: string;
  close(): Promise<void>;
}

export interface SimulatedPty extends SimulatedPort {
  /** Off the bus until it is plugged in again. */
  unplug(): Promise<void>;
  plug(): Promise<void>;
}

/** A pty at `path`. A modem that leaves the bus takes it away, and brings it back after `knobs.resetMs`. */
export async function servePty(
  modem: MbimModem,
  path: string,
  clock: Clock = systemClock,
): Promise<SimulatedPty> {
  let line: { close(): Promise<void> } | null = await openPty(modem, path);
  let back: Timer | undefined;
  let unplugged = false;
  /** Openings and closings, one after the other. */
  let moves: Promise<void> = Promise.resolve();
  const move = (work: () => Promise<void>) => {
    const done = moves.then(work);
    moves = done.catch(error => void modem.faults.push(`the pty did not come or go: ${error}`));
    return done;
  };
  const leave = () =>
    move(async () => {
      const leaving = line;
      line = null;
      await leaving?.close();
    });
  const appear = () =>
    move(async () => {
      if (line !== null) return;
      line = await openPty(modem, path);
      modem.look();
    });
  const forget = modem.onVanish(() => {
    leave().catch(() => undefined);
    back?.cancel();
    // A failure is among the modem's faults.
    if (!unplugged) back = clock.after(modem.knobs.resetMs, () => void appear().catch(() => undefined));
  });
  return {
    path,
    unplug: async () => {
      unplugged = true;
      modem.vanish();
      await moves;
    },
    plug: async () => {
      unplugged = false;
      await appear();
    },
    close: async () => {
      forget();
      back?.cancel();
      modem.close();
      await leave();
    },
  };
}

async function openPty(modem: MbimModem, path: string): Promise<{ close(): Promise<void> }> {
  await removeOldLink(path);
  const { child, close } = await socat([`PTY,rawer,link=${path}`, 'STDIO'], []);
  const connection = new MbimConnection({
    modem,
    proxy: false,
    write: bytes => void child.stdin?.write(bytes),
  });
  child.stdout?.on('data', (bytes: Buffer) => connection.receive(bytes));
  child.stdin?.on('error', () => connection.close());
  return {
    close: async () => {
      connection.close();
      await close();
    },
  };
}

export interface SocketOptions {
  /** Speaks as mbim-proxy does. */
  proxy?: boolean;
}

/** A Unix socket at `path`; any number of hosts share the modem. A modem that leaves the bus drops them all. */
export async function serveSocket(
  modem: MbimModem,
  path: string,
  options: SocketOptions = {},
): Promise<SimulatedPort> {
  const hosts = new Set<Socket>();
  const server = createServer(host => {
    hosts.add(host);
    const connection = new MbimConnection({
      modem,
      proxy: options.proxy ?? false,
      write: bytes => void host.write(bytes),
    });
    host.on('data', bytes => connection.receive(bytes));
    // A host that breaks off is a host that is gone.
    host.on('error', () => host.destroy());
    host.on('close', () => {
      connection.close();
      hosts.delete(host);
    });
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, resolve);
  });
  const drop = () => {
    for (const host of hosts) host.destroy();
  };
  const forget = modem.onVanish(drop);
  return {
    path,
    close: async () => {
      forget();
      modem.close();
      drop();
      await new Promise<void>(resolve => server.close(() => resolve()));
    },
  };
}

export interface ProxyOptions {
  /** Abstract name; the genuine one is "mbim-proxy". */
  name: string;
  /** Unix socket between socat and the simulator. */
  socketPath: string;
  /** Network namespace to listen in: abstract names belong to one. */
  namespace?: string;
}

/** As mbim-proxy on its abstract socket. */
export async function serveProxy(modem: MbimModem, options: ProxyOptions): Promise<SimulatedPort> {
  const inner = await serveSocket(modem, options.socketPath, { proxy: true });
  const prefix = options.namespace === undefined ? [] : ['ip', 'netns', 'exec', options.namespace];
  try {
    const { close } = await socat(
      [`ABSTRACT-LISTEN:${options.name},fork`, `UNIX-CONNECT:${options.socketPath}`],
      prefix,
    );
    return {
      path: `@${options.name}`,
      close: async () => {
        await close();
        await inner.close();
      },
    };
  } catch (error) {
    await inner.close();
    throw error;
  }
}

/** Starts socat, gives it when it is ready. Throws `simulator/tool-missing` or `simulator/tool-failed`. */
async function socat(
  addresses: readonly [string, string],
  prefix: readonly string[],
): Promise<{ child: ChildProcess; close(): Promise<void> }> {
  const [command = 'socat', ...args] = [...prefix, 'socat', '-d', '-d', ...addresses];
  // A process group of its own, so that its forks end with it.
  const child = spawn(command, args, { stdio: 'pipe', detached: true });
  const ended = new Promise<void>(resolve => child.once('close', () => resolve()));
  let said = '';
  const ready = new Promise<void>((resolve, reject) => {
    child.once('error', error =>
      reject(
        new CodedError('simulator/tool-missing', `${command}: ${error.message}`, {
          cause: error,
          userMessage: 'The MBIM simulator needs socat: apt-get install -y socat',
        }),
      ),
    );
    child.stderr.on('data', chunk => {
      said = `${said}${chunk}`.slice(-MAX_SAID_CHARACTERS);
      if (READY.test(said)) resolve();
    });
    child.once('exit', code =>
      reject(new CodedError('simulator/tool-failed', `socat ended (${code}): ${said}`)),
    );
  });
  const close = async () => {
    if (child.exitCode === null && child.signalCode === null && child.pid !== undefined)
      try {
        process.kill(-child.pid, 'SIGKILL');
      } catch {
        // Ended between the two lines.
        child.kill('SIGKILL');
      }
    await ended;
    // A killed socat leaves its link behind.
    const link = /link=(.+)$/.exec(addresses[0])?.[1];
    if (link !== undefined) await rm(link, { force: true });
  };
  try {
    await withDeadline(ready, SOCAT_DEADLINE_MS, 'starting socat');
    return { child, close };
  } catch (error) {
    if (child.pid !== undefined) await close();
    throw error;
  }
}

/** Why a test with this tool cannot run here; undefined when it can. */
export function whyNotInstalled(path: string, pkg: string): string | undefined {
  return existsSync(path) ? undefined : `${path} is missing: apt-get install -y ${pkg}`;
}
