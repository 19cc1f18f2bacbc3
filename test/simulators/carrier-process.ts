/**
 * The process inside the carrier's namespace that runs the virtual Internet, and the side that talks to it. Names it
 * does not know it asks its parent for, over IPC, since the real Internet's name servers are reachable from there.
 */
import { type ChildProcess, spawn } from 'node:child_process';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import { askHost } from './host-resolver';
import { type Internet, type InternetAddresses, startInternet } from './internet';
import type { Transport } from './name-server';
import type { OriginReport } from './origin-report';

const START_DEADLINE_MS = 60_000;
const CALL_DEADLINE_MS = 5000;
const END_DEADLINE_MS = 3000;

type ToChild =
  | { kind: 'answer'; id: number; bytes: string | null }
  | { kind: 'turn-away'; address: string; on: boolean }
  | { kind: 'report'; id: number; tag: string | null };
type ToParent =
  | ({ kind: 'ready' } & Pick<Internet, 'origin' | 'origin6' | 'dns'>)
  | { kind: 'failed'; message: string }
  | { kind: 'query'; id: number; transport: Transport; bytes: string }
  | { kind: 'report'; id: number; report: OriginReport };

/** Starts the process in `namespace`. `onDeath` hears of an end that nobody asked for. */
export async function startInternetIn(options: {
  namespace: string;
  addresses: InternetAddresses;
  /** The simulators' main program, which also plays this role. */
  program: string;
  onDeath: (how: string) => void;
}): Promise<Internet> {
  const child = spawn(
    'ip',
    [
      ...['netns', 'exec', options.namespace, process.execPath],
      ...[
        ...process.execArgv,
        options.program,
        '--role',
        'internet',
        '--addresses',
        JSON.stringify(options.addresses),
      ],
    ],
    { stdio: ['ignore', 'ignore', 'inherit', 'ipc'] },
  );
  const reports = new Map<number, (report: OriginReport) => void>();
  let ending = false;
  let nextId = 1;
  const gone = new Promise<void>(resolve => child.once('exit', () => resolve()));
  const send = (message: ToChild) => {
    if (child.connected) child.send(message, () => undefined);
  };

  const ready = new Promise<Extract<ToParent, { kind: 'ready' }>>((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      const how = `the virtual Internet's process ended with ${signal ?? `code ${code}`}`;
      reject(new CodedError('simulator/internet', how));
      if (!ending) options.onDeath(how);
    });
    child.on('message', raw => {
      const message = raw as ToParent;
      if (message.kind === 'ready') resolve(message);
      else if (message.kind === 'failed') reject(new CodedError('simulator/internet', message.message));
      else if (message.kind === 'report') {
        reports.get(message.id)?.(message.report);
        reports.delete(message.id);
      } else
        askHost(Buffer.from(message.bytes, 'base64'), message.transport).then(
          answer => send({ kind: 'answer', id: message.id, bytes: answer.toString('base64') }),
          () => send({ kind: 'answer', id: message.id, bytes: null }),
        );
    });
  });

  const close = async () => {
    ending = true;
    end(child);
    const timer = setTimeout(() => child.kill('SIGKILL'), END_DEADLINE_MS);
    await gone;
    clearTimeout(timer);
  };
  try {
    const { origin, origin6, dns } = await withDeadline(
      ready,
      START_DEADLINE_MS,
      'starting the virtual Internet',
    );
    return {
      origin,
      ...(origin6 ? { origin6 } : {}),
      dns,
      report: tag => {
        const id = nextId++;
        const answered = new Promise<OriginReport>(resolve => reports.set(id, resolve));
        send({ kind: 'report', id, tag });
        return withDeadline(answered, CALL_DEADLINE_MS, "the origin's report").finally(() =>
          reports.delete(id),
        );
      },
      turnAway: (address, on) => send({ kind: 'turn-away', address, on }),
      close,
    };
  } catch (error) {
    await close();
    throw error;
  }
}

function end(child: ChildProcess): void {
  if (child.connected) child.disconnect();
  else child.kill('SIGTERM');
}

/** The role itself: serves until the parent lets go of it (or dies, which is the same). */
export async function runInternetRole(addressesJson: string): Promise<void> {
  const send = (message: ToParent) => {
    if (process.connected) process.send?.(message, undefined, undefined, () => undefined);
  };
  // Ctrl-C reaches the whole process group; our end is the parent's to decide.
  process.on('SIGINT', () => undefined);
  process.once('disconnect', () => process.exit(0));
  const waiting = new Map<number, (bytes: string | null) => void>();
  let nextId = 1;
  try {
    const internet = await startInternet(
      JSON.parse(addressesJson) as InternetAddresses,
      async (query, transport) => {
        const id = nextId++;
        const answered = new Promise<string | null>(resolve => waiting.set(id, resolve));
        send({ kind: 'query', id, transport, bytes: query.toString('base64') });
        const bytes = await withDeadline(answered, CALL_DEADLINE_MS, 'a name').finally(() =>
          waiting.delete(id),
        );
        if (bytes === null)
          throw new CodedError('simulator/no-resolver', 'the machine could not resolve the name');
        return Buffer.from(bytes, 'base64');
      },
    );
    process.on('message', raw => {
      const message = raw as ToChild;
      if (message.kind === 'turn-away') internet.turnAway(message.address, message.on);
      else if (message.kind === 'answer') waiting.get(message.id)?.(message.bytes);
      else void internet.report(message.tag).then(report => send({ kind: 'report', id: message.id, report }));
    });
    const { origin, origin6, dns } = internet;
    send({ kind: 'ready', origin, ...(origin6 ? { origin6 } : {}), dns });
  } catch (error) {
    send({ kind: 'failed', message: messageOf(error) });
    process.exitCode = 1;
    process.disconnect?.();
  }
}
