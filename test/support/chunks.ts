/** A byte string cut in every way that TCP might cut it: what every parser test runs through. */

/** Every cut of `bytes` into two parts, and the cut into single bytes. */
export function* everySplit(bytes: Buffer): Generator<Buffer[]> {
  yield [bytes];
  for (let at = 1; at < bytes.length; at += 1) yield [bytes.subarray(0, at), bytes.subarray(at)];
  yield Array.from(bytes, byte => Buffer.from([byte]));
}
