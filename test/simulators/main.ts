/**
 * The virtual network as a program: prints one JSON line when everything answers (`ReadyLine`), serves until it gets
 * SIGTERM, SIGINT or SIGHUP, its standard input closes or its parent dies, and leaves nothing behind. Its options are in
 * HELP; `--role internet` is its own, for the process inside the carrier's namespace.
 */
import { fstatSync } from 'node:fs';
import { resolve as absolute } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { withMachineLock } from '@mastline/agent/modem-plane/machine-lock';
import { systemClock } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { runInternetRole } from './carrier-process';
import { MAX_INSTANCE } from './instance';
import { startVirtualNetwork, sweep } from './virtual-network';
import { MAX_MODEMS } from './virtual-slot';

const HELP = `npm run virtual -- --state-dir DIR [options]

Virtual modems for a node that runs by itself; npm start brings its own. DIR is DATA/virtual, DATA being the node's
dataDir. More are added to it while it runs: npm run agent -- virtual add --data-dir DATA --profile quectel/rm520n

  --state-dir DIR        its socket and state
  --modems N             HiLink sticks to begin with, 0 to ${MAX_MODEMS} (2)
  --kind KIND            namespaces: as real networks, needs root; rootless: addresses of 127.0.0.0/8; auto: the best (auto)
  --registration-ms MS   what a modem takes to register (500)
  --connect-ms MS        what its data connection takes (500)
  --instance K           number of the network on this machine, 1 to ${MAX_INSTANCE} (a free one)
  --cleanup              removes what crashed ones have left, and ends
  --help                 this

Prints one JSON line when everything answers, then serves until it gets SIGTERM or SIGINT or its standard input closes.`;
const CLOSE_DEADLINE_MS = 10_000;
const PARENT_CHECK_MS = 1000;
const MAX_DELAY_MS = 600_000;

async function main(): Promise<void> {
  const values = readOptions();
  if (values.help) {
    console.log(HELP);
    return;
  }
  if (values.role === 'internet') return runInternetRole(values.addresses);
  if (values.cleanup) {
    const removed = await withMachineLock(systemClock, sweep);
    console.log(JSON.stringify({ cleaned: removed }));
    return;
  }
  const kind = values.kind;
  if (kind !== 'auto' && kind !== 'namespaces' && kind !== 'rootless')
    throw bad('--kind', 'must be auto, namespaces or rootless');
  const stateDir = values['state-dir'];
  if (stateDir === undefined)
    throw bad('--state-dir', 'is missing: name a directory for its socket and state');

  const parent = process.ppid;
  let close: (() => Promise<void>) | undefined;
  let ending = false;
  const end = (code: number) => {
    if (ending) return;
    ending = true;
    setTimeout(() => {
      console.error(
        `the virtual network did not come down within ${CLOSE_DEADLINE_MS / 1000} s; the next start removes the rest`,
      );
      process.exit(1);
    }, CLOSE_DEADLINE_MS);
    // While it is still starting, the start itself notices and comes down.
    void (close?.() ?? Promise.resolve()).then(
      () => {
        if (close) process.exit(code);
      },
      error => {
        console.error(messageOf(error));
        process.exit(1);
      },
    );
  };
  for (const signal of ['SIGTERM', 'SIGINT', 'SIGHUP'] as const) process.on(signal, () => end(0));
  const stdin = fstatSync(0);
  if (stdin.isFIFO() || stdin.isSocket())
    process.stdin
      .on('end', () => end(0))
      .on('error', () => end(0))
      .resume();
  setInterval(() => process.ppid !== parent && end(0), PARENT_CHECK_MS).unref();

  const started = await startVirtualNetwork({
    kind,
    modems: whole('--modems', values.modems, MAX_MODEMS),
    stateDir: absolute(stateDir),
    instance: values.instance === undefined ? undefined : whole('--instance', values.instance, MAX_INSTANCE),
    registrationDelayMs: whole('--registration-ms', values['registration-ms'], MAX_DELAY_MS),
    connectDelayMs: whole('--connect-ms', values['connect-ms'], MAX_DELAY_MS),
    program: fileURLToPath(import.meta.url),
    onFailure: error => {
      console.error(`the virtual network broke down: ${messageOf(error)}`);
      end(1);
    },
  });
  close = started.close;
  if (ending) {
    await close();
    process.exit(0);
  }
  console.log(JSON.stringify(started.ready));
}

function readOptions() {
  try {
    return parseArgs({
      options: {
        role: { type: 'string' },
        addresses: { type: 'string', default: '{}' },
        kind: { type: 'string', default: 'auto' },
        modems: { type: 'string', default: '2' },
        'state-dir': { type: 'string' },
        instance: { type: 'string' },
        'registration-ms': { type: 'string', default: '500' },
        'connect-ms': { type: 'string', default: '500' },
        cleanup: { type: 'boolean', default: false },
        help: { type: 'boolean', short: 'h', default: false },
      },
    }).values;
  } catch (error) {
    throw new CodedError('simulator/option', `${messageOf(error)}\n\n${HELP}`, { cause: error });
  }
}

function whole(option: string, text: string, max: number): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > max) throw bad(option, `must be a whole number up to ${max}`);
  return value;
}

function bad(option: string, what: string): CodedError {
  return new CodedError('simulator/option', `${option} ${what}`);
}

main().catch(error => {
  console.error(error instanceof CodedError ? error.userMessage : error);
  process.exit(1);
});
