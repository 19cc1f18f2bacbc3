/** Payload bytes as load.h has them: byte p of a direction is p % 251. */
export const BLOCK_BYTES: number = 256 * 1024;
export const COMMAND_BYTES = 9;
const PERIOD = 251;

const bytes = Buffer.alloc(BLOCK_BYTES + PERIOD);
for (let at = 0; at < bytes.length; at += 1) bytes[at] = at % PERIOD;

/** Payload for a direction that is at `at`; BLOCK_BYTES at most. It is shared: not to be written to. */
export function patternAt(at: number, count: number): Buffer {
  return bytes.subarray(at % PERIOD, (at % PERIOD) + count);
}

/** Whether the ends of a block are what they must be. */
export function patternHolds(block: Buffer, at: number): boolean {
  if (block.length === 0) return true;
  return block[0] === at % PERIOD && block.at(-1) === (at + block.length - 1) % PERIOD;
}
