/**
 * Loaded into a program before its own code (`node --import`, also in its threads): its wall clock is off by the
 * milliseconds in the file that CHAOS_CLOCK names, read again ten times a second. The monotonic clock stays true, as it
 * does when somebody sets the time of a machine.
 */
import { readFileSync } from 'node:fs';

const file = process.env.CHAOS_CLOCK;
const trueNow = Date.now;
let offsetMs = 0;

function look() {
  if (!file) return;
  const read = Number(readFileSync(file, 'utf8').trim());
  if (Number.isFinite(read)) offsetMs = read;
}

look();
setInterval(look, 100).unref();
Date.now = () => trueNow.call(Date) + offsetMs;
const TrueDate = Date;
globalThis.Date = class extends TrueDate {
  constructor(...given) {
    if (given.length === 0) super(TrueDate.now());
    else super(...given);
  }
};
