/**
 * Installs missing peers from Debian's packages, where that may be: root, apt-get. Their services are neither started
 * nor enabled: nobody wants open proxies on a machine because a bench ran there once.
 */
import { execFileSync } from 'node:child_process';
import { existsSync, rmSync, writeFileSync } from 'node:fs';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { Peer } from './peers';
import { findProgram } from './programs';

/** Debian asks this program whether a service may be started; 101 is no. */
const POLICY_FILE = '/usr/sbin/policy-rc.d';

/** Tries to install them. Tells what it does, and why it could not; whoever calls looks what is there now. */
export function installPeers(missing: readonly Peer[], say: (line: string) => void): void {
  const names = missing.map(peer => peer.packageName);
  const byHand = `install them with: sudo apt-get install ${names.join(' ')}`;
  if (!findProgram('apt-get')) {
    say(`not here: ${names.join(', ')}; there is no apt-get to get them with`);
    return;
  }
  if (process.getuid?.() !== 0) {
    say(`not here: ${names.join(', ')}; ${byHand}`);
    return;
  }
  say(`installing ${names.join(', ')} (their services stay off)`);
  const ownPolicy = !existsSync(POLICY_FILE);
  if (ownPolicy) writeFileSync(POLICY_FILE, '#!/bin/sh\nexit 101\n', { mode: 0o755 });
  try {
    if (!aptInstall(names)) {
      apt(['update', '-q']);
      // One by one: a release without one of them still has the others.
      for (const name of names) if (!aptInstall([name])) say(`the package ${name} could not be installed`);
    }
  } catch (error) {
    say(`apt-get failed: ${messageOf(error).slice(0, 400)}`);
  } finally {
    if (ownPolicy) rmSync(POLICY_FILE);
  }
  if (!existsSync('/run/systemd/system')) return;
  for (const { unit } of missing)
    try {
      execFileSync('systemctl', ['disable', '--now', unit], { timeout: 30_000, stdio: 'ignore' });
    } catch {
      // No such unit: that is what is wanted.
    }
}

function aptInstall(names: string[]): boolean {
  try {
    apt(['install', '-y', '-q', '--no-install-recommends', ...names]);
    return true;
  } catch {
    // The lists may be old or empty; the caller updates them and tries again, and looks for itself what is there.
    return false;
  }
}

function apt(args: string[]): void {
  execFileSync('apt-get', args, {
    timeout: 300_000,
    // dpkg must not be stopped half-way.
    killSignal: 'SIGTERM',
    stdio: ['ignore', 'ignore', 'pipe'],
    env: { ...process.env, DEBIAN_FRONTEND: 'noninteractive' },
  });
}
