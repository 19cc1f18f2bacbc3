/**
 * The machine's forwarding switch, which the virtual networks need for traffic to the real Internet: remembered by
 * the first that needs it, put back by the last. Call under the machine lock.
 */
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { instances, instancesDir, isAlive, writeWhole } from './instance';

const SWITCH = '/proc/sys/net/ipv4/ip_forward';

const noteFile = () => join(instancesDir(), 'ip-forward-before');

/** Switches forwarding on and remembers what it was. */
export function acquireForwarding(): void {
  if (!existsSync(noteFile())) writeWhole(noteFile(), readFileSync(SWITCH, 'utf8').trim());
  writeFileSync(SWITCH, '1');
}

/** Puts the switch back unless another living virtual network needs it. */
export function releaseForwarding(instance: number): void {
  if (instances().some(one => one.instance !== instance && one.kind === 'namespaces' && isAlive(one))) return;
  if (!existsSync(noteFile())) return;
  writeFileSync(SWITCH, readFileSync(noteFile(), 'utf8').trim());
  rmSync(noteFile(), { force: true });
}
