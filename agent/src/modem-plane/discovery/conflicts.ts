/**
 * Other programs that want the same modems: ModemManager, NetworkManager, and whoever holds a port. Found by what the
 * system says of each device, not by guesses; each with the remedy. Nothing is changed here.
 */
import { readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { codeOf } from '@mastline/shared/base/coded-error';
import type { ModemPort } from './assess';
import { namesIn, readText } from './sysfs';
import type { SystemRoots } from './system-roots';
import { deviceFolder } from './usb-tree';

export interface Conflict {
  kind: 'modem-manager' | 'network-manager' | 'port-in-use';
  usbPath: string;
  message: string;
  remedy: string;
}

export interface ConflictInput {
  usbPath: string;
  vendorId: string;
  ports: readonly ModemPort[];
}

/** Names as `/proc/<pid>/comm` has them: cut after 15 letters. */
const MODEM_MANAGER = 'ModemManager';
const NETWORK_MANAGER = 'NetworkManager';
const UDEV_RULES = '/etc/udev/rules.d/78-mastline.rules';
const RELOAD = 'udevadm control --reload && udevadm trigger';

/** `ownPid` is the agent's: its own open ports are no conflict. */
export async function findConflicts(
  modems: readonly ConflictInput[],
  roots: SystemRoots,
  ownPid: number = process.pid,
): Promise<Conflict[]> {
  const processes = await readProcesses(roots);
  const holders = await portHolders(modems, processes, { roots, ownPid });
  const running = (name: string) => processes.some(one => one.name === name);
  const found: Conflict[] = [];
  for (const modem of modems) {
    if (running(MODEM_MANAGER) && hasSharedPorts(modem) && !(await ignoredByModemManager(modem, roots)))
      found.push({
        kind: 'modem-manager',
        usbPath: modem.usbPath,
        message: `ModemManager runs and may take the modem on USB ${modem.usbPath}`,
        remedy: `Add to ${UDEV_RULES}: ACTION!="remove", SUBSYSTEM=="usb", ATTR{idVendor}=="${modem.vendorId}", ENV{ID_MM_DEVICE_IGNORE}="1" — then: ${RELOAD} && systemctl restart ModemManager. Or, if nothing else needs it: systemctl mask --now ModemManager`,
      });
    if (running(NETWORK_MANAGER))
      for (const port of modem.ports.filter(one => one.kind === 'net'))
        if (await managedByNetworkManager(port.name, roots))
          found.push({
            kind: 'network-manager',
            usbPath: modem.usbPath,
            message: `NetworkManager manages ${port.name} (USB ${modem.usbPath}) and may give it addresses and a default route`,
            remedy: `Add to ${UDEV_RULES}: SUBSYSTEM=="net", ENV{ID_VENDOR_ID}=="${modem.vendorId}", ENV{NM_UNMANAGED}="1" — then: ${RELOAD} && systemctl reload NetworkManager. For now: nmcli device set ${port.name} managed no`,
          });
  }
  for (const { usbPath, port, pid, name } of holders)
    found.push({
      kind: 'port-in-use',
      usbPath,
      message: `${name} (process ${pid}) holds ${port} of the modem on USB ${usbPath}`,
      remedy:
        name === MODEM_MANAGER
          ? 'See the conflict with ModemManager.'
          : `End that program (kill ${pid}) or keep it off ${port}.`,
    });
  return found;
}

/** ModemManager leaves plain Ethernet sticks alone. */
function hasSharedPorts(modem: ConflictInput): boolean {
  return modem.ports.some(port => port.kind !== 'net');
}

/** What udev has written down for the device, whatever rule said so. */
async function ignoredByModemManager(modem: ConflictInput, roots: SystemRoots): Promise<boolean> {
  const device = await readText(join(deviceFolder(roots, modem.usbPath), 'dev'));
  if (device === null) return false;
  const facts = await readText(join(roots.run, 'udev/data', `c${device}`));
  return facts !== null && /^E:ID_MM_DEVICE_IGNORE=1$/m.test(facts);
}

/** NetworkManager keeps a file for each device, named by the interface's index. */
async function managedByNetworkManager(name: string, roots: SystemRoots): Promise<boolean> {
  const index = await readText(join(roots.sysfs, 'class/net', name, 'ifindex'));
  if (index === null) return false;
  const state = await readText(join(roots.run, 'NetworkManager/devices', index));
  return state !== null && /^managed=(?:true|1)$/m.test(state);
}

interface RunningProcess {
  pid: number;
  name: string;
}

async function readProcesses(roots: SystemRoots): Promise<RunningProcess[]> {
  const pids = (await namesIn(roots.proc)).filter(name => /^\d+$/.test(name));
  const found: RunningProcess[] = [];
  for (const pid of pids) {
    const name = await readText(join(roots.proc, pid, 'comm'));
    if (name !== null) found.push({ pid: Number(pid), name });
  }
  return found;
}

/** Needs root to see other users' processes; what cannot be seen is not reported. */
async function portHolders(
  modems: readonly ConflictInput[],
  processes: readonly RunningProcess[],
  { roots, ownPid }: { roots: SystemRoots; ownPid: number },
) {
  const owner = new Map<string, string>();
  for (const modem of modems)
    for (const port of modem.ports)
      if (port.kind !== 'net') owner.set(join(roots.dev, port.name), modem.usbPath);
  const found: { usbPath: string; port: string; pid: number; name: string }[] = [];
  if (owner.size === 0) return found;
  for (const { pid, name } of processes) {
    if (pid === ownPid) continue;
    const folder = join(roots.proc, String(pid), 'fd');
    const seen = new Set<string>();
    for (const fd of await fdsOf(folder)) {
      const port = await targetOf(join(folder, fd));
      const usbPath = port === null ? undefined : owner.get(port);
      if (port === null || usbPath === undefined || seen.has(port)) continue;
      seen.add(port);
      found.push({ usbPath, port, pid, name });
    }
  }
  return found;
}

async function fdsOf(folder: string): Promise<string[]> {
  try {
    return await namesIn(folder);
  } catch (error) {
    if (isOthers(error)) return [];
    throw error;
  }
}

async function targetOf(link: string): Promise<string | null> {
  try {
    return await readlink(link);
  } catch (error) {
    if (isOthers(error) || ['ENOENT', 'ESRCH'].includes(codeOf(error) ?? '')) return null;
    throw error;
  }
}

function isOthers(error: unknown): boolean {
  return codeOf(error) === 'EACCES' || codeOf(error) === 'EPERM';
}
