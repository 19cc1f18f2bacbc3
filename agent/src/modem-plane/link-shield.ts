/**
 * What a modem's interface may take from the other side by IPv6: nothing. A stick that sends router advertisements (or
 * one that was made to) would put a default route into the main table and an address onto the interface, and the
 * machine's own traffic and everybody else's would leave by SIM data. So advertisements, redirects and addresses of the
 * kernel's own making are off on every interface of a slot, and IPv6 altogether where the slot has no IPv6 address from
 * its carrier; switching it off also removes what came before the agent did. What was there before is on disk before it
 * is changed, and put back at the end or by the next start. The slot's own address and routes are slot-network.ts.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { z } from 'zod';
import type { Log } from '../observe/log';
import { whereWeAre } from './network-journal';

export const SHIELD_NAME = 'link-settings.json';

/** Files in `/proc/sys/net/ipv6/conf/<interface>` (ip-sysctl); the value that an interface of a slot has. */
const SHIELD = { accept_ra: 0, accept_redirects: 0, autoconf: 0, addr_gen_mode: 1 } as const;
const SWITCH = 'disable_ipv6';

const Kept = z.strictObject({
  version: z.literal(1),
  /** Boot and network namespace; elsewhere these interfaces mean nothing. */
  where: z.string(),
  links: z.array(
    z.strictObject({
      interface: z.string(),
      index: z.int().nullable(),
      before: z.record(z.string(), z.int()),
    }),
  ),
});
type KeptLink = z.infer<typeof Kept>['links'][number];

export interface LinkShieldOptions {
  dataDir: string;
  log: Log;
  /** `/proc` of the machine. */
  proc?: string;
}

export class LinkShield {
  readonly #path: string;
  readonly #proc: string;
  readonly #log: Log;
  #links: KeptLink[] = [];
  /** Interfaces whose settings cannot be changed; said once each. */
  readonly #complained = new Set<string>();

  constructor(options: LinkShieldOptions) {
    mkdirSync(options.dataDir, { recursive: true, mode: 0o700 });
    this.#path = join(options.dataDir, SHIELD_NAME);
    this.#proc = options.proc ?? '/proc';
    this.#log = options.log;
  }

  /** Puts back what an earlier process has changed; gives the number of interfaces. */
  recover(): number {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return 0;
      throw error;
    }
    let kept: z.infer<typeof Kept> | null = null;
    try {
      kept = Kept.parse(JSON.parse(text));
    } catch (error) {
      // The interfaces keep the safe settings until they are plugged in anew, which is no reason not to serve.
      this.#log.warn('what interfaces had before cannot be read and is forgotten', {
        path: this.#path,
        reason: messageOf(error),
      });
    }
    this.#links = kept?.where === whereWeAre() ? kept.links : [];
    const count = this.#links.length;
    this.close();
    return count;
  }

  /**
   * From now on the interface takes nothing by itself; with `ipv6` it may bear the slot's own address. To be called
   * before it is brought up, and again to put back what others have changed. True when it is so; false where this
   * kernel has no IPv6 or does not let us, and then the slot must have none.
   */
  hold(interfaceName: string, ipv6: boolean): boolean {
    const folder = this.#folder(interfaceName);
    if (!existsSync(folder)) return false;
    const off = ipv6 ? 0 : 1;
    try {
      const now = this.#read(folder);
      const rest = Object.entries(SHIELD).filter(([name, value]) => now[name] !== value);
      if (rest.length === 0 && now[SWITCH] === off) return true;
      this.#remember(interfaceName, now);
      // Off first: that takes away what was advertised before, and nothing comes in while the rest is set.
      if (rest.length > 0 || off === 1) writeFileSync(join(folder, SWITCH), '1');
      for (const [name, value] of rest) writeFileSync(join(folder, name), String(value));
      if (off === 0) writeFileSync(join(folder, SWITCH), '0');
      return true;
    } catch (error) {
      // Unplugged meanwhile: there is nothing to shield.
      if (!existsSync(folder)) return false;
      if (!this.#complained.has(interfaceName))
        this.#log.warn('an interface may take IPv6 routes from its modem', {
          interface: interfaceName,
          reason: messageOf(error),
          remedy: `sysctl -w net.ipv6.conf.${interfaceName}.disable_ipv6=1`,
        });
      this.#complained.add(interfaceName);
      return false;
    }
  }

  /** Puts everything back as it was. To be called when the links that the agent brought up are down again. */
  close(): void {
    for (const { interface: name, index, before } of this.#links) {
      if (this.#index(name) !== index) continue;
      const { [SWITCH]: off, ...rest } = before;
      try {
        for (const [setting, value] of Object.entries(rest))
          writeFileSync(join(this.#folder(name), setting), String(value));
        if (off !== undefined) writeFileSync(join(this.#folder(name), SWITCH), String(off));
      } catch (error) {
        if (existsSync(this.#folder(name)))
          this.#log.warn('an interface keeps the IPv6 settings of a slot', {
            interface: name,
            reason: messageOf(error),
          });
      }
    }
    this.#links = [];
    rmSync(this.#path, { force: true });
  }

  #folder(name: string): string {
    return join(this.#proc, 'sys/net/ipv6/conf', name);
  }

  #read(folder: string): Record<string, number> {
    return Object.fromEntries(
      [...Object.keys(SHIELD), SWITCH].map(name => [
        name,
        Number(readFileSync(join(folder, name), 'utf8').trim()),
      ]),
    );
  }

  /** Only once for each device: what we have set ourselves is not what it was. Devices that are gone are forgotten. */
  #remember(name: string, before: Record<string, number>): void {
    const index = this.#index(name);
    const there = this.#links.filter(one => this.#index(one.interface) === one.index);
    if (there.some(one => one.interface === name)) return;
    this.#links = [...there, { interface: name, index, before }];
    const beside = `${this.#path}.new`;
    // As with the journal: a power cut takes the settings with it, so there is no fsync.
    writeFileSync(beside, JSON.stringify({ version: 1, where: whereWeAre(), links: this.#links }), {
      mode: 0o600,
    });
    renameSync(beside, this.#path);
  }

  /** The kernel's number of the device, of this process's network namespace; null when it is gone. */
  #index(name: string): number | null {
    try {
      const text = readFileSync(join(this.#proc, 'self/net/dev_snmp6', name), 'utf8');
      return Number(/^ifIndex\s+(\d+)/.exec(text)?.[1] ?? Number.NaN) || null;
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return null;
      throw error;
    }
  }
}
