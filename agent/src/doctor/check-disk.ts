/** Space where the agent keeps its data, and how worn an SD card or eMMC is, as far as it tells. */
import { realpath, stat, statfs } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { formatBytes } from '@mastline/shared/base/bytes';
import { codeOf } from '@mastline/shared/base/coded-error';
import { namesIn, readText } from '../modem-plane/discovery/sysfs';
import type { Finding } from './finding';
import { sayer } from './finding';
import type { Patient } from './patient';

/** The spool's reserve and a day of a busy node's usage. */
const GOOD_FREE_BYTES = 500 * 1024 * 1024;
const BAD_FREE_BYTES = 32 * 1024 * 1024;
/** JEDEC eMMC 5.1, DEVICE_LIFE_TIME_EST: tenths of its life, 11 is past it. */
const WORN_TENTHS = 8;
const PAST_IT = 11;

export async function checkDisk(patient: Patient): Promise<Finding[]> {
  const { config } = patient;
  const space = config === null ? [] : [await spaceIn(config.dataDir)];
  return [...space, ...(await wear(patient))];
}

async function spaceIn(dataDir: string): Promise<Finding> {
  const say = sayer('disk');
  const folder = await existing(dataDir);
  const { bavail, bsize, ffree, files } = await statfs(folder);
  const free = bavail * bsize;
  const told = `${formatBytes(free)} are free for ${dataDir}`;
  const remedy =
    'Free space, or move "dataDir". When the disk is full, usage waits in a reserve and then traffic waits, too.';
  if (files > 0 && ffree === 0)
    return say.failure(`No more files can be made for ${dataDir} (inodes are used up).`, remedy);
  if (free < BAD_FREE_BYTES) return say.failure(`Only ${told}.`, remedy);
  if (free < GOOD_FREE_BYTES) return say.warning(`Only ${told}.`, remedy);
  return say.ok(`${told}.`);
}

/** The folder itself, or the nearest above it that is there. */
async function existing(path: string): Promise<string> {
  try {
    await stat(path);
    return await realpath(path);
  } catch (error) {
    if (codeOf(error) !== 'ENOENT' || dirname(path) === path) throw error;
    return existing(dirname(path));
  }
}

/** SD cards tell nothing; eMMC tells its age; other disks are smartctl's. */
async function wear({ roots }: Patient): Promise<Finding[]> {
  const say = sayer('disk');
  const cards = (await namesIn(join(roots.sysfs, 'block'))).filter(name => /^mmcblk\d+$/.test(name));
  const findings: Finding[] = [];
  for (const name of cards) {
    const at = (file: string) => readText(join(roots.sysfs, 'block', name, 'device', file));
    const [kind, life, reserve] = [await at('type'), await at('life_time'), await at('pre_eol_info')];
    const tenths = (life ?? '')
      .split(/\s+/)
      .map(one => Number.parseInt(one, 16))
      .filter(one => one > 0);
    const age = Math.max(0, ...tenths);
    if (kind === 'SD' || age === 0) {
      findings.push(
        say.note(
          `${name} does not tell how worn it is${kind === 'SD' ? ' (SD cards do not)' : ''}.`,
          'On a busy node prefer an SSD or a card made for endurance; agent/README.md has what is written in a day.',
        ),
      );
      continue;
    }
    const told = `${name} has used up to ${age >= PAST_IT ? 'more than 100' : age * 10} % of its life`;
    const urgent = reserve !== null && Number.parseInt(reserve, 16) >= 3;
    if (age >= PAST_IT || urgent)
      findings.push(
        say.failure(
          `${told}${urgent ? ', and its reserve is nearly gone' : ''}.`,
          'Replace it now, and keep a copy of "dataDir".',
        ),
      );
    else if (age >= WORN_TENTHS) findings.push(say.warning(`${told}.`, 'Plan to replace it.'));
    else findings.push(say.ok(`${told}.`));
  }
  return findings;
}
