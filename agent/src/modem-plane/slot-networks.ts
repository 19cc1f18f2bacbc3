/**
 * Keeps every slot's part of the network as it should be, and tells the slot's supervisor what came of it. One change
 * after the other, all journaled. What is set up for a slot, and how, is slot-network.ts.
 */
import { networkInterfaces } from 'node:os';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../observe/log';
import type { LeakGuard } from './leak-guard';
import { NetworkJournal } from './network-journal';
import { surveyNetwork } from './network-survey';
import type { RunIp } from './run-ip';
import { type AddressSlot, type InterfaceSlot, routerOf } from './slot-config';
import {
  canChangeNetwork,
  carrierAddressOf,
  existingAddress,
  repairSlot,
  type SlotNetwork,
  setUpSlot,
} from './slot-network';
import type { SlotRoster } from './slot-roster';
import type { SlotSupervisor } from './slot-supervisor';

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
  /** `key` is what of the carrier it was made of. */
  readonly #networks = new Map<number, SlotNetwork & { key: string }>();
  /** The kernel's number of each slot's interface: names are given anew, and may be another stick's. */
  readonly #interfaces = new Map<number, number | undefined>();
  #queue: Promise<void> = Promise.resolve();
  #mayChange = false;
  #closed = false;

  constructor(options: SlotNetworksOptions) {
    this.#options = options;
    this.#journal = new NetworkJournal({ dataDir: options.dataDir, runIp: options.runIp });
  }

  /** Takes down what a crash has left. */
  async start(): Promise<void> {
    this.#mayChange = canChangeNetwork();
    if (!this.#mayChange) return;
    const removed = await this.#journal.recover();
    if (removed > 0) this.#options.log.warn('removed what a crash left in the network', { items: removed });
  }

  /** Does `work`, which must not reject, after all that was asked for before. */
  after(work: () => Promise<void>): Promise<void> {
    this.#queue = this.#queue.then(work);
    return this.#queue;
  }

  /** Sets up what is not, repairs what was lost, notices what went away; in its turn. Never rejects. */
  keep(): Promise<void> {
    return this.after(() => this.#keep());
  }

  /**
   * What a slot has in the network, but for its link, which stays up: its name may be another slot's by now. Never
   * rejects.
   */
  async takeDown(slot: number): Promise<void> {
    const network = this.#networks.get(slot);
    this.#networks.delete(slot);
    this.#interfaces.delete(slot);
    try {
      if (network) await this.#journal.remove(network.items.filter(item => item.kind !== 'link-up'));
      if (network) await this.#options.guard?.release([network.sourceAddress]);
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
    if (this.#mayChange) await this.#journal.removeAll();
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
      const survey = await surveyNetwork(this.#options.runIp);
      for (const one of interfaces) {
        if (this.#closed) return;
        await this.#keepSlot(one, one.config as InterfaceSlot, survey);
      }
    } catch (error) {
      this.#options.log.error('the network cannot be looked at', { error });
      for (const one of interfaces) one.setNetwork({ kind: 'failed', reason: reasonOf(error) });
    }
  }

  async #keepSlot(
    supervisor: SlotSupervisor,
    slot: InterfaceSlot,
    survey: Awaited<ReturnType<typeof surveyNetwork>>,
  ): Promise<void> {
    const { runIp: run, clock, log, roster, guard } = this.#options;
    const link = survey.links.get(slot.interface);
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
    try {
      const carrier = routerOf(slot) === null ? carrierAddressOf(supervisor.bearer) : null;
      const key = JSON.stringify(carrier);
      let network = this.#networks.get(slot.slot);
      if (network && network.key !== key) {
        // The carrier gave another address, or none: what was made of the old one goes first.
        supervisor.setNetwork({ kind: 'linked', problem: '' });
        await this.takeDown(slot.slot);
        this.#interfaces.set(slot.slot, link.index);
        network = undefined;
      }
      if (routerOf(slot) === null && carrier === null) {
        supervisor.setNetwork({ kind: 'linked', problem: '' });
        return;
      }
      if (!network) {
        const made = await setUpSlot(slot, { runIp: run, journal: this.#journal, clock, carrier, guard });
        network = { ...made, key };
        this.#networks.set(slot.slot, network);
        log.info('slot network', {
          slot: slot.slot,
          interface: slot.interface,
          address: network.sourceAddress,
        });
      } else {
        const made = await repairSlot(network, survey, run);
        if (made > 0) log.warn('slot network repaired', { slot: slot.slot, items: made });
      }
      supervisor.setNetwork({ kind: 'up', sourceAddress: network.sourceAddress, note: '' });
    } catch (error) {
      // Unplugged between the look and the change: the next look says so.
      log.warn('slot network failed', { slot: slot.slot, error });
      const reason = reasonOf(error);
      // Its port is there all the same: the modem is looked after, and the next connection may bring another address.
      supervisor.setNetwork(
        routerOf(slot) === null ? { kind: 'linked', problem: reason } : { kind: 'failed', reason },
      );
    }
  }
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
