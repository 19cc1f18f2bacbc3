/**
 * A process to be traced: commits, seals and acknowledges in the spool of the folder in argv[2], and tells on stdout
 * what was confirmed (`c <bytes in all>`, `s <record>`, `a <mark>`), each after the spool said so. Ends without closing.
 */
import { writeSync } from 'node:fs';
import { delta, openSpool } from './open-spool';

const COMMITS = 90;
const folder = process.argv[2];
if (folder === undefined) throw new Error('usage: traced-commits.ts <folder>');
const { spool } = await openSpool(folder);
const say = (line: string) => writeSync(1, `${line}\n`);
let bytes = 0;
let sealed = 0;
say('open');
for (let n = 1; n <= COMMITS; n += 1) {
  // Enough pages that the journal is checkpointed and begun again within the run.
  const deltas = Array.from({ length: 1 + (n % 3) * 120 }, (_, slot) =>
    delta({ upBytes: 1, downBytes: 0, slot, credentialId: `c${n % 7}` }),
  );
  await spool.commit(deltas);
  bytes += deltas.length;
  say(`c ${bytes}`);
  if (n % 5 === 0)
    for (const record of await spool.recordsAfter(sealed, 50)) {
      say(`s ${JSON.stringify(record)}`);
      sealed = record.sequence;
    }
  if (n % 15 === 0) {
    await spool.acknowledge(sealed - 20);
    say(`a ${sealed - 20}`);
  }
}
process.exit(0);
