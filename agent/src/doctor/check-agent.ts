/** Whether the agent runs, whether it has its cloud, and what it says of its slots. */
import type { Finding } from './finding';
import { sayer } from './finding';
import type { Patient } from './patient';

const WELL = new Set(['connected', 'rotating']);
/** On their way, or waiting for something outside. */
const UNSETTLED = new Set(['probing', 'registering', 'recovering', 'absent']);

export async function checkAgent({ config, status }: Patient): Promise<Finding[]> {
  const say = sayer('agent');
  if (config === null)
    return [
      say.note(
        'No configuration was named, so the agent and its slots were not asked.',
        'Add --config FILE.',
      ),
    ];
  if (status === null)
    return [
      say.warning(
        `No agent runs on ${config.dataDir}, or it belongs to another user.`,
        'Start it: npm run agent -- run --config FILE. Run the doctor as the same user.',
      ),
    ];
  const findings = [say.ok(`Agent ${status.version} runs.`)];
  const { cloud } = status;
  if (cloud.phase === 'waiting')
    findings.push(
      say.warning(
        `The agent has no link to ${cloud.url}${cloud.problem === null ? '' : ` (${cloud.problem})`}. It serves on from its last configuration until the lease ends.`,
        'Check the box’s own way to the Internet, the proxy and the certificates named in the configuration.',
      ),
    );
  if (status.slots.length === 0)
    findings.push(
      say.warning(
        'The agent has no slots.',
        'Plug a modem in, and set "slots" to "discover" or list it there.',
      ),
    );
  for (const { slot, state, reason, exitAddress } of status.slots) {
    const what = `Slot ${slot} is ${state}${reason === '' ? '' : `: ${reason}`}`;
    if (WELL.has(state) && (exitAddress !== null || state === 'rotating'))
      findings.push(say.ok(`${what}${exitAddress === null ? '' : `, exit address ${exitAddress}`}.`));
    else if (WELL.has(state) || UNSETTLED.has(state)) findings.push(say.warning(`${what}.`));
    else findings.push(say.failure(`${what}.`));
  }
  return findings;
}
