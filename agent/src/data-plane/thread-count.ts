/** How many threads carry bytes when the configuration says `auto`. Pure. */

/** A thread costs its own heap and buffers; below this much memory one thread is the better bargain. */
const SMALL_MACHINE_BYTES = 768 * 1024 * 1024;
/** Beyond it the kernel's work on the shared ports, not ours, is what is left to divide. */
const MAX_AUTO_THREADS = 8;

export function threadCount(
  setting: number | 'auto',
  machine: { parallelism: number; memoryBytes: number },
): number {
  if (setting !== 'auto') return setting;
  if (machine.memoryBytes < SMALL_MACHINE_BYTES) return 1;
  return Math.max(1, Math.min(machine.parallelism, MAX_AUTO_THREADS));
}
