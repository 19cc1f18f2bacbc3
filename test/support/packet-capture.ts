/**
 * Every packet that leaves this network namespace, on all interfaces at once, as tcpdump captures them: for tests that
 * must prove that something did not leave. What a packet means is the test's to judge. Interfaces go by their index,
 * since a name is gone with its interface. A capture that lost packets proves nothing, so its end fails then.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';

const START_DEADLINE_MS = 20_000;
const END_DEADLINE_MS = 10_000;
/** Of the file (pcap-savefile(5)), and of each packet in it. */
const FILE_HEADER = 24;
const RECORD_HEADER = 16;
/** LINKTYPE_LINUX_SLL2: protocol (2), reserved (2), interface index (4), ARP type (2), packet type (1), length (1), address (8). */
const SLL2 = 276;
const SLL2_HEADER = 20;
const OUTGOING = 4;

export interface LeavingPacket {
  interfaceIndex: number;
  /** Of the IP header; empty for what is no IP. */
  from: string;
  to: string;
  /** The IP packet, the first 512 bytes of it. */
  bytes: Buffer;
}

export interface Capture {
  packets: LeavingPacket[];
  /** Ends it. Rejects when the kernel dropped packets, or when tcpdump broke. */
  stop(): Promise<void>;
}

/** The index by which the kernel knows an interface of this namespace. */
export function indexOf(interfaceName: string): number {
  return Number(readFileSync(`/sys/class/net/${interfaceName}/ifindex`, 'utf8'));
}

/** `filter` as in pcap-filter(7). Resolves once packets are being seen. */
export async function captureLeaving(filter: string): Promise<Capture> {
  const args = ['-i', 'any', '-y', 'LINUX_SLL2', '-Q', 'out', '-n', '-U', '--immediate-mode'];
  const child = spawn('tcpdump', [...args, '-s', '532', '-B', '8192', '-w', '-', filter], {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, LC_ALL: 'C', PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin` },
  });
  const packets: LeavingPacket[] = [];
  let said = '';
  let held: Buffer = Buffer.alloc(0);
  let begun = false;
  const take = (part: Buffer) => {
    held = held.length === 0 ? part : Buffer.concat([held, part]);
    if (!begun) {
      if (held.length < FILE_HEADER) return;
      if (held.readUInt32LE(0) !== 0xa1b2c3d4 || held.readUInt32LE(20) !== SLL2)
        throw new Error('tcpdump writes another format than this reads');
      begun = true;
      held = held.subarray(FILE_HEADER);
    }
    while (held.length >= RECORD_HEADER) {
      const end = RECORD_HEADER + held.readUInt32LE(8);
      if (held.length < end) return;
      const packet = packetOf(held.subarray(RECORD_HEADER, end));
      if (packet) packets.push(packet);
      held = held.subarray(end);
    }
  };
  child.stdout.on('data', take);
  const gone = new Promise<number | null>(resolve => child.once('close', code => resolve(code)));
  await new Promise<void>((resolve, reject) => {
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      reject(new Error(`tcpdump does not listen after ${START_DEADLINE_MS} ms: ${said}`));
    }, START_DEADLINE_MS);
    const fail = (error: Error) => {
      clearTimeout(timer);
      reject(error);
    };
    child.once('error', fail);
    child.once('close', code => fail(new Error(`tcpdump ended with ${code}: ${said}`)));
    child.stderr.setEncoding('utf8').on('data', (part: string) => {
      said += part;
      if (!/listening on/.test(said)) return;
      clearTimeout(timer);
      resolve();
    });
  });
  return {
    packets,
    stop: async () => {
      child.kill('SIGINT');
      const timer = setTimeout(() => child.kill('SIGKILL'), END_DEADLINE_MS);
      const code = await gone;
      clearTimeout(timer);
      const dropped = /(\d+) packets dropped by kernel/.exec(said)?.[1];
      if (code !== 0 || dropped !== '0') throw new Error(`tcpdump ended with ${code}: ${said}`);
    },
  };
}

function packetOf(record: Buffer): LeavingPacket | null {
  if (record.length < SLL2_HEADER || record[10] !== OUTGOING) return null;
  // What comes next belongs to the next packet: the reader's memory is not kept.
  const bytes = Buffer.from(record.subarray(SLL2_HEADER));
  const version = (bytes[0] ?? 0) >> 4;
  const at = (from: number, length: number) => addressText(bytes.subarray(from, from + length));
  return {
    interfaceIndex: record.readUInt32BE(4),
    from: version === 4 ? at(12, 4) : version === 6 ? at(8, 16) : '',
    to: version === 4 ? at(16, 4) : version === 6 ? at(24, 16) : '',
    bytes,
  };
}

/** IPv4 in dots; IPv6 as eight groups in hex, not shortened. */
function addressText(bytes: Buffer): string {
  if (bytes.length === 4) return bytes.join('.');
  return Array.from({ length: 8 }, (_, i) => bytes.readUInt16BE(2 * i).toString(16)).join(':');
}
