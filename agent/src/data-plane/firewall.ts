/**
 * Floods that the kernel holds off by itself: with nftables, and the right to use it, new connections to our listening
 * ports are limited for each source address (IPv6: /64) before there is a socket, or a packet is answered. What it
 * lets through is judged by entrance.ts, which does without any of this. Loopback is exempt: what comes from there is on the
 * box already. Of connections the SYN alone is looked at, without connection tracking, which would cost every
 * packet of every flow and has a full table of its own; how many a source may hold open is the entrance's business.
 *
 * One table for each process, of its own name, loaded as one transaction; nothing else of the system's rules is touched.
 * The name tells process id and start time, so that what a killed agent left is known for certain and removed by the next.
 */
import { spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../observe/log';

/** Loading a table takes milliseconds; a stuck netlink lock must not stop the agent. */
const NFT_DEADLINE_MS = 5_000;
const PREFIX = 'mastline_p';
/** Sources remembered at once, in the kernel; when the set is full, further sources are not limited. */
const SOURCES = 65_535;

/** Runs `nft` with `args` and `script` as its input, gives its output; throws a CodedError. */
export type RunNft = (args: readonly string[], script?: string) => Promise<string>;

export interface FirewallLimits {
  /** New connections of one source; generous, since customers behind one NAT address are one source. */
  connectsPerSecond: number;
  burst: number;
}

export const FIREWALL_LIMITS: FirewallLimits = { connectsPerSecond: 500, burst: 2_000 };

export interface FirewallOptions {
  log: Log;
  run?: RunNft;
  limits?: FirewallLimits;
  /** Whose the table is. */
  pid?: number;
}

export class Firewall {
  readonly #log: Log;
  readonly #run: RunNft;
  readonly #limits: FirewallLimits;
  readonly #table: string;
  #ports = '';
  #state: 'new' | 'able' | 'unable' = 'new';

  constructor({ log, run = runNft, limits = FIREWALL_LIMITS, pid = process.pid }: FirewallOptions) {
    this.#log = log;
    this.#run = run;
    this.#limits = limits;
    this.#table = `${PREFIX}${pid}_${startOf(pid) ?? 0}`;
  }

  get table(): string {
    return this.#table;
  }

  /** Limits new connections to these TCP ports, and to no others, from now on. Says once when it may not. */
  async protect(ports: readonly number[]): Promise<void> {
    const wanted = [...new Set(ports)].sort((one, other) => one - other).join(', ');
    if (wanted === this.#ports || this.#state === 'unable') return;
    try {
      if (this.#state === 'new') await this.#removeStale();
      this.#state = 'able';
      await this.#run(
        ['-f', '-'],
        wanted === '' ? gone(this.#table) : tableFor(this.#table, wanted, this.#limits),
      );
      this.#ports = wanted;
    } catch (error) {
      this.#state = 'unable';
      this.#log.info('floods are held off by the agent alone, the kernel does not help', {
        reason: messageOf(error),
      });
    }
  }

  /** Takes the table away. */
  async close(): Promise<void> {
    if (this.#ports === '') return;
    this.#ports = '';
    try {
      await this.#run(['-f', '-'], gone(this.#table));
    } catch (error) {
      this.#log.warn('the table of nftables could not be removed; the next agent will', {
        table: this.#table,
        error,
      });
    }
  }

  async #removeStale(): Promise<void> {
    const tables = await this.#run(['list', 'tables']);
    const stale = [...tables.matchAll(/^table inet (mastline_p(\d+)_(\d+))$/gm)].filter(
      ([, , pid, start]) => startOf(Number(pid)) !== Number(start),
    );
    for (const [, table = ''] of stale) await this.#run(['-f', '-'], gone(table));
  }
}

/** The text of the table; `ports` as nftables lists them. Pure. */
export function tableFor(table: string, ports: string, limits: FirewallLimits): string {
  const rate = `limit rate over ${limits.connectsPerSecond}/second burst ${limits.burst} packets`;
  const set = (name: string, type: string) =>
    `  set ${name} { type ${type}; size ${SOURCES}; flags dynamic,timeout; timeout 1m; }`;
  return `${gone(table)}table inet ${table} {
${set('sources4', 'ipv4_addr')}
${set('sources6', 'ipv6_addr')}
  chain input {
    type filter hook input priority -10; policy accept;
    iif "lo" accept
    tcp dport != { ${ports} } accept
    tcp flags & (fin|syn|rst|ack) != syn accept
    update @sources4 { ip saddr ${rate} } counter drop
    update @sources6 { ip6 saddr & ffff:ffff:ffff:ffff:: ${rate} } counter drop
  }
}
`;
}

/** Removing what may not be there: made first, in the same transaction. */
function gone(table: string): string {
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

const runNft: RunNft = (args, script = '') =>
  new Promise((resolve, reject) => {
    const child = spawn('nft', [...args], {
      stdio: 'pipe',
      timeout: NFT_DEADLINE_MS,
      killSignal: 'SIGKILL',
      env: { PATH: `${process.env.PATH ?? ''}:/usr/sbin:/sbin`, LC_ALL: 'C' },
    });
    let out = '';
    let said = '';
    child.stdout.on('data', chunk => {
      out += chunk;
    });
    child.stderr.on('data', chunk => {
      said += chunk;
    });
    // A program that ends before it has read its input says so by its exit code.
    child.stdin.on('error', () => undefined);
    child.stdin.end(script);
    child.once('error', error =>
      reject(
        new CodedError(
          'firewall/nft-missing',
          codeOf(error) === 'ENOENT'
            ? 'nft is not installed: apt-get install -y nftables'
            : `nft: ${messageOf(error)}`,
          { cause: error },
        ),
      ),
    );
    child.once('close', (code, signal) => {
      if (code === 0) return resolve(out);
      const why =
        said.trim().split('\n')[0] || (signal ? `no answer in ${NFT_DEADLINE_MS} ms` : `exit code ${code}`);
      reject(new CodedError('firewall/nft-failed', `nft ${args.join(' ')}: ${why}`));
    });
  });
