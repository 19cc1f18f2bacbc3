/**
 * Ends TCP connections from IPv6 addresses that a slot has no more: the kernel would let them repeat themselves by
 * whatever link there is (it looks for a way, not for whose the address is), also after the agent and its leak guard are
 * gone. Those of IPv4 cannot, and datagrams are not repeated.
 */
import { messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../observe/log';
import { toolShell } from '../tool-shell';

const SS_DEADLINE_MS = 5000;

/** To be called when the addresses are gone from their interface. Never rejects: the leak guard holds them, too. */
export async function endOldSockets(addresses: readonly string[], log: Log): Promise<void> {
  for (const address of addresses.filter(one => one.includes(':')))
    try {
      const args = ['-H', '-K', '-6', '-t', 'state', 'connected', 'src', `[${address}]`];
      const end = await toolShell.run({ program: 'ss', args, deadlineMs: SS_DEADLINE_MS });
      if (end.exitCode !== 0) throw new Error(end.stderr.trim() || `exit code ${end.exitCode}`);
    } catch (error) {
      log.warn('connections from an address that is gone go on until they give up', {
        address,
        reason: messageOf(error),
      });
    }
}
