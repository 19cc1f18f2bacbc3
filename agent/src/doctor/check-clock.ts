/** The box's clock against the cloud's: by the running agent's own comparison, else by the Date of an HTTP answer. */

import { messageOf } from '@mastline/shared/base/coded-error';
import { boundRequest } from '../modem-plane/bound-request';
import type { Finding } from './finding';
import { sayer } from './finding';
import type { Patient } from './patient';

const ASK_DEADLINE_MS = 8000;
const MAX_BYTES = 64 * 1024;
/** The Date header has whole seconds. */
const GOOD_MS = 3000;
/** Past this certificates and signatures of others may be refused. */
const BAD_MS = 5 * 60_000;
const REMEDY = 'Let the box keep time: timedatectl set-ntp true. A Raspberry Pi has no battery clock.';

export async function checkClock(patient: Patient): Promise<Finding[]> {
  const say = sayer('clock');
  const { status, config, clock } = patient;
  if (status?.clockOffsetMs != null) return [judge(status.clockOffsetMs, 'the cloud')];
  if (config === null)
    return [
      say.note('The clock was compared with nothing: no configuration names a cloud.', 'Add --config FILE.'),
    ];
  if (config.cloud.proxy !== undefined)
    return [
      say.note(
        'The clock was not compared: the cloud is behind a proxy, and no agent runs.',
        'Start the agent.',
      ),
    ];
  const asked = clock.now();
  try {
    const { headers } = await boundRequest({
      url: config.cloud.url,
      localAddress: null,
      dnsServers: [],
      deadlineMs: ASK_DEADLINE_MS,
      maxBytes: MAX_BYTES,
      clock,
    });
    const told = Date.parse(headers.date ?? '');
    if (Number.isNaN(told)) return [say.note(`${config.cloud.url} does not tell the time.`)];
    return [judge(told + 500 - (asked + clock.now()) / 2, config.cloud.url)];
  } catch (error) {
    return [
      say.warning(
        `The time could not be asked of ${config.cloud.url}: ${messageOf(error)}.`,
        'Check the box’s own way to the Internet.',
      ),
    ];
  }
}

/** `behindMs`: how far the box is behind. */
function judge(behindMs: number, of: string): Finding {
  const say = sayer('clock');
  const off = Math.abs(behindMs);
  const told = `The clock is ${(off / 1000).toFixed(1)} s ${behindMs >= 0 ? 'behind' : 'ahead of'} that of ${of}`;
  if (off <= GOOD_MS) return say.ok(`${told}.`);
  if (off <= BAD_MS)
    return say.warning(`${told}. Usage is counted by the cloud’s time all the same.`, REMEDY);
  return say.failure(`${told}: certificates and log-ins of others may be refused.`, REMEDY);
}
