/**
 * Floods that the kernel holds off by itself: with nftables, and the right to use it, new connections to our listening
 * ports are limited for each source address (IPv6: /64) before there is a socket, or a packet is answered. What it
 * lets through is judged by entrance.ts, which does without any of this. Loopback is exempt: what comes from there is on the
 * box already. Of connections the SYN alone is looked at, without connection tracking, which would cost every
 * packet of every flow and has a full table of its own; how many a source may hold open is the entrance's business.
 * The table is this process's own (own-table.ts).
 */
import { messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../observe/log';
import { noTable, ownTable, type RunNft, removeStaleTables, runNft } from '../own-table';

const PREFIX = 'mastline_p';
/** Sources remembered at once, in the kernel; when the set is full, further sources are not limited. */
const SOURCES = 65_535;

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
    this.#table = ownTable(PREFIX, pid);
  }

  get table(): string {
    return this.#table;
  }

  /** Limits new connections to these TCP ports, and to no others, from now on. Says once when it may not. */
  async protect(ports: readonly number[]): Promise<void> {
    const wanted = [...new Set(ports)].sort((one, other) => one - other).join(', ');
    if (wanted === this.#ports || this.#state === 'unable') return;
    try {
      if (this.#state === 'new') await removeStaleTables(PREFIX, this.#run);
      this.#state = 'able';
      await this.#run(
        ['-f', '-'],
        wanted === '' ? noTable(this.#table) : tableFor(this.#table, wanted, this.#limits),
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
      await this.#run(['-f', '-'], noTable(this.#table));
    } catch (error) {
      this.#log.warn('the table of nftables could not be removed; the next agent will', {
        table: this.#table,
        error,
      });
    }
  }
}

/** The text of the table; `ports` as nftables lists them. Pure. */
export function tableFor(table: string, ports: string, limits: FirewallLimits): string {
  const rate = `limit rate over ${limits.connectsPerSecond}/second burst ${limits.burst} packets`;
  const set = (name: string, type: string) =>
    `  set ${name} { type ${type}; size ${SOURCES}; flags dynamic,timeout; timeout 1m; }`;
  return `${noTable(table)}table inet ${table} {
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
