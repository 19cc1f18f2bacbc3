/**
 * Arithmetic in GCM's field of 2^128 elements (NIST SP 800-38D section 6.3). An element is four big-endian words of
 * its block. No branch and no table index depends on a value. Used by gcm-lengths.ts and gcm-payloads.ts.
 */

export const BLOCK_BYTES = 16;

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

/** `powers` of an element from x^`first` on. */
export interface Powers {
  readonly powers: Uint32Array;
  readonly first: number;
}

/**
 * Adds to `sum` what the highest `count` of 32 `bits` make of those powers: a multiplication by an element that can
 * have no others, for a fraction of the time.
 */
export function addProduct(sum: Uint32Array, bits: number, count: number, { powers, first }: Powers): void {
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

/** Multiplies `value` in place by whose 128 `powers` these are. */
export function multiplyInto(value: Uint32Array, powers: Uint32Array): void {
  let [a, b, c, d] = [0, 0, 0, 0];
  let at = 0;
  for (let word = 0; word < 4; word += 1) {
    let bits = (value[word] ?? 0) | 0;
    for (let bit = 0; bit < 32; bit += 1) {
      const mask = bits >> 31;
      a ^= (powers[at] ?? 0) & mask;
      b ^= (powers[at + 1] ?? 0) & mask;
      c ^= (powers[at + 2] ?? 0) & mask;
      d ^= (powers[at + 3] ?? 0) & mask;
      bits <<= 1;
      at += 4;
    }
  }
  value[0] = a;
  value[1] = b;
  value[2] = c;
  value[3] = d;
}
