/**
 * What the checks look at: the box's file systems, its tools, and the agent that runs on it. All of it is handed in,
 * so that a tree of files can stand for a box. Nothing here changes anything.
 */
import { networkInterfaces } from 'node:os';
import { join } from 'node:path';
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import { type Clock, systemClock } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import type { Profile } from '@mastline/shared/profile/schema';
import { z } from 'zod';
import type { NodeConfig } from '../config';
import { type Assessment, assess } from '../modem-plane/discovery/assess';
import { type RunTool, runTool } from '../modem-plane/discovery/run-tool';
import { readText } from '../modem-plane/discovery/sysfs';
import { SYSTEM_ROOTS, type SystemRoots } from '../modem-plane/discovery/system-roots';
import { configurationsIn } from '../modem-plane/discovery/usb-descriptors';
import { readDescriptors, readUsbTree, type UsbDevice } from '../modem-plane/discovery/usb-tree';
import { askStatus } from '../observe/status-page';

const AgentStatus = z.looseObject({
  version: z.string(),
  clockOffsetMs: z.number().nullable(),
  cloud: z.looseObject({
    url: z.string(),
    phase: z.string(),
    problem: z.string().nullable().default(null),
  }),
  slots: z.array(
    z.looseObject({
      slot: z.int(),
      usbPath: z.string(),
      interface: z.string().nullable(),
      sourceAddress: z.string().nullable(),
      state: z.string(),
      reason: z.string(),
      exitAddress: z.string().nullable(),
      virtual: z.boolean(),
    }),
  ),
  /** How flows leave through each slot. */
  ways: z
    .array(
      z.looseObject({ slot: z.int(), sourceAddress: z.string().nullable(), dnsServers: z.array(z.string()) }),
    )
    .default([]),
});
export type AgentStatus = z.infer<typeof AgentStatus>;

/** A USB device with what it is to us. */
export interface Seen {
  device: UsbDevice;
  verdict: Exclude<Assessment, { kind: 'not-a-modem' }>;
}

export interface Patient {
  roots: SystemRoots;
  /** Where the kernel's modules are: `/lib/modules/6.6.31`; null when not known. */
  modulesDir: string | null;
  profiles: readonly Profile[];
  /** Null when no configuration was named. */
  config: NodeConfig | null;
  clock: Clock;
  runTool: RunTool;
  /** `os.networkInterfaces` */
  interfaces: typeof networkInterfaces;
  /** The agent's own word; null when none runs. */
  status: AgentStatus | null;
  devices: readonly UsbDevice[];
  modems: readonly Seen[];
}

export interface PatientOptions {
  config: NodeConfig | null;
  roots?: SystemRoots;
  modulesDir?: string | null;
  clock?: Clock;
  runTool?: RunTool;
  interfaces?: typeof networkInterfaces;
  profiles?: readonly Profile[];
}

/** Reads what every check needs. */
export async function meetPatient(options: PatientOptions): Promise<Patient> {
  const { config, roots = SYSTEM_ROOTS } = options;
  const profiles = options.profiles ?? loadCatalogue();
  const devices = await readUsbTree(roots);
  const modems: Seen[] = [];
  for (const device of devices) {
    const descriptors = await readDescriptors(roots, device.path);
    const configurations = descriptors === null ? null : configurationsIn(descriptors);
    const verdict = assess({ device, profiles, configurations, identity: null });
    if (verdict.kind !== 'not-a-modem') modems.push({ device, verdict });
  }
  return {
    config,
    roots,
    profiles,
    devices,
    modems,
    modulesDir: options.modulesDir === undefined ? await modulesDirOf(roots) : options.modulesDir,
    clock: options.clock ?? systemClock,
    runTool: options.runTool ?? runTool,
    interfaces: options.interfaces ?? networkInterfaces,
    status: config === null ? null : await statusOf(config.dataDir),
  };
}

async function modulesDirOf(roots: SystemRoots): Promise<string | null> {
  const release = await readText(join(roots.proc, 'sys/kernel/osrelease'));
  return release === null ? null : join('/lib/modules', release);
}

async function statusOf(dataDir: string): Promise<AgentStatus | null> {
  try {
    return parseOrExplain(AgentStatus, await askStatus(dataDir), "the agent's status", 'doctor/status');
  } catch (error) {
    if (codeOf(error) === 'status/no-agent') return null;
    throw error;
  }
}
