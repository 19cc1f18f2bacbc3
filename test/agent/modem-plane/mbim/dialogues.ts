/** The recorded mbimcli dialogues, as bytes. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Dialogue {
  action: string;
  frames: { from: 'host' | 'device'; bytes: Buffer }[];
}

const file = JSON.parse(readFileSync(join(import.meta.dirname, 'mbimcli-dialogues.json'), 'utf8')) as {
  dialogues: { action: string; frames: { from: 'host' | 'device'; hex: string }[] }[];
};

export const dialogues: Dialogue[] = file.dialogues.map(({ action, frames }) => ({
  action,
  frames: frames.map(({ from, hex }) => ({ from, bytes: Buffer.from(hex, 'hex') })),
}));

export function dialogue(action: string): Dialogue {
  const found = dialogues.find(one => one.action === action || one.action.startsWith(`${action}=`));
  if (found === undefined) throw new Error(`no recorded dialogue "${action}"`);
  return found;
}
