/** What the figures were measured on: without it a table of times says nothing. */
import { readFileSync } from 'node:fs';
import { cpus, loadavg, release, totalmem } from 'node:os';
import { codeOf } from '@mastline/shared/base/coded-error';

export interface Machine {
  cpu: string;
  cores: number;
  memoryMegabytes: number;
  system: string;
  kernel: string;
  node: string;
  governor: string | null;
  fileLimit: number;
  /** Processes that wanted to run in the last minute, before the bench began. */
  loadBefore: number;
}

export function describeMachine(fileLimit: number): Machine {
  const system = /^PRETTY_NAME="(.*)"$/m.exec(readIfThere('/etc/os-release') ?? '')?.[1];
  const board = readIfThere('/proc/device-tree/model')?.replaceAll('\0', '');
  const cpu = cpus()[0]?.model.trim() || process.arch;
  return {
    cpu: board ? `${board}, ${cpu}` : cpu,
    cores: cpus().length,
    memoryMegabytes: Math.round(totalmem() / 1e6),
    system: system ?? process.platform,
    kernel: release(),
    node: process.version,
    governor: readIfThere('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor')?.trim() ?? null,
    fileLimit,
    loadBefore: loadavg()[0] ?? 0,
  };
}

export function machineLines(machine: Machine): string[] {
  const lines = [
    `${machine.cpu}, ${machine.cores} cores, ${machine.memoryMegabytes} MB; ${machine.system}, Linux ${machine.kernel}, Node ${machine.node}` +
      (machine.governor ? `, governor ${machine.governor}` : ''),
  ];
  if (machine.loadBefore > machine.cores / 2)
    lines.push(
      `WARNING: the machine was busy before this began (load ${machine.loadBefore.toFixed(1)} on ${machine.cores} cores): do not rely on these figures`,
    );
  return lines;
}

function readIfThere(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return null;
    throw error;
  }
}
