/**
 * Gives an interface slot its way out: a host address of its own in the stick's subnet, a routing table of its own
 * that ends in `unreachable`, and the rule that leads from the one to the other. So sticks with the same address and
 * MAC do not collide, and what should leave through a dead modem leaves nowhere. All sticks keep their settings.
 */
import { readFileSync } from 'node:fs';
import { networkInterfaces } from 'node:os';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';
import { withMachineLock } from './machine-lock';
import { makeOf, type NetworkItem, type NetworkJournal } from './network-journal';
import { isPresent, type NetworkSurvey, surveyNetwork } from './network-survey';
import type { RunIp } from './run-ip';
import type { InterfaceSlot } from './slot-config';

/** Host part of the first address that is tried: sticks hand out .100 themselves. */
const FIRST_HOST = 101;
const LAST_HOST = 199;
/** Tables and rule priorities are tried from 1000 + slot upward; the kernel's own are 253 to 255. */
const FIRST_TABLE = 1000;
const TABLES_TRIED = 4096;
/** Below every metric that anybody sets. */
const LAST_METRIC = '4278198272';
const CAP_NET_ADMIN = 12n;

/** What a slot has been given; `items` are wanted as long as the agent runs. */
export interface SlotNetwork {
  sourceAddress: string;
  items: NetworkItem[];
}

/** True when this process may change addresses and routes. */
export function canChangeNetwork(): boolean {
  const match = /^CapEff:\s*([0-9a-f]+)$/m.exec(readFileSync('/proc/self/status', 'utf8'));
  return ((BigInt(`0x${match?.[1] ?? '0'}`) >> CAP_NET_ADMIN) & 1n) === 1n;
}

/** The IPv4 address that the interface has, for an agent that may not give it one. */
export function existingAddress(interfaceName: string): string | undefined {
  return networkInterfaces()[interfaceName]?.find(one => one.family === 'IPv4')?.address;
}

/** Chooses and makes a slot's network. Throws `network/…` with what to do. */
export async function setUpSlot(
  slot: InterfaceSlot,
  parts: { runIp: RunIp; journal: NetworkJournal; clock: Clock },
): Promise<SlotNetwork> {
  return withMachineLock(parts.clock, async () => {
    const survey = await surveyNetwork(parts.runIp);
    const wanted = planSlot(slot, survey);
    const missing = wanted.items.filter(item => !isPresent(item, survey));
    parts.journal.record(missing);
    try {
      await make(missing, survey, parts.runIp);
    } catch (error) {
      // Half a network is none; the next try begins from nothing.
      await parts.journal.remove(missing);
      throw error;
    }
    return wanted;
  });
}

/** Makes what is missing of what is wanted: a flapping link takes its routes and addresses with it. Gives the number. */
export function repairSlot(wanted: SlotNetwork, survey: NetworkSurvey, runIp: RunIp): Promise<number> {
  return make(wanted.items, survey, runIp);
}

async function make(items: readonly NetworkItem[], survey: NetworkSurvey, runIp: RunIp): Promise<number> {
  let made = 0;
  for (const item of items) {
    if (isPresent(item, survey)) continue;
    try {
      await runIp(makeOf(item));
      made += 1;
    } catch (error) {
      if (codeOf(error) !== 'network/exists') throw error;
    }
  }
  return made;
}

/** The first address, table and priority that nobody on this machine uses. Pure. */
export function planSlot(slot: InterfaceSlot, survey: NetworkSurvey): SlotNetwork {
  const subnet = slot.gateway.split('.').slice(0, 3).join('.');
  // A rule from an address counts, too: its owner's stick may be unplugged at the moment.
  const taken = new Set([...survey.addresses.map(one => one.address), ...survey.rules.map(one => one.from)]);
  const candidates = Array.from(
    { length: LAST_HOST - FIRST_HOST + 1 },
    (_, i) => `${subnet}.${FIRST_HOST + i}`,
  );
  const sourceAddress = candidates.find(address => address !== slot.gateway && !taken.has(address));
  if (sourceAddress === undefined)
    throw new CodedError('network/no-address', `${subnet}.${FIRST_HOST} to .${LAST_HOST} are all in use`, {
      userMessage: `Slot ${slot.slot}: every address from ${subnet}.${FIRST_HOST} to .${LAST_HOST} is in use on this machine. Remove leftovers of other programs ("ip address", "ip rule").`,
    });

  const numbers = new Set([
    ...survey.rules.flatMap(one => [one.table, one.priority]),
    ...survey.routes.map(one => one.table),
  ]);
  let table = FIRST_TABLE + slot.slot;
  const end = table + TABLES_TRIED;
  while (numbers.has(table) && table < end) table += 1;
  if (table === end)
    throw new CodedError(
      'network/no-table',
      `no routing table from ${FIRST_TABLE + slot.slot} to ${end} is free`,
    );

  const items: NetworkItem[] = [
    { kind: 'link-up', interface: slot.interface },
    // The dead end first and the ways out last: at no moment does the address lead into the main table.
    { kind: 'route', table, words: ['unreachable', 'default', 'metric', LAST_METRIC] },
    { kind: 'rule', from: sourceAddress, table, priority: table },
    { kind: 'address', interface: slot.interface, address: sourceAddress, prefix: 24 },
    { kind: 'route', table, words: [`${subnet}.0/24`, 'dev', slot.interface, 'src', sourceAddress] },
    {
      kind: 'route',
      table,
      words: ['default', 'via', slot.gateway, 'dev', slot.interface, 'src', sourceAddress],
    },
  ];
  return { sourceAddress, items };
}
