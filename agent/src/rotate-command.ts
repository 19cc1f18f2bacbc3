/**
 * The command `rotate`, both ends: the running agent's action on its status socket, the question to it, and the answer
 * in words. What a rotation is stands in modem-plane/rotation.ts.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { RotationRecord } from '@mastline/shared/domain/rotation';
import { askAction, type LocalActions } from './observe/status-page';
import type { Rotations } from './ports';

/** A rotation's own deadlines together (modem-plane/rotation.ts), and some. */
const ANSWER_MS = 9 * 60_000;

/** `POST /rotate?slot=N`. */
export function rotateAction(rotations: Pick<Rotations, 'rotate'>): NonNullable<LocalActions[string]> {
  return async query => {
    const slot = query.get('slot') ?? '';
    if (!/^\d{1,5}$/.test(slot))
      throw new CodedError('rotate/no-slot', `slot is "${slot}"`, {
        userMessage: 'Say which slot: its number, as agent status shows it.',
      });
    return rotations.rotate(Number(slot), { askedFor: 'local' });
  };
}

/** What came of it. Throws `status/no-agent`, or what the agent has against it. */
export async function askRotation(dataDir: string, slot: number): Promise<RotationRecord> {
  const query = { slot: String(slot) };
  const answer = await askAction(dataDir, { name: 'rotate', query, deadlineMs: ANSWER_MS });
  return parseOrExplain(RotationRecord, answer, 'The agent\u2019s answer', 'rotate/bad-answer');
}

/** For a terminal. */
export function inWords(record: RotationRecord): string {
  const { slot, outcome, method, oldAddress, newAddress, attempts, reason } = record;
  if (outcome === 'unavailable') return `Slot ${slot}: not rotated, nothing was tried: ${reason}.`;
  const took = `${(record.tookMs / 1000).toFixed(1)} s`;
  const how = method === null ? '' : ` by ${method}`;
  const tries = `${attempts} ${attempts === 1 ? 'attempt' : 'attempts'}`;
  const addresses = `  address before  ${oldAddress ?? 'not known'}\n  address now     ${newAddress ?? 'not known'}`;
  const title = {
    rotated: `Slot ${slot}: rotated${how} in ${took}, ${tries}`,
    collision: `Slot ${slot}: collision after ${took}, ${tries}, the last${how}: ${reason}`,
    failed: `Slot ${slot}: failed after ${took}, ${tries}${how === '' ? '' : `, the last${how}`}: ${reason}${
      record.connected ? '; the modem is connected' : '; the modem is NOT connected'
    }`,
  }[outcome];
  return `${title}\n${addresses}`;
}
