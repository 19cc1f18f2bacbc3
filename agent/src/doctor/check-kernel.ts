/** What the kernel and the agent's rights allow: network changes, modules for modems, open files, filters. */
import { join } from 'node:path';
import { readText } from '../modem-plane/discovery/sysfs';
import { canChangeNetwork } from '../modem-plane/slot-network';
import type { Finding } from './finding';
import { sayer } from './finding';
import type { Patient } from './patient';

const TOOL_DEADLINE_MS = 5000;
/** A flow has two sockets; below this a busy endpoint runs out. */
const MIN_OPEN_FILES = 4096;
/** Kernel module → what it is for. */
const MODULES: Record<string, string> = {
  cdc_ether: 'HiLink sticks and modules in ECM mode',
  rndis_host: 'sticks and modules in RNDIS mode',
  option: 'the serial ports of modems',
  cdc_mbim: 'modems in MBIM mode',
  huawei_cdc_ncm: 'Huawei sticks in NCM mode',
};

export async function checkKernel(patient: Patient): Promise<Finding[]> {
  return [
    rights(),
    await routing(patient),
    ...(await modules(patient)),
    await openFiles(patient),
    ...(await filters(patient)),
  ];
}

function rights(): Finding {
  const say = sayer('kernel');
  return canChangeNetwork()
    ? say.ok('This user may set addresses and routes up (CAP_NET_ADMIN).')
    : say.warning(
        'This user may not set addresses and routes up. Then slots use the addresses that exist, and sticks of one kind cannot be told apart.',
        'Run agent and doctor as root, or give the service AmbientCapabilities=CAP_NET_ADMIN.',
      );
}

async function routing({ runTool }: Patient): Promise<Finding> {
  const say = sayer('kernel');
  try {
    await runTool('ip', ['-N', '-j', '-4', 'rule', 'show'], TOOL_DEADLINE_MS);
    return say.ok('Routing rules by source address work ("ip rule").');
  } catch (error) {
    const said = error instanceof Error ? error.message : String(error);
    return say.failure(
      `Routing rules cannot be read: ${said}`,
      /not installed/.test(said)
        ? 'apt-get install -y iproute2'
        : 'The kernel needs CONFIG_IP_MULTIPLE_TABLES; in a container, give it CAP_NET_ADMIN.',
    );
  }
}

/** Loaded, built in, or there to be loaded. */
async function modules({ roots, modulesDir, modems }: Patient): Promise<Finding[]> {
  const say = sayer('kernel');
  const lists =
    modulesDir === null
      ? []
      : await Promise.all(['modules.builtin', 'modules.dep'].map(name => readText(join(modulesDir, name))));
  const known = lists.filter(one => one !== null).join('\n');
  const missing: string[] = [];
  for (const name of Object.keys(MODULES)) {
    const loaded =
      (await readText(join(roots.sysfs, 'module', name, 'refcnt'))) ??
      (await readText(join(roots.sysfs, 'module', name, 'uevent')));
    const listed = new RegExp(`/${name.replaceAll('_', '[-_]')}\\.ko`, 'm').test(known);
    if (loaded === null && !listed) missing.push(name);
  }
  if (missing.length === 0) return [say.ok('The kernel has the modules that modems need.')];
  const list = missing.map(name => `${name} (${MODULES[name]})`).join(', ');
  const remedy =
    'Install the kernel’s extra modules (Debian, Ubuntu: linux-modules-extra-$(uname -r)), or use the distribution’s own kernel.';
  // Without a modem it is no fault of anything yet; with one it may be why it is not seen.
  return [
    modems.length > 0
      ? say.warning(`The kernel lacks modules: ${list}.`, remedy)
      : say.note(
          `The kernel lacks modules: ${list}. Modems on USB that need them would not be seen.`,
          remedy,
        ),
  ];
}

async function openFiles({ roots }: Patient): Promise<Finding> {
  const say = sayer('kernel');
  const limits = await readText(join(roots.proc, 'self/limits'));
  const soft = /^Max open files\s+(\S+)/m.exec(limits ?? '')?.[1];
  if (soft === undefined) return say.note('The limit of open files is not known.');
  if (soft === 'unlimited' || Number(soft) >= MIN_OPEN_FILES)
    return say.ok(`${soft} files may be open at once.`);
  return say.warning(
    `Only ${soft} files may be open at once: about ${Math.floor(Number(soft) / 2)} flows.`,
    'Set LimitNOFILE=65536 in the service, or "ulimit -n 65536" before a start by hand.',
  );
}

/** The agent works with every setting (tried: 0, 1 and 2); strict on a modem is told, because it hides replies of others. */
async function filters({ roots, status, modems }: Patient): Promise<Finding[]> {
  const names = new Set([
    ...modems.flatMap(({ device }) => device.interfaces.flatMap(one => one.nets)),
    ...(status?.slots.flatMap(slot => slot.interface ?? []) ?? []),
  ]);
  const read = async (name: string) =>
    Number(await readText(join(roots.proc, 'sys/net/ipv4/conf', name, 'rp_filter')));
  const all = await read('all');
  const strict: string[] = [];
  for (const name of names) if (Math.max(all, await read(name)) === 1) strict.push(name);
  return strict.length === 0
    ? []
    : [
        sayer('kernel').note(
          `Strict reverse-path filtering (rp_filter 1) is on for ${strict.join(', ')}. Slots work with it; programs that route by other rules may not.`,
          'To loosen it: sysctl -w net.ipv4.conf.all.rp_filter=2',
        ),
      ];
}
