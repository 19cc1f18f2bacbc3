/**
 * Addresses that repeat: sticks with the same MAC (all HiLink sticks have it), and networks of the host that are the
 * same as a modem's own.
 */
import { BlockList } from 'node:net';
import { join } from 'node:path';
import { readText } from '../modem-plane/discovery/sysfs';
import { HILINK_ADDRESS } from '../modem-plane/slot-config';
import { canChangeNetwork } from '../modem-plane/slot-network';
import type { Finding } from './finding';
import { sayer } from './finding';
import type { Patient } from './patient';

export async function checkDuplicates(patient: Patient): Promise<Finding[]> {
  const findings = [...(await sameMacs(patient)), ...sameSubnets(patient)];
  return findings.length === 0 ? [sayer('duplicates').ok('No MAC and no network is there twice.')] : findings;
}

async function sameMacs({ modems, roots }: Patient): Promise<Finding[]> {
  const say = sayer('duplicates');
  const byMac = new Map<string, string[]>();
  for (const { device } of modems)
    for (const name of device.interfaces.flatMap(one => one.nets)) {
      const mac = await readText(join(roots.sysfs, 'class/net', name, 'address'));
      // Links without Ethernet have none, or zeros.
      if (mac !== null && /[1-9a-f]/.test(mac)) byMac.set(mac, [...(byMac.get(mac) ?? []), name]);
    }
  return [...byMac].flatMap(([mac, names]) => {
    if (names.length < 2) return [];
    const message = `${names.join(' and ')} have the same MAC ${mac}, as sticks of one kind do.`;
    return [
      canChangeNetwork()
        ? say.note(`${message} The agent keeps them apart by addresses and routing tables.`)
        : say.failure(
            message,
            'Without CAP_NET_ADMIN the agent cannot keep them apart: run it as root, or give its service AmbientCapabilities=CAP_NET_ADMIN.',
          ),
    ];
  });
}

/** A network of the host's own that is the modems' as well: the agent's routes win only where it set them. */
function sameSubnets({ modems, profiles, interfaces, status }: Patient): Finding[] {
  const say = sayer('duplicates');
  const ofModems = new Set([
    ...modems.flatMap(({ device }) => device.interfaces.flatMap(one => one.nets)),
    ...(status?.slots.flatMap(slot => slot.interface ?? []) ?? []),
  ]);
  const routers = new Set([HILINK_ADDRESS, ...profiles.flatMap(one => one.connect.lanAddress ?? [])]);
  const findings: Finding[] = [];
  for (const [name, addresses] of Object.entries(interfaces())) {
    if (ofModems.has(name)) continue;
    for (const { family, address, cidr } of addresses ?? []) {
      if (family !== 'IPv4' || cidr === null) continue;
      const network = new BlockList();
      network.addSubnet(address, Number(cidr.split('/')[1]), 'ipv4');
      const router = [...routers].find(one => network.check(one, 'ipv4'));
      if (router !== undefined)
        findings.push(
          say.warning(
            `${name} is in the network of ${router} (${cidr}), which modems use for themselves.`,
            'Give the host’s own network another range. The agent’s slots keep to their routing tables; everything else on this box may end up at the wrong one.',
          ),
        );
    }
  }
  return findings;
}
