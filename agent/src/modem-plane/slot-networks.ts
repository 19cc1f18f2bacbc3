/**
 * Keeps every slot's part of the network as it should be, and tells the slot's supervisor what came of it. One change
 * after the other, all journaled. What is set up for a slot, and how, is slot-network.ts.
 */
import { networkInterfaces } from 'node:os';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../observe/log';
import type { LeakGuard } from './leak-guard';
import { LinkShield } from './link-shield';
import { NetworkJournal } from './network-journal';
import { type NetworkSurvey, surveyNetwork } from './network-survey';
import { endOldSockets } from './old-sockets';
import type { RunIp } from './run-ip';
import { type AddressSlot, type InterfaceSlot, routerOf } from './slot-config';
import { lookInside } from './slot-namespace';
import {
  addressesOf,
  type CarrierAddress,
  canChangeNetwork,
  carrierAddressOf,
  existingAddress,
  repairSlot,
  type SlotNetwork,
  setUpSlot,
} from './slot-network';
import type { SlotRoster } from './slot-roster';
import type { NetworkFacts } from './slot-state';
import type { SlotSupervisor } from './slot-supervisor';

/**
 * What others change of a link's IPv6 is put back by each look of every five seconds (REPAIR_EVERY_MS), and not by
 * those that modems ask for in between: it is eight files for each slot.
 */
const SHIELD_EVERY_MS = 4_000;

export interface SlotNetworksOptions {
  /** The journal lies there. */
  dataDir: string;
  runIp: RunIp;
  /** Closed with this. */
  guard?: LeakGuard | undefined;
  clock: Clock;
  log: Log;
  roster: () => SlotRoster;
}

export class SlotNetworks {
  readonly #options: SlotNetworksOptions;
  readonly #journal: NetworkJournal;
  readonly #shield: LinkShield;
  /** `key` is what of the carrier it was made of. */
  readonly #networks = new Map<number, SlotNetwork & { key: string }>();
  /** The kernel's number of each slot's interface: names are given anew, and may be another stick's. */
  readonly #interfaces = new Map<number, number | undefined>();
  /** When the link of each slot was shielded last, by the monotonic clock. */
  readonly #shieldedMs = new Map<number, number>();
  #queue: Promise<void> = Promise.resolve();
  /** A look that has not begun, and behind which nothing else waits. */
  #nextLook: Promise<void> | null = null;
  #mayChange = false;
  #closed = false;

  constructor(options: SlotNetworksOptions) {
    this.#options = options;
    this.#journal = new NetworkJournal({ dataDir: options.dataDir, runIp: options.runIp });
    this.#shield = new LinkShield({ dataDir: options.dataDir, log: options.log });
  }

  /** Takes down what a crash has left. */
  async start(): Promise<void> {
    this.#mayChange = canChangeNetwork();
    if (!this.#mayChange) return;
    const removed = (await this.#journal.recover()) + this.#shield.recover();
    if (removed > 0) this.#options.log.warn('removed what a crash left in the network', { items: removed });
  }

  /** Does `work`, which must not reject, after all that was asked for before. */
  after(work: () => Promise<void>): Promise<void> {
    this.#nextLook = null;
    this.#queue = this.#queue.then(work);
    return this.#queue;
  }

  /** Sets up what is not, repairs what was lost, notices what went away; in its turn. Never rejects. */
  keep(): Promise<void> {
    // A modem that comes or goes tells it in several ways, and one look sees all of it.
    if (this.#nextLook) return this.#nextLook;
    const look = this.after(() => {
      this.#nextLook = null;
      return this.#keep();
    });
    this.#nextLook = look;
    return look;
  }

  /**
   * What a slot has in the network, but for its link, which stays up: its name may be another slot's by now. Never
   * rejects.
   */
  async takeDown(slot: number): Promise<void> {
    const network = this.#networks.get(slot);
    this.#networks.delete(slot);
    this.#interfaces.delete(slot);
    this.#shieldedMs.delete(slot);
    try {
      if (network) await this.#journal.remove(network.items.filter(item => item.kind !== 'link-up'));
      if (network) await endOldSockets(addressesOf(network), this.#options.log);
      if (network) await this.#options.guard?.release(addressesOf(network));
    } catch (error) {
      // They stay in the journal, and are taken down at the end.
      this.#options.log.warn('what a slot had in the network stays for now', { slot, error });
    }
  }

  /** Sets up no more. */
  stop(): void {
    this.#closed = true;
  }

  /** Takes everything down. */
  async close(): Promise<void> {
    this.stop();
    await this.#queue;
    try {
      if (this.#mayChange) await this.#journal.removeAll();
    } finally {
      if (this.#mayChange) this.#shield.close();
    }
    await endOldSockets([...this.#networks.values()].flatMap(addressesOf), this.#options.log);
    await this.#options.guard?.close();
  }

  /** Each slot gets its reason. */
  async #keep(): Promise<void> {
    const roster = this.#options.roster();
    const interfaces: SlotSupervisor[] = [];
    for (const one of roster.all()) {
      const reason = roster.whyAbsent(one.config.slot);
      if (reason !== undefined)
        one.setNetwork({ kind: 'absent', reason, ...roster.causeOfAbsence(one.config) });
      else if ('sourceAddress' in one.config) useAddress(one, one.config);
      else interfaces.push(one);
    }
    if (interfaces.length === 0) return;
    if (!this.#mayChange) {
      for (const one of interfaces) useExisting(one, one.config as InterfaceSlot, roster.all());
      return;
    }
    try {
      await this.#options.guard?.tend();
      const ipv6 = [...this.#networks.values()].some(one =>
        addressesOf(one).some(each => each.includes(':')),
      );
      const survey = await surveyNetwork(this.#options.runIp, { ipv6 });
      for (const one of interfaces) {
        if (this.#closed) return;
        await this.#keepSlot(one, one.config as InterfaceSlot, survey);
      }
    } catch (error) {
      this.#options.log.error('the network cannot be looked at', { error });
      for (const one of interfaces) one.setNetwork({ kind: 'failed', reason: reasonOf(error) });
    }
  }

  /**
   * A slot in a namespace of its own is looked at there. Undefined: it is in none. Else what is not as it should be
   * was taken down, and the interface is back, or unplugged.
   */
  async #lookApart(
    supervisor: SlotSupervisor,
    slot: InterfaceSlot,
  ): Promise<'well' | 'taken-down' | undefined> {
    const network = this.#networks.get(slot.slot);
    if (network?.namespace === undefined) return undefined;
    const carrier = carrierAddressOf(supervisor.bearer, slot);
    const address = network.key === JSON.stringify(carrier) ? (carrier?.address ?? null) : null;
    const { runIp: run } = this.#options;
    if (address !== null && (await lookInside(network.namespace, address, run)) === 'well') return 'well';
    supervisor.setNetwork({ kind: 'linked', problem: '' });
    await this.takeDown(slot.slot);
    return 'taken-down';
  }

  async #repair(supervisor: SlotSupervisor, slot: InterfaceSlot, survey: NetworkSurvey): Promise<void> {
    const { runIp: run, log } = this.#options;
    const network = this.#networks.get(slot.slot);
    if (network === undefined) return;
    const made = await repairSlot(network, survey, run);
    if (made > 0) log.warn('slot network repaired', { slot: slot.slot, items: made });
    supervisor.setNetwork(upOf(network));
  }

  async #keepSlot(supervisor: SlotSupervisor, slot: InterfaceSlot, survey: NetworkSurvey): Promise<void> {
    try {
      await this.#keepOne(supervisor, slot, survey);
    } catch (error) {
      // Unplugged between the look and the change: the next look says so.
      this.#options.log.warn('slot network failed', { slot: slot.slot, error });
      const reason = reasonOf(error);
      // Its port is there all the same: the modem is looked after, and the next connection may bring another address.
      supervisor.setNetwork(
        routerOf(slot) === null ? { kind: 'linked', problem: reason } : { kind: 'failed', reason },
      );
    }
  }

  async #keepOne(supervisor: SlotSupervisor, slot: InterfaceSlot, survey: NetworkSurvey): Promise<void> {
    const { runIp: run, clock, log, roster, guard } = this.#options;
    const apart = await this.#lookApart(supervisor, slot);
    if (apart === 'well') return this.#repair(supervisor, slot, survey);
    const link = apart === undefined ? survey.links.get(slot.interface) : await linkNow(slot.interface, run);
    if (link === undefined) {
      const reason = `there is no interface ${slot.interface}`;
      supervisor.setNetwork({ kind: 'absent', reason, ...roster().causeOfAbsence(slot) });
      return;
    }
    if (this.#interfaces.has(slot.slot) && this.#interfaces.get(slot.slot) !== link.index) {
      // Pulled out and plugged in between two looks: it may be another stick, and nothing of before holds.
      await this.takeDown(slot.slot);
      supervisor.reconfigure(slot);
    }
    this.#interfaces.set(slot.slot, link.index);
    const carrier = routerOf(slot) === null ? carrierAddressOf(supervisor.bearer, slot) : null;
    const key = JSON.stringify(carrier);
    const before = this.#networks.get(slot.slot);
    if (before && before.key === key) {
      const shieldedMs = this.#shieldedMs.get(slot.slot) ?? Number.NEGATIVE_INFINITY;
      if (clock.monotonicMs() - shieldedMs >= SHIELD_EVERY_MS) this.#shieldFor(slot, carrier);
      return this.#repair(supervisor, slot, survey);
    }
    if (before) {
      // The carrier gave another address, or none: what was made of the old one goes first.
      supervisor.setNetwork({ kind: 'linked', problem: '' });
      await this.takeDown(slot.slot);
      this.#interfaces.set(slot.slot, link.index);
    }
    const mayIpv6 = this.#shieldFor(slot, carrier);
    if (routerOf(slot) === null && carrier === null) {
      supervisor.setNetwork({ kind: 'linked', problem: '' });
      return;
    }
    const parts = { runIp: run, journal: this.#journal, clock, carrier, guard, mayIpv6 };
    const made = await setUpSlot(slot, parts);
    this.#networks.set(slot.slot, { ...made, key });
    log.info('slot network', {
      slot: slot.slot,
      interface: slot.interface,
      address: made.sourceAddress,
      ...(made.sourceAddress6 === undefined ? {} : { address6: made.sourceAddress6 }),
      ...(made.problem6 === undefined ? {} : { withoutIpv6: made.problem6 }),
      ...(made.namespace ? { namespace: made.namespace.name } : {}),
    });
    supervisor.setNetwork(upOf(made));
  }

  /** Whatever state the slot is in: others may have brought its interface up. True when it may bear an IPv6 address. */
  #shieldFor(slot: InterfaceSlot, carrier: CarrierAddress | null): boolean {
    this.#shieldedMs.set(slot.slot, this.#options.clock.monotonicMs());
    return this.#shield.hold(slot.interface, carrier?.address6 !== undefined);
  }
}

/** What the supervisor is told of a network that is as it should be. */
function upOf({ sourceAddress, sourceAddress6, namespace, problem6 }: SlotNetwork): NetworkFacts {
  const apart =
    namespace === undefined
      ? ''
      : `its carrier gave an address that is in use here: it is in the network namespace ${namespace.name}`;
  const without = problem6 === undefined ? '' : `its IPv6 address is not used: ${problem6}`;
  const note = [apart, without].filter(part => part !== '').join('; ');
  return { kind: 'up', sourceAddress, ...(sourceAddress6 === undefined ? {} : { sourceAddress6 }), note };
}

/** The link as it is after something was taken down. */
async function linkNow(name: string, runIp: RunIp) {
  return (await surveyNetwork(runIp)).links.get(name);
}

function useAddress(supervisor: SlotSupervisor, slot: AddressSlot): void {
  supervisor.setNetwork({ kind: 'up', sourceAddress: slot.sourceAddress, note: '' });
}

/** Without CAP_NET_ADMIN: whatever the system has set up. */
function useExisting(
  supervisor: SlotSupervisor,
  slot: InterfaceSlot,
  supervisors: readonly SlotSupervisor[],
): void {
  const address = existingAddress(slot.interface);
  if (address === undefined) {
    const there = slot.interface in networkInterfaces();
    supervisor.setNetwork(
      there
        ? {
            kind: 'failed',
            reason: `${slot.interface} has no IPv4 address and the agent lacks CAP_NET_ADMIN to give it one`,
          }
        : {
            kind: 'absent',
            reason: `there is no interface ${slot.interface} that is up, and the agent lacks CAP_NET_ADMIN`,
          },
    );
    return;
  }
  const rival = supervisors.find(
    one =>
      one !== supervisor && 'interface' in one.config && existingAddress(one.config.interface) === address,
  );
  supervisor.setNetwork(
    rival
      ? {
          kind: 'failed',
          reason: `${address} is also the address of slot ${rival.config.slot}; the agent needs CAP_NET_ADMIN to tell them apart`,
        }
      : {
          kind: 'up',
          sourceAddress: address,
          note: `uses the address that ${slot.interface} has: no CAP_NET_ADMIN to set up its own`,
        },
  );
}

function reasonOf(error: unknown): string {
  return error instanceof CodedError ? `${error.userMessage} (${codeOf(error)})` : messageOf(error);
}
