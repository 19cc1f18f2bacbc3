/** A virtual network for a test, as the process that `npm start` runs too, and its knobs. */
import { type ChildProcess, spawn } from 'node:child_process';
import { request } from 'node:http';
import { join } from 'node:path';
import type { OriginReport } from '../simulators/origin-report';
import type { ReadyLine } from '../simulators/virtual-network';

const PROGRAM = join(import.meta.dirname, '../simulators/main.ts');
const START_DEADLINE_MS = 60_000;
const KNOB_DEADLINE_MS = 10_000;

export interface RunningNetwork {
  ready: ReadyLine;
  child: ChildProcess;
  /** `knob(1, 'data', { carries: false })`; gives the modem's state. */
  knob(slot: number, name: string, body: object): Promise<Record<string, unknown>>;
  /** Anything of control.ts. */
  control(method: 'GET' | 'POST' | 'DELETE', path: string, body?: object): Promise<Record<string, unknown>>;
  faults(): Promise<unknown[]>;
  report(id: string): Promise<OriginReport>;
  /** SIGTERM; resolves with the exit code. */
  stop(): Promise<number | null>;
  /** SIGKILL, as a crash. */
  crash(): Promise<void>;
}

export async function startVirtualNetwork(
  stateDir: string,
  kind: 'namespaces' | 'rootless',
  more: string[] = [],
): Promise<RunningNetwork> {
  const child = spawn(
    process.execPath,
    [
      '--import',
      'tsx',
      PROGRAM,
      '--kind',
      kind,
      '--state-dir',
      stateDir,
      '--registration-ms',
      '100',
      '--connect-ms',
      '100',
      ...more,
    ],
    { stdio: ['pipe', 'pipe', 'inherit'] },
  );
  const gone = new Promise<number | null>(resolve => child.once('exit', code => resolve(code)));
  const ready = await new Promise<ReadyLine>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`no virtual network after ${START_DEADLINE_MS} ms`));
    }, START_DEADLINE_MS);
    let out = '';
    child.stdout?.on('data', chunk => {
      out += chunk;
      if (!out.includes('\n')) return;
      clearTimeout(timer);
      resolve(JSON.parse(out.slice(0, out.indexOf('\n'))) as ReadyLine);
    });
    void gone.then(code => {
      clearTimeout(timer);
      reject(new Error(`the virtual network ended with ${code} before it was ready`));
    });
  });
  const ask = (method: string, path: string, body?: object) =>
    askControl(ready.control, { method, path, body });
  return {
    ready,
    child,
    knob: (slot, name, body) => ask('POST', `/modems/${slot}/${name}`, body),
    control: ask,
    faults: async () => (await ask('GET', '/faults')).faults as unknown[],
    report: async id => (await ask('GET', `/origin/report?id=${id}`)) as unknown as OriginReport,
    stop: () => {
      child.kill('SIGTERM');
      return gone;
    },
    crash: async () => {
      child.kill('SIGKILL');
      await gone;
    },
  };
}

function askControl(
  socketPath: string,
  what: { method: string; path: string; body: object | undefined },
): Promise<Record<string, unknown>> {
  return new Promise((resolve, reject) => {
    const call = request({
      socketPath,
      method: what.method,
      path: what.path,
      agent: false,
      timeout: KNOB_DEADLINE_MS,
    });
    call.on('timeout', () => call.destroy(new Error(`${what.path}: no answer`)));
    call.on('error', reject);
    call.on('response', response => {
      let text = '';
      response.setEncoding('utf8').on('data', part => {
        text += part;
      });
      response.on('end', () =>
        response.statusCode === 200 ? resolve(JSON.parse(text)) : reject(new Error(`${what.path}: ${text}`)),
      );
    });
    call.end(what.body === undefined ? undefined : JSON.stringify(what.body));
  });
}
