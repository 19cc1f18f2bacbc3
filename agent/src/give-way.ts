/**
 * Whoever does not carry bytes gives way to the threads that do, where the system knows priorities of threads (Linux: a
 * thread has its own, and `setpriority` takes its number, sched(7)). With more to do than there are cores, flows go first.
 * For a node: its control thread drives modems, and V8's helpers compile and collect for milliseconds at a time.
 * Threads and programs that a thread starts later are as it is.
 */
import { readdirSync } from 'node:fs';
import { setPriority } from 'node:os';
import { codeOf } from '@mastline/shared/base/coded-error';
import type { Log } from './observe/log';

/** Beside a thread of 0 it gets a quarter of a core that both want. */
const NICENESS = 5;

/** The threads that V8 and libuv made at the start: all but this one, as long as no worker was started. */
export function helperThreads(): number[] {
  // Elsewhere a priority is the whole process's.
  if (process.platform !== 'linux') return [];
  return readdirSync('/proc/self/task')
    .map(Number)
    .filter(thread => thread !== process.pid);
}

/** This thread and `helpers` give way from now on. */
export function giveWay(helpers: readonly number[], log: Log): void {
  if (process.platform !== 'linux') return;
  for (const thread of [process.pid, ...helpers])
    try {
      setPriority(thread, NICENESS);
    } catch (error) {
      // One that has ended needs no priority.
      if (codeOf(error) !== 'ERR_SYSTEM_ERROR') throw error;
      log.debug('a thread keeps its priority', { thread, error });
    }
}
