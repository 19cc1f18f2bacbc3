/** Other programs that want the same modems; found by modem-plane/discovery/conflicts.ts. */
import { join } from 'node:path';
import { findConflicts } from '../modem-plane/discovery/conflicts';
import { readText } from '../modem-plane/discovery/sysfs';
import type { Finding } from './finding';
import { sayer } from './finding';
import type { Patient } from './patient';

export async function checkConflicts({ modems, roots, config }: Patient): Promise<Finding[]> {
  const say = sayer('conflicts');
  const inputs = modems.flatMap(({ device, verdict }) =>
    verdict.kind === 'modem'
      ? [{ usbPath: device.path, vendorId: device.vendorId, ports: verdict.ports }]
      : [],
  );
  const agentPid = config === null ? null : await readText(join(config.dataDir, 'agent.pid'));
  const conflicts = await findConflicts(inputs, roots, agentPid === null ? process.pid : Number(agentPid));
  if (conflicts.length === 0) return [say.ok('No other program wants these modems.')];
  return conflicts.map(({ message, remedy }) => say.warning(`${message}.`, remedy));
}
