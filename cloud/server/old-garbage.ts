/**
 * How far V8 lets the old generation grow before it collects it, set before anything is made. Imported first by main.ts, for
 * its effect only; it holds for all threads.
 *
 * By itself V8 waits until the old generation is up to four times of what lived in it, and a page that a peak has touched
 * stays with the process. What a greeting makes lives for as long as its statements run, which is longer than the young
 * generation keeps it: ten thousand of them left more garbage behind than nodes. Collecting at half as much again costs a
 * few hundredths of a core while they come, and next to nothing when they are there (figures: cloud/README.md).
 */
import { setFlagsFromString } from 'node:v8';

setFlagsFromString('--heap-growing-percent=50');
