/**
 * Starts a virtual network of the kind asked for, or of the best kind this machine allows, after removing what
 * crashed ones left behind. The kinds are `namespaces.ts` and `rootless.ts`; the program is `main.ts`.
 */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { withMachineLock } from '@mastline/agent/modem-plane/machine-lock';
import type { SlotConfig } from '@mastline/agent/modem-plane/slot-config';
import { systemClock } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';
import { startControl } from './control';
import { instances, isAlive, type Kind, releaseInstance, takeInstance, writeWhole } from './instance';
import { releaseForwarding } from './ip-forward';
import { namedInstances, removeNamespaces, startNamespaces } from './namespaces';
import { startRootless } from './rootless';
import { whyNoNamespaces } from './run-tool';
import { ModemSpec, type VirtualNetwork, type VirtualSlot } from './virtual-slot';

const ADDED = 'added-modems.json';
const STANDARD_MODEM = 'huawei/e3372h-153';

export interface VirtualNetworkOptions {
  kind: Kind | 'auto';
  /** HiLink sticks to begin with, in the first slots; those that were added before come beside them. */
  modems: number;
  stateDir: string;
  instance: number | undefined;
  registrationDelayMs: number;
  connectDelayMs: number;
  program: string;
  onFailure: (error: unknown) => void;
}

/** The line that the program prints when everything answers. */
export interface ReadyLine {
  ready: true;
  kind: Kind;
  /** Why it is that kind. */
  why: string;
  instance: number;
  origin: { url: string; address: string; port: number };
  /** Its IPv6 side, where the kernel has one. */
  origin6?: { url: string; address: string; port: number };
  dns: { address: string; port: number };
  echoUrls: string[];
  /** What `createModemPlane` takes. */
  slots: SlotConfig[];
  /** Unix socket of the knobs. */
  control: string;
}

/** Throws `simulator/no-namespaces` when that kind was asked for and cannot be had. */
export async function startVirtualNetwork(
  options: VirtualNetworkOptions,
): Promise<{ ready: ReadyLine; close(): Promise<void> }> {
  mkdirSync(options.stateDir, { recursive: true, mode: 0o700 });
  const { kind, why } = await chooseKind(options.kind);
  const record = await withMachineLock(systemClock, async () => {
    await sweep();
    const named = kind === 'namespaces' ? await namedInstances() : new Set<number>();
    return takeInstance({
      kind,
      stateDir: options.stateDir,
      wanted: options.instance,
      isFree: k => !named.has(k),
    });
  });
  const specs = modemsOf(options);
  const parts = { ...options, modems: specs, instance: record.instance };
  let network: VirtualNetwork | undefined;
  let control: { close(): Promise<void> } | undefined;
  const controlPath = join(options.stateDir, 'control.sock');
  const stateFile = join(options.stateDir, 'virtual-network.json');
  const close = async () => {
    await control?.close();
    await network?.close();
    releaseInstance(record.instance);
    rmSync(stateFile, { force: true });
  };
  try {
    network = await (kind === 'namespaces' ? startNamespaces(parts) : startRootless(parts));
    const made = network;
    const { origin, origin6, dns } = made.internet;
    const now = (): ReadyLine => ({
      ready: true,
      kind,
      why,
      instance: record.instance,
      origin,
      ...(origin6 ? { origin6 } : {}),
      dns,
      echoUrls: made.echoUrls,
      slots: made.slots
        .filter(one => one.spec.apart !== true)
        .map(one => ({
          ...one.config,
          echoUrls: [
            ...made.echoUrls,
            ...(origin6 && (one.spec.ipType ?? 'ipv4') !== 'ipv4' ? [`${origin6.url}/ip`] : []),
          ],
        })),
      control: controlPath,
    });
    const tell = () => writeWhole(stateFile, JSON.stringify(now()));
    control = await startControl(controlPath, made, () => {
      remember(options, made.slots);
      tell();
    });
    tell();
    return { ready: now(), close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** What was added by hand, for the next start. */
function remember({ stateDir, modems }: VirtualNetworkOptions, slots: readonly VirtualSlot[]): void {
  const added = slots.map(one => one.spec).filter(spec => spec.slot > modems);
  writeWhole(join(stateDir, ADDED), JSON.stringify(added));
}

/** The standard ones, and beside them what was added by hand. */
function modemsOf({ stateDir, modems }: VirtualNetworkOptions): ModemSpec[] {
  const standard = Array.from(
    { length: modems },
    (_, i): ModemSpec => ({
      slot: i + 1,
      name: null,
      profile: STANDARD_MODEM,
      driver: 'hilink',
      carrier: 'fair',
    }),
  );
  const file = join(stateDir, ADDED);
  if (!existsSync(file)) return standard;
  const added = parseOrExplain(z.array(ModemSpec), JSON.parse(readFileSync(file, 'utf8')), file);
  return [...standard, ...added.filter(spec => spec.slot > modems)];
}

async function chooseKind(wanted: Kind | 'auto'): Promise<{ kind: Kind; why: string }> {
  if (wanted === 'rootless') return { kind: 'rootless', why: 'asked for' };
  const obstacle = await whyNoNamespaces();
  if (obstacle === undefined)
    return {
      kind: 'namespaces',
      why: wanted === 'auto' ? 'root, iproute2 and nftables are here' : 'asked for',
    };
  if (wanted === 'auto') return { kind: 'rootless', why: obstacle };
  throw new CodedError('simulator/no-namespaces', `network namespaces cannot be used: ${obstacle}`, {
    userMessage: `Virtual modems of the kind "namespaces" cannot run here: ${obstacle}. Use --kind rootless, or auto.`,
  });
}

/** Removes the leftovers of every instance whose process is gone; gives their numbers. Call under the machine lock. */
export async function sweep(): Promise<number[]> {
  const alive = new Set<number>();
  const dead = new Map<number, Kind>();
  for (const record of instances())
    if (isAlive(record)) alive.add(record.instance);
    else dead.set(record.instance, record.kind);
  // Names without a file: somebody removed the file, or a start was killed before it wrote one.
  if ((await whyNoSweep()) === undefined)
    for (const k of await namedInstances()) if (!alive.has(k)) dead.set(k, 'namespaces');
  for (const [k, kind] of dead) {
    if (kind === 'namespaces') {
      await removeNamespaces(k);
      releaseForwarding(k);
    }
    releaseInstance(k);
  }
  return [...dead.keys()];
}

/** Only root can have made namespaces, and only with the tools. */
async function whyNoSweep(): Promise<string | undefined> {
  return process.getuid?.() === 0 ? whyNoNamespaces() : 'not root';
}
