/**
 * The second lock on the door: with nftables, the kernel drops what has a slot's source address and is about to leave
 * by anything but the slot's interface. The routing rules (slot-network.ts) see to the same, but whoever deletes one
 * (`ip rule flush`), or puts a rule of a VPN or of NetworkManager before it, opens the main table to the customers of a
 * modem until the next repair. Where nftables may not be used the rules stand alone, and the log says so once; no slot
 * has an IPv6 address then, since of IPv6 the kernel lets sockets send on from an address that is gone. For their sake
 * such an address leaves by no link at all as long as TCP may repeat itself. And since IPv6 knows no NAT that would
 * keep strangers out, a slot's IPv6 address takes no connections and no datagrams to ports of services.
 */
import { readFileSync } from 'node:fs';
import type { Clock } from '@mastline/shared/base/clock';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../observe/log';
import { noTable, ownTable, type RunNft, removeStaleTables, runNft } from '../own-table';

const PREFIX = 'mastline_s';
/** A firewall that is reloaded (`nft flush ruleset`) takes the table with it; so soon it is there again. */
const RELOAD_EVERY_MS = 60_000;
/** TCP gives up after 15 repetitions, 924 s at most by default (ip-sysctl, tcp_retries2). */
const PAST_MS = 20 * 60_000;
/** Addresses of the past that are held; a modem that changes its address more often than all this loses the oldest. */
const MAX_PAST = 1024;
/** Where the system says nothing else (ip-sysctl, ip_local_port_range). */
const OWN_PORTS = [32_768, 60_999] as const;

export interface LeakGuardOptions {
  clock: Clock;
  log: Log;
  run?: RunNft;
}

export class LeakGuard {
  readonly #options: LeakGuardOptions;
  readonly #run: RunNft;
  readonly #table = ownTable(PREFIX);
  /** Source address → the interface by which it leaves. */
  readonly #ways = new Map<string, string>();
  /** IPv6 address that was a slot's → until when it is held, on the monotonic clock; oldest first. */
  readonly #past = new Map<string, number>();
  #cleared = false;
  #complaint = '';
  #loadedAt: number | null = null;
  #dirty = false;

  constructor(options: LeakGuardOptions) {
    this.#options = options;
    this.#run = options.run ?? runNft;
  }

  get table(): string {
    return this.#table;
  }

  /**
   * From now on `address` leaves by `interfaceName` only. To be called before the address is there. False when nftables
   * does not do it (yet). Never rejects.
   */
  async hold(address: string, interfaceName: string): Promise<boolean> {
    if (this.#ways.get(address) === interfaceName && !this.#dirty) return true;
    this.#ways.set(address, interfaceName);
    this.#past.delete(address);
    await this.#load();
    return !this.#dirty;
  }

  /** The address is the slot's no more. To be called when it is gone. Never rejects. */
  async release(addresses: readonly string[]): Promise<void> {
    const had = addresses.filter(address => this.#ways.delete(address));
    for (const address of had.filter(one => one.includes(':')))
      this.#past.set(address, this.#options.clock.monotonicMs() + PAST_MS);
    for (const [oldest] of this.#past) if (this.#past.size > MAX_PAST) this.#past.delete(oldest);
    if (had.length > 0) await this.#load();
  }

  /** Puts back what somebody may have taken away. Never rejects. */
  async tend(): Promise<void> {
    const { clock } = this.#options;
    const due = this.#loadedAt !== null && clock.monotonicMs() - this.#loadedAt >= RELOAD_EVERY_MS;
    if (this.#dirty || (due && this.#held)) await this.#load();
  }

  async close(): Promise<void> {
    if (!this.#held && this.#loadedAt === null) return;
    this.#ways.clear();
    this.#past.clear();
    await this.#load();
  }

  get #held(): boolean {
    return this.#ways.size + this.#past.size > 0;
  }

  async #load(): Promise<void> {
    const { clock, log } = this.#options;
    this.#dirty = true;
    const now = clock.monotonicMs();
    for (const [address, until] of this.#past) if (until <= now) this.#past.delete(address);
    try {
      if (!this.#cleared) await removeStaleTables(PREFIX, this.#run);
      this.#cleared = true;
      await this.#run(['-f', '-'], guardTable(this.#table, this.#ways, [...this.#past.keys()]));
      this.#dirty = false;
      this.#complaint = '';
      this.#loadedAt = this.#held ? now : null;
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== this.#complaint)
        log.warn('only routing rules keep dead modems from leaking, nftables does not help', { reason });
      this.#complaint = reason;
    }
  }
}

/**
 * The text of the table; without ways and past addresses there is none. `past` leaves by nothing. Pure but for the
 * ports that this system gives its own sockets. What goes to this machine itself has not left.
 */
export function guardTable(
  table: string,
  ways: ReadonlyMap<string, string>,
  past: readonly string[] = [],
): string {
  const held = [...ways.keys(), ...past];
  const parts = [
    { family: 'ip', type: 'ipv4_addr', own: held.filter(address => !address.includes(':')) },
    { family: 'ip6', type: 'ipv6_addr', own: held.filter(address => address.includes(':')) },
  ].filter(part => part.own.length > 0);
  if (parts.length === 0) return noTable(table);
  const sets = parts.map(
    ({ family, type, own }) => `  set own_${family} { type ${type}; elements = { ${own.join(', ')} } }
  set way_${family} { type ${type} . ifname; elements = { ${own.flatMap(address => waysOf(address, ways)).join(', ')} } }`,
  );
  const drops = parts.map(
    ({ family }) =>
      `    ${family} saddr @own_${family} ${family} saddr . oifname != @way_${family} counter drop`,
  );
  return `${noTable(table)}table inet ${table} {
${sets.join('\n')}
  chain output {
    type filter hook output priority 10; policy accept;
${drops.join('\n')}
  }
${parts.some(({ family }) => family === 'ip6') ? strangersChain() : ''}}
`;
}

function waysOf(address: string, ways: ReadonlyMap<string, string>): string[] {
  const name = ways.get(address);
  return [...(name === undefined ? [] : [`${address} . "${name}"`]), `${address} . "lo"`];
}

/** Without connection tracking, which would cost every packet of the machine: by what only a stranger sends. */
function strangersChain(): string {
  const [first, last] = ownPorts();
  return `  chain strangers {
    type filter hook input priority -10; policy accept;
    iifname "lo" accept
    ip6 daddr @own_ip6 tcp flags & (syn | ack) == syn counter drop
    ip6 daddr @own_ip6 udp dport != ${first}-${last} counter drop
  }
`;
}

function ownPorts(): readonly [number, number] {
  try {
    const [first, last] = readFileSync('/proc/sys/net/ipv4/ip_local_port_range', 'utf8')
      .split(/\s+/)
      .map(Number);
    return first !== undefined && last !== undefined && first <= last ? [first, last] : OWN_PORTS;
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return OWN_PORTS;
    throw error;
  }
}
