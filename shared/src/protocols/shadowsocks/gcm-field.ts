/**
 * Arithmetic in GCM's field of 2^128 elements (NIST SP 800-38D section 6.3). An element is four big-endian words of
 * its block. No branch and no table index depends on a value. Used by gcm-lengths.ts and gcm-payloads.ts.
 */

export const BLOCK_BYTES = 16;
export const WORD_BITS = 32;

export function wordsOf(block: Buffer): Uint32Array {
  return Uint32Array.of(
    block.readUInt32BE(0),
    block.readUInt32BE(4),
    block.readUInt32BE(8),
    block.readUInt32BE(12),
  );
}

/** `value`·x^i for each i below `count`, four words each: what a multiplication by `value` adds up. */
export function powersOf(value: Uint32Array, count: number): Uint32Array {
  const powers = new Uint32Array(count * 4);
  powers.set(value);
  for (let at = 4; at < powers.length; at += 4) {
    const [a, b, c, d] = [powers[at - 4] ?? 0, powers[at - 3] ?? 0, powers[at - 2] ?? 0, powers[at - 1] ?? 0];
    // Multiplication by x is a shift to the right, since the first bit of an element is its lowest power.
    powers[at] = (a >>> 1) ^ (-(d & 1) & 0xe1000000);
    powers[at + 1] = (b >>> 1) | (a << 31);
    powers[at + 2] = (c >>> 1) | (b << 31);
    powers[at + 3] = (d >>> 1) | (c << 31);
  }
  return powers;
}

/** `value` squared, by whose 128 `powers` these are. */
export function squareOf(value: Uint32Array, powers: Uint32Array): Uint32Array {
  const square = Uint32Array.from(value);
  multiplyInto(square, powers);
  return square;
}

/** Multiplies `value` in place by whose 128 `powers` these are. */
export function multiplyInto(value: Uint32Array, powers: Uint32Array): void {
  const [a = 0, b = 0, c = 0, d = 0] = value;
  value.fill(0);
  addProduct(value, a, WORD_BITS, powers, 0);
  addProduct(value, b, WORD_BITS, powers, WORD_BITS);
  addProduct(value, c, WORD_BITS, powers, 2 * WORD_BITS);
  addProduct(value, d, WORD_BITS, powers, 3 * WORD_BITS);
}

/**
 * Adds to `sum` what the highest `count` of 32 `bits` make of `powers` from x^`first` on: a multiplication by an
 * element that can have no other bits, for a fraction of the time.
 */
export function addProduct(
  sum: Uint32Array,
  bits: number,
  count: number,
  powers: Uint32Array,
  first: number,
): void {
  let [a, b, c, d] = [0, 0, 0, 0];
  let left = bits | 0;
  let at = first * 4;
  for (let bit = 0; bit < count; bit += 1) {
    const mask = left >> 31;
    a ^= (powers[at] ?? 0) & mask;
    b ^= (powers[at + 1] ?? 0) & mask;
    c ^= (powers[at + 2] ?? 0) & mask;
    d ^= (powers[at + 3] ?? 0) & mask;
    left <<= 1;
    at += 4;
  }
  sum[0] = (sum[0] ?? 0) ^ a;
  sum[1] = (sum[1] ?? 0) ^ b;
  sum[2] = (sum[2] ?? 0) ^ c;
  sum[3] = (sum[3] ?? 0) ^ d;
}
