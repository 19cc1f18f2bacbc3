/**
 * What a disk held at any moment of a traced process: system calls of strace, played back, with a power cut wherever
 * one likes. Only what was flushed (fsync, fdatasync) is sure to be there; of what was written since, any sectors may
 * be, and names of new files only when their folder was flushed.
 */
import { writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';

const SECTOR_BYTES = 512;

export type DiskEvent =
  | { is: 'write'; file: string; offset: number; bytes: Buffer }
  | { is: 'truncate'; file: string; size: number }
  | { is: 'create' | 'empty' | 'remove'; file: string }
  | { is: 'rename'; file: string; to: string }
  | { is: 'flush'; file: string }
  | { is: 'flush-folder' }
  /** A line the process wrote to its standard output. */
  | { is: 'said'; line: string };

/** strace's options that this file can read. */
export const STRACE = [
  ...['-f', '--seccomp-bpf', '-xx', '-s', '2000000', '-e'],
  'trace=openat,pwrite64,write,pwritev,writev,fdatasync,fsync,ftruncate,rename,unlink,close',
];

const bytesOf = (text: string) => Buffer.from(text.replaceAll('\\x', ''), 'hex');

/** Events of files in `folder`, in the order in which the kernel finished them. Throws at what it does not know. */
export function readTrace(trace: string, folder: string): DiskEvent[] {
  const events: DiskEvent[] = [];
  const files = new Map<string, string>();
  const begun = new Map<string, string>();
  for (const line of trace.split('\n')) {
    const parts = /^(\d+) +(.*)$/.exec(line);
    if (!parts) continue;
    const [, pid = '', said = ''] = parts;
    const unfinished = /^(.*) <unfinished \.\.\.>$/.exec(said);
    if (unfinished) {
      begun.set(pid, unfinished[1] ?? '');
      continue;
    }
    const resumed = /^<\.\.\. \w+ resumed>(.*)$/.exec(said);
    const call = resumed ? `${begun.get(pid) ?? ''}${resumed[1]}` : said;
    const match = /^(\w+)\((.*)\) += (-?\d+)/.exec(call);
    if (!match) continue;
    const [, name = '', args = '', result = ''] = match;
    if (Number(result) < 0) continue;
    note({ name, args, result: Number(result) }, { events, files, folder });
  }
  return events;
}

function note(
  { name, args, result }: { name: string; args: string; result: number },
  { events, files, folder }: { events: DiskEvent[]; files: Map<string, string>; folder: string },
): void {
  const paths = [...args.matchAll(/"((?:\\x[0-9a-f]{2})*)"/g)].map(one => bytesOf(one[1] ?? ''));
  const inFolder = (path: string) => dirname(path) === folder;
  const fd = /^(\d+)/.exec(args)?.[1] ?? '';
  const file = files.get(fd);
  switch (name) {
    case 'openat': {
      const path = String(paths[0]);
      files.delete(String(result));
      if (path === folder) files.set(String(result), '.');
      if (!inFolder(path)) return;
      files.set(String(result), basename(path));
      if (args.includes('O_CREAT')) events.push({ is: 'create', file: basename(path) });
      if (args.includes('O_TRUNC')) events.push({ is: 'empty', file: basename(path) });
      return;
    }
    case 'close':
      files.delete(fd);
      return;
    case 'pwrite64':
      if (file === undefined) return;
      events.push({
        is: 'write',
        file,
        offset: Number(/, (\d+)$/.exec(args)?.[1]),
        bytes: (paths[0] ?? Buffer.alloc(0)).subarray(0, result),
      });
      return;
    case 'ftruncate':
      if (file !== undefined) events.push({ is: 'truncate', file, size: Number(/, (\w+)$/.exec(args)?.[1]) });
      return;
    case 'fsync':
    case 'fdatasync':
      if (file !== undefined) events.push(file === '.' ? { is: 'flush-folder' } : { is: 'flush', file });
      return;
    case 'unlink':
      if (inFolder(String(paths[0]))) events.push({ is: 'remove', file: basename(String(paths[0])) });
      return;
    case 'rename':
      if (inFolder(String(paths[0])))
        events.push({ is: 'rename', file: basename(String(paths[0])), to: basename(String(paths[1])) });
      return;
    case 'write':
      if (fd === '1')
        for (const line of String(paths[0]).split('\n')) if (line !== '') events.push({ is: 'said', line });
      if (file !== undefined) throw new Error(`write to ${file} without an offset: not played back`);
      return;
    default:
      if (file !== undefined) throw new Error(`${name} on ${file}: not played back`);
  }
}

interface File {
  /** What is sure to be on the disk. */
  flushed: Buffer;
  /** What was written since, in order. */
  since: { offset: number; bytes: Buffer }[];
  size: number;
}

/** Which of the unflushed sectors a cut leaves: given a random number from 0 to 1 for each. */
export type Survival = (random: number) => boolean;

export class TracedDisk {
  readonly #files = new Map<string, File>();
  /** Names as they are on the disk for sure. */
  #names = new Map<string, File>();

  apply(event: DiskEvent): void {
    switch (event.is) {
      case 'create':
        if (!this.#files.has(event.file))
          this.#files.set(event.file, { flushed: Buffer.alloc(0), since: [], size: 0 });
        return;
      case 'empty':
        this.#files.set(event.file, { flushed: Buffer.alloc(0), since: [], size: 0 });
        return;
      case 'remove':
        this.#files.delete(event.file);
        return;
      case 'rename':
        this.#files.set(event.to, this.#file(event.file));
        this.#files.delete(event.file);
        return;
      case 'write': {
        const file = this.#file(event.file);
        file.since.push({ offset: event.offset, bytes: event.bytes });
        file.size = Math.max(file.size, event.offset + event.bytes.length);
        return;
      }
      case 'truncate': {
        const file = this.#file(event.file);
        const whole = contentOf(
          file,
          () => true,
          () => 0,
        );
        const cut = Buffer.alloc(event.size);
        whole.copy(cut, 0, 0, Math.min(whole.length, event.size));
        // Sizes are kept by the file system's own journal.
        file.flushed = cut;
        file.since = [];
        file.size = event.size;
        return;
      }
      case 'flush': {
        const file = this.#file(event.file);
        file.flushed = contentOf(
          file,
          () => true,
          () => 0,
        );
        file.since = [];
        return;
      }
      case 'flush-folder':
        this.#names = new Map(this.#files);
        return;
      case 'said':
        return;
    }
  }

  /** Writes into `folder` what the disk may hold when the power goes now. Without `names` new names are lost. */
  cut(
    folder: string,
    { survives, random, names }: { survives: Survival; random: () => number; names: 'all' | 'flushed' },
  ): void {
    for (const [name, file] of names === 'all' ? this.#files : this.#names)
      if (!name.endsWith('-shm')) writeFileSync(join(folder, name), contentOf(file, survives, random));
  }

  #file(name: string): File {
    const file = this.#files.get(name);
    if (!file) throw new Error(`${name} was written before it was made`);
    return file;
  }
}

function contentOf(file: File, survives: Survival, random: () => number): Buffer {
  const content = Buffer.alloc(Math.max(file.size, file.flushed.length));
  file.flushed.copy(content);
  let end = file.flushed.length;
  for (const { offset, bytes } of file.since)
    for (let at = 0; at < bytes.length; ) {
      // Disks write whole sectors; a write may begin and end within one.
      const length = Math.min(SECTOR_BYTES - ((offset + at) % SECTOR_BYTES), bytes.length - at);
      if (survives(random())) {
        bytes.copy(content, offset + at, at, at + length);
        end = Math.max(end, offset + at + length);
      }
      at += length;
    }
  return content.subarray(0, end);
}
