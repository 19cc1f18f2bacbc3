/**
 * Tables of nftables that belong to this process: each has a name of its own and is loaded as one transaction, nothing
 * else of the system's rules is touched. The name tells process id and start time, so that what a killed agent left is
 * known for certain and removed by the next. What the tables say is data-plane/firewall.ts and modem-plane/leak-guard.ts.
 */
import { readFileSync } from 'node:fs';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { NOT_FOUND, type ToolEnd, toolShell } from './tool-shell';

/** Loading a table takes milliseconds; a stuck netlink lock must not stop the agent. */
const NFT_DEADLINE_MS = 5_000;

/** Runs `nft` with `args` and `script` as its input, gives its output; throws a CodedError. */
export type RunNft = (args: readonly string[], script?: string) => Promise<string>;

/** `prefix` is letters and underscores; `pid` is whose the table is. */
export function ownTable(prefix: string, pid = process.pid): string {
  return `${prefix}${pid}_${startOf(pid) ?? 0}`;
}

/** Removes the tables of this prefix whose processes are gone. */
export async function removeStaleTables(prefix: string, run: RunNft): Promise<void> {
  const tables = await run(['list', 'tables']);
  const ours = new RegExp(`^table inet (${prefix}(\\d+)_(\\d+))$`, 'gm');
  const stale = [...tables.matchAll(ours)].filter(
    ([, , pid, start]) => startOf(Number(pid)) !== Number(start),
  );
  for (const [, table = ''] of stale) await run(['-f', '-'], noTable(table));
}

/** Text that removes what may not be there: it is made first, in the same transaction. */
export function noTable(table: string): string {
  return `table inet ${table}\ndelete table inet ${table}\n`;
}

/** When the process began, in clock ticks since the boot (proc(5), field 22); null when there is none of this id. */
function startOf(pid: number): number | null {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    // The program's name may hold anything, but no later field holds a bracket.
    return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
  } catch (error) {
    if (codeOf(error) === 'ENOENT' || codeOf(error) === 'ESRCH') return null;
    throw error;
  }
}

/** Throws `firewall/nft-missing` or `firewall/nft-failed`. */
export const runNft: RunNft = async (args, script) => {
  let end: ToolEnd;
  try {
    end = await toolShell.run({ program: 'nft', args, input: script, deadlineMs: NFT_DEADLINE_MS });
  } catch (error) {
    throw new CodedError('firewall/nft-failed', `nft ${args.join(' ')}: ${messageOf(error)}`, {
      cause: error,
    });
  }
  const { exitCode, stdout, stderr } = end;
  if (exitCode === 0) return stdout;
  if (exitCode === NOT_FOUND)
    throw new CodedError('firewall/nft-missing', 'nft is not installed: apt-get install -y nftables');
  const why = stderr.trim().split('\n')[0] || `exit code ${exitCode}`;
  throw new CodedError('firewall/nft-failed', `nft ${args.join(' ')}: ${why}`);
};
