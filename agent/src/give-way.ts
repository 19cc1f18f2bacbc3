/**
 * The calling thread gives way to the others of this process, where the system knows priorities of threads (Linux: a
 * thread has its own, and `setpriority` of 0 is the caller's, sched(7)). For the control thread of a node: with more to
 * do than there are cores, the threads that carry bytes go first. Threads and programs that it starts later are as it is.
 */
import { setPriority } from 'node:os';
import type { Log } from './observe/log';

/** Beside a thread of 0 it gets a quarter of a core that both want. */
const NICENESS = 5;

export function giveWay(log: Log): void {
  // Elsewhere it would be the whole process.
  if (process.platform !== 'linux') return;
  try {
    setPriority(0, NICENESS);
  } catch (error) {
    log.debug('the control thread keeps its priority', { error });
  }
}
