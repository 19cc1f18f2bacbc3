/**
 * What tests of leaks ask the kernel: which rule holds an address, how much the leak guard has dropped, and what
 * packets are, in words. What captures packets is packet-capture.ts.
 */
import { runTool } from '../simulators/run-tool';
import type { LeavingPacket } from './packet-capture';

/** Enough of them to see what they are. */
export function packetsInWords(packets: readonly LeavingPacket[]): string[] {
  return packets
    .slice(0, 5)
    .map(one => `${one.interfaceIndex}: ${one.from} to ${one.to}, ${one.bytes.length} bytes`);
}

/** Packets that the counters of a table of family `inet` have counted, all together. */
export async function countedBy(table: string): Promise<number> {
  const listed = await runTool('nft', ['list', 'table', 'inet', table]);
  return [...listed.matchAll(/counter packets (\d+)/g)].reduce((sum, match) => sum + Number(match[1]), 0);
}

/** The routing rule that names an address; both empty when there is none. */
export async function ruleOf(address: string): Promise<{ priority: string; table: string }> {
  const rules = await runTool('ip', [address.includes(':') ? '-6' : '-4', 'rule']);
  const line = rules.split('\n').find(one => one.includes(` ${address} `)) ?? '';
  return { priority: line.split(':')[0] ?? '', table: /lookup (\d+)/.exec(line)?.[1] ?? '' };
}
