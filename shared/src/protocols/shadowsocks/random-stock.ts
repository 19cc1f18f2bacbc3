/**
 * Random bytes for salts, from a stock: asking node:crypto costs 2 µs, for 32 bytes as for 4,096, and every datagram
 * needs a salt. What was given out is forgotten. One stock for each thread.
 */
import { randomFillSync } from 'node:crypto';

const STOCK_BYTES = 4_096;

const stock = Buffer.alloc(STOCK_BYTES);
let used = STOCK_BYTES;

/** Fills `into` with random bytes that cannot be guessed. */
export function fillRandom(into: Buffer): void {
  if (into.length > STOCK_BYTES) {
    randomFillSync(into);
    return;
  }
  if (used + into.length > STOCK_BYTES) {
    randomFillSync(stock);
    used = 0;
  }
  const end = used + into.length;
  stock.copy(into, 0, used, end);
  stock.fill(0, used, end);
  used = end;
}
