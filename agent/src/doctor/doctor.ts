/**
 * `agent doctor`: looks at the box, its modems and the way through each of them, and says what is wrong, how bad it is
 * and what to do. Changes nothing. START HERE. A check is a function from the patient (patient.ts) to findings; one
 * that breaks or hangs is itself a finding, and never keeps the others from being made.
 */
import { messageOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import { checkAgent } from './check-agent';
import { checkClock } from './check-clock';
import { checkConflicts } from './check-conflicts';
import { checkDisk } from './check-disk';
import { checkDuplicates } from './check-duplicates';
import { checkKernel } from './check-kernel';
import { checkModems } from './check-modems';
import { checkPaths } from './check-paths';
import { checkUsb } from './check-usb';
import { type Finding, sayer } from './finding';
import type { Patient } from './patient';

export interface Check {
  name: string;
  /** What is looked at, for people. */
  title: string;
  run(patient: Patient): Promise<Finding[]>;
}

/** In the order in which they are told. */
export const CHECKS: readonly Check[] = [
  { name: 'agent', title: 'Agent', run: checkAgent },
  { name: 'modems', title: 'Modems on USB', run: checkModems },
  { name: 'conflicts', title: 'Other programs', run: checkConflicts },
  { name: 'duplicates', title: 'Addresses that repeat', run: checkDuplicates },
  { name: 'usb', title: 'USB ports and power', run: checkUsb },
  { name: 'kernel', title: 'Kernel and rights', run: checkKernel },
  { name: 'clock', title: 'Clock', run: checkClock },
  { name: 'disk', title: 'Disk', run: checkDisk },
  { name: 'paths', title: 'Ways through the modems', run: checkPaths },
];

/** Modems are asked beside each other; each question has a deadline of its own below this. */
const CHECK_DEADLINE_MS = 45_000;

export async function examine(patient: Patient, checks: readonly Check[] = CHECKS): Promise<Finding[]> {
  const all = await Promise.all(checks.map(check => examineOne(check, patient)));
  return all.flat();
}

async function examineOne({ name, title, run }: Check, patient: Patient): Promise<Finding[]> {
  try {
    return await withDeadline(run(patient), CHECK_DEADLINE_MS, title, patient.clock);
  } catch (error) {
    return [sayer(name).failure(`This could not be examined: ${messageOf(error)}`)];
  }
}
