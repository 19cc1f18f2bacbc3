/**
 * A process for the kill -9 test: commits one delta after the other to the spool in argv[2] and tells on stdout what
 * was confirmed (`c <n>`) and what was sealed (`s <record>`), each after the spool said so. Runs until it is killed.
 */
import { writeSync } from 'node:fs';
import { delta, openSpool } from './open-spool';

const folder = process.argv[2];
if (folder === undefined) throw new Error('usage: commit-loop.ts <folder>');
const { spool } = await openSpool(folder);
const say = (line: string) => writeSync(1, `${line}\n`);
let sealed = (await spool.position()).lastSequence;
say(`open ${sealed}`);
for (let n = 1; ; n += 1) {
  await spool.commit([delta({ upBytes: 1, downBytes: 0, slot: n % 3 })]);
  say(`c ${n}`);
  if (n % 4 !== 0) continue;
  for (const record of await spool.recordsAfter(sealed, 2)) {
    say(`s ${JSON.stringify(record)}`);
    sealed = record.sequence;
  }
}
