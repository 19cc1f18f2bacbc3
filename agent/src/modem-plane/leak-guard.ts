/**
 * The second lock on the door: with nftables, the kernel drops what has a slot's source address and is about to leave
 * by anything but the slot's interface. The routing rules (slot-network.ts) see to the same, but whoever deletes one
 * (`ip rule flush`), or puts a rule of a VPN or of NetworkManager before it, opens the main table to the customers of a
 * modem until the next repair. Where nftables may not be used the rules stand alone, and the log says so once.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../observe/log';
import { noTable, ownTable, type RunNft, removeStaleTables, runNft } from '../own-table';

const PREFIX = 'mastline_s';
/** A firewall that is reloaded (`nft flush ruleset`) takes the table with it; so soon it is there again. */
const RELOAD_EVERY_MS = 60_000;

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

  /** From now on `address` leaves by `interfaceName` only. To be called before the address is there. Never rejects. */
  async hold(address: string, interfaceName: string): Promise<void> {
    if (this.#ways.get(address) === interfaceName && !this.#dirty) return;
    this.#ways.set(address, interfaceName);
    await this.#load();
  }

  /** The address is the slot's no more. To be called when it is gone. Never rejects. */
  async release(addresses: readonly string[]): Promise<void> {
    const had = addresses.filter(address => this.#ways.delete(address));
    if (had.length > 0) await this.#load();
  }

  /** Puts back what somebody may have taken away. Never rejects. */
  async tend(): Promise<void> {
    const { clock } = this.#options;
    const due = this.#loadedAt !== null && clock.monotonicMs() - this.#loadedAt >= RELOAD_EVERY_MS;
    if (this.#dirty || (due && this.#ways.size > 0)) await this.#load();
  }

  async close(): Promise<void> {
    if (this.#ways.size === 0 && this.#loadedAt === null) return;
    this.#ways.clear();
    await this.#load();
  }

  async #load(): Promise<void> {
    const { clock, log } = this.#options;
    this.#dirty = true;
    try {
      if (!this.#cleared) await removeStaleTables(PREFIX, this.#run);
      this.#cleared = true;
      await this.#run(['-f', '-'], guardTable(this.#table, this.#ways));
      this.#dirty = false;
      this.#complaint = '';
      this.#loadedAt = this.#ways.size === 0 ? null : clock.monotonicMs();
    } catch (error) {
      const reason = messageOf(error);
      if (reason !== this.#complaint)
        log.warn('only routing rules keep dead modems from leaking, nftables does not help', { reason });
      this.#complaint = reason;
    }
  }
}

/** The text of the table; without ways there is none. Pure. What goes to this machine itself has not left. */
export function guardTable(table: string, ways: ReadonlyMap<string, string>): string {
  if (ways.size === 0) return noTable(table);
  const parts = [
    { family: 'ip', type: 'ipv4_addr', ways: [...ways].filter(([address]) => !address.includes(':')) },
    { family: 'ip6', type: 'ipv6_addr', ways: [...ways].filter(([address]) => address.includes(':')) },
  ].filter(part => part.ways.length > 0);
  const sets = parts.map(
    part => `  set own_${part.family} { type ${part.type}; elements = { ${part.ways.map(([address]) => address).join(', ')} } }
  set way_${part.family} { type ${part.type} . ifname; elements = { ${part.ways
    .flatMap(([address, name]) => [`${address} . "${name}"`, `${address} . "lo"`])
    .join(', ')} } }`,
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
}
`;
}
