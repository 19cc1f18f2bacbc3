/**
 * Several virtual networks on one machine: each holds a number, and a file that names its process and what it made.
 * A file whose process is gone is a crash; its leftovers are removed by the next start or by `--cleanup`.
 */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';

/** Numbers go into 198.18.K.0/24 and 127.K.x.x. */
export const MAX_INSTANCE = 250;

export type Kind = 'namespaces' | 'rootless';

export interface InstanceRecord {
  instance: number;
  kind: Kind;
  pid: number;
  /** Start time of that process in kernel ticks, since process ids are used again. */
  started: string;
  stateDir: string;
}

/** Where the files lie: for root one place on the machine, for others one place a user. */
export function instancesDir(): string {
  const uid = process.getuid?.() ?? 0;
  const path =
    uid === 0
      ? '/run/mastline-virtual'
      : join(process.env.XDG_RUNTIME_DIR ?? tmpdir(), `mastline-virtual-${uid}`);
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}

/** Takes `wanted`, or the first free number for which `isFree` holds. Call under the machine lock. */
export function takeInstance(options: {
  kind: Kind;
  stateDir: string;
  wanted: number | undefined;
  isFree: (instance: number) => boolean;
}): InstanceRecord {
  const taken = new Set(instances().map(one => one.instance));
  const free = (n: number) => !taken.has(n) && options.isFree(n);
  let instance = options.wanted;
  if (instance === undefined) {
    instance = 1;
    while (instance <= MAX_INSTANCE && !free(instance)) instance += 1;
  }
  if (instance < 1 || instance > MAX_INSTANCE || !free(instance))
    throw new CodedError(
      'simulator/instance-taken',
      `instance ${instance} is taken or outside 1 to ${MAX_INSTANCE}`,
      {
        userMessage: `Virtual network number ${instance} is in use (or not within 1 to ${MAX_INSTANCE}). Leave --instance out to take a free one.`,
      },
    );
  const record: InstanceRecord = {
    instance,
    kind: options.kind,
    pid: process.pid,
    started: startTimeOf(process.pid) ?? '',
    stateDir: options.stateDir,
  };
  writeWhole(fileOf(instance), JSON.stringify(record));
  return record;
}

export function releaseInstance(instance: number): void {
  rmSync(fileOf(instance), { force: true });
}

/** All instances that have a file, alive or not. */
export function instances(): InstanceRecord[] {
  return readdirSync(instancesDir())
    .filter(name => /^\d+\.json$/.test(name))
    .flatMap(name => {
      try {
        return [JSON.parse(readFileSync(join(instancesDir(), name), 'utf8')) as InstanceRecord];
      } catch (error) {
        // Removed by its owner between the two calls.
        if (codeOf(error) === 'ENOENT') return [];
        throw error;
      }
    });
}

export function isAlive(record: InstanceRecord): boolean {
  const started = startTimeOf(record.pid);
  return started !== undefined && started === record.started;
}

/** Field 22 of /proc/PID/stat; undefined when there is no such process. */
function startTimeOf(pid: number): string | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    // A zombie has ended; only its parent has not noticed.
    return fields[0] === 'Z' ? undefined : fields[19];
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') return undefined;
    throw error;
  }
}

/** Written beside and renamed, so that a reader never sees half a file. */
export function writeWhole(path: string, text: string): void {
  const aside = `${path}.${process.pid}.new`;
  writeFileSync(aside, text, { mode: 0o600 });
  renameSync(aside, path);
}

function fileOf(instance: number): string {
  return join(instancesDir(), `${instance}.json`);
}
