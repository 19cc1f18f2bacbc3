/**
 * What the agent has changed in this machine's network, on disk before it is made, so that a next start can take down
 * what a crash left. It records and removes; what is wanted is `slot-network.ts`.
 */
import { mkdirSync, readFileSync, readlinkSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';
import { type RunIp, runInOrder } from './run-ip';

export const JOURNAL_NAME = 'network-journal.json';

/** One thing that was made; each can be removed without touching anybody else's. */
export const NetworkItem = z.discriminatedUnion('kind', [
  z.strictObject({ kind: z.literal('link-up'), interface: z.string() }),
  /** `before` is what it was, and will be again. */
  z.strictObject({ kind: z.literal('mtu'), interface: z.string(), mtu: z.int(), before: z.int() }),
  z.strictObject({ kind: z.literal('address'), interface: z.string(), address: z.string(), prefix: z.int() }),
  /** `words` as `ip route` takes them, without the table; of IPv4 where no family stands. */
  z.strictObject({
    kind: z.literal('route'),
    table: z.int(),
    words: z.array(z.string()),
    family: z.literal(6).optional(),
  }),
  z.strictObject({ kind: z.literal('rule'), from: z.string(), table: z.int(), priority: z.int() }),
  // A slot in a network namespace of its own (slot-namespace.ts); `veth` is the link that joins it to this one.
  z.strictObject({ kind: z.literal('namespace'), name: z.string(), veth: z.string() }),
  z.strictObject({ kind: z.literal('veth'), veth: z.string(), namespace: z.string() }),
  /** The interface was taken there, and comes back. */
  z.strictObject({
    kind: z.literal('moved'),
    interface: z.string(),
    namespace: z.string(),
    veth: z.string(),
  }),
  /** An `ip` command whose effect goes with one of the others. */
  z.strictObject({ kind: z.literal('step'), words: z.array(z.string()), veth: z.string() }),
]);
export type NetworkItem = z.infer<typeof NetworkItem>;

const Journal = z.strictObject({
  version: z.literal(1),
  /** Boot and network namespace that the items are in; elsewhere they mean nothing. */
  where: z.string(),
  items: z.array(NetworkItem),
});

export class NetworkJournal {
  readonly #path: string;
  readonly #runIp: RunIp;
  #items: NetworkItem[] = [];

  constructor(options: { dataDir: string; runIp: RunIp }) {
    mkdirSync(options.dataDir, { recursive: true, mode: 0o700 });
    this.#path = join(options.dataDir, JOURNAL_NAME);
    this.#runIp = options.runIp;
  }

  /** Takes down what an earlier process left. Throws `network/journal` when the file cannot be read. */
  async recover(): Promise<number> {
    let text: string;
    try {
      text = readFileSync(this.#path, 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return 0;
      throw error;
    }
    let value: unknown;
    try {
      value = JSON.parse(text);
    } catch (error) {
      throw new CodedError('network/journal', `${this.#path} is not JSON`, {
        userMessage: `${this.#path} is damaged. Check "ip rule" and "ip address" for leftovers, then delete the file.`,
        cause: error,
      });
    }
    const journal = parseOrExplain(Journal, value, this.#path, 'network/journal');
    // After a reboot the items are gone, and their numbers may be somebody else's by now.
    if (journal.where !== whereWeAre()) {
      rmSync(this.#path, { force: true });
      return 0;
    }
    this.#items = journal.items;
    await this.removeAll();
    return journal.items.length;
  }

  /** Writes down items that are about to be made. */
  record(items: readonly NetworkItem[]): void {
    this.#items = [...this.#items, ...items];
    this.#write();
  }

  /** Removes everything, newest first, and then the file. Keeps (and throws for) what could not be removed. */
  removeAll(): Promise<void> {
    return this.remove(this.#items);
  }

  /** Removes some of what was recorded, for a set-up that failed half-way. */
  async remove(items: readonly NetworkItem[]): Promise<void> {
    const failures: unknown[] = [];
    const left = new Set<NetworkItem>();
    const undone = items.toReversed().flatMap(item => {
      const undo = undoOf(item);
      return undo === null ? [] : [{ item, undo }];
    });
    const commands = undone.map(one => one.undo);
    await runInOrder(this.#runIp, commands, (at, error) => {
      if (codeOf(error) === 'network/gone') return;
      failures.push(error);
      const stuck = undone[at]?.item;
      if (stuck) left.add(stuck);
    });
    const gone = new Set(items.filter(item => !left.has(item)));
    this.#items = this.#items.filter(item => !gone.has(item));
    if (this.#items.length > 0) this.#write();
    else rmSync(this.#path, { force: true });
    if (failures.length > 0) throw failures[0];
  }

  /** A crash of the process loses nothing of this; a power cut takes the items with it. So no fsync. */
  #write(): void {
    const beside = `${this.#path}.new`;
    writeFileSync(beside, JSON.stringify({ version: 1, where: whereWeAre(), items: this.#items }), {
      mode: 0o600,
    });
    renameSync(beside, this.#path);
  }
}

/** The `ip` command that makes an item. */
export function makeOf(item: NetworkItem): string[] {
  switch (item.kind) {
    case 'link-up':
      return ['link', 'set', 'dev', item.interface, 'up'];
    case 'mtu':
      return ['link', 'set', 'dev', item.interface, 'mtu', String(item.mtu)];
    case 'address':
      return [
        ...flagOf(item),
        ...['address', 'add', `${item.address}/${item.prefix}`, 'dev', item.interface, 'noprefixroute'],
        // The carrier gave it to this modem alone: nobody is asked whether he has it, and it serves at once.
        ...(item.address.includes(':') ? ['nodad'] : []),
      ];
    case 'route':
      return [familyOf(item), 'route', 'add', ...item.words, 'table', String(item.table)];
    case 'rule':
      return [familyOf(item), 'rule', 'add', ...ruleWords(item)];
    case 'namespace':
      return ['netns', 'add', item.name];
    case 'veth':
      return ['link', 'add', item.veth, 'type', 'veth', 'peer', 'name', 'host', 'netns', item.namespace];
    case 'moved':
      return ['link', 'set', 'dev', item.interface, 'netns', item.namespace];
    case 'step':
      return item.words;
  }
}

/** Null: nothing is to be done. */
function undoOf(item: NetworkItem): string[] | null {
  switch (item.kind) {
    case 'link-up':
      return ['link', 'set', 'dev', item.interface, 'down'];
    case 'mtu':
      return ['link', 'set', 'dev', item.interface, 'mtu', String(item.before)];
    case 'address':
      return [...flagOf(item), 'address', 'del', `${item.address}/${item.prefix}`, 'dev', item.interface];
    case 'route':
      return [familyOf(item), 'route', 'del', ...item.words, 'table', String(item.table)];
    case 'rule':
      return [familyOf(item), 'rule', 'del', ...ruleWords(item)];
    case 'namespace':
      return ['netns', 'del', item.name];
    case 'veth':
      return ['link', 'del', item.veth];
    case 'moved':
      // Back to where this process is: a namespace that is deleted takes virtual interfaces along.
      return ['-n', item.namespace, 'link', 'set', 'dev', item.interface, 'netns', String(process.pid)];
    case 'step':
      return null;
  }
}

/** Addresses of IPv4 are said without. */
function flagOf({ address }: NetworkItem & { kind: 'address' }): string[] {
  return address.includes(':') ? ['-6'] : [];
}

/** Rules say it by their address. */
function familyOf(item: NetworkItem & { kind: 'rule' | 'route' }): '-4' | '-6' {
  const six = item.kind === 'rule' ? item.from.includes(':') : item.family === 6;
  return six ? '-6' : '-4';
}

function ruleWords(item: NetworkItem & { kind: 'rule' }): string[] {
  return ['from', item.from, 'lookup', String(item.table), 'priority', String(item.priority)];
}

/** Boot and network namespace of this process. */
export function whereWeAre(): string {
  const boot = readFileSync('/proc/sys/kernel/random/boot_id', 'utf8').trim();
  return `${boot} ${readlinkSync('/proc/self/ns/net')}`;
}
