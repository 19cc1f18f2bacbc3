/** Byte strings that are nearly right: a good one with a few changes, which gets deeper into a parser than noise. */
import fc from 'fast-check';

interface Change {
  /** Where, as a share of the whole. */
  at: number;
  kind: 'replace' | 'insert' | 'delete' | 'repeat';
  bytes: Buffer;
}

/** `whole` with up to four changes; `words` are what this protocol's attackers would put in. */
export function nearly(whole: Buffer, words: readonly string[] = []): fc.Arbitrary<Buffer> {
  const noise = fc.uint8Array({ minLength: 1, maxLength: 3 }).map(made => Buffer.from(made));
  const word = fc.constantFrom(...words, '\0').map(text => Buffer.from(text, 'latin1'));
  const change: fc.Arbitrary<Change> = fc.record({
    at: fc.double({ min: 0, max: 1, noNaN: true }),
    kind: fc.constantFrom('replace', 'insert', 'delete', 'repeat'),
    bytes: fc.oneof(noise, word),
  });
  return fc.array(change, { maxLength: 4 }).map(changes => changes.reduce(changed, whole));
}

function changed(whole: Buffer, { at, kind, bytes }: Change): Buffer {
  const start = Math.floor(at * whole.length);
  const [before, behind] = [whole.subarray(0, start), whole.subarray(start)];
  switch (kind) {
    case 'replace':
      return Buffer.concat([before, bytes, behind.subarray(bytes.length)]);
    case 'insert':
      return Buffer.concat([before, bytes, behind]);
    case 'delete':
      return Buffer.concat([before, behind.subarray(bytes.length)]);
    case 'repeat':
      return Buffer.concat([before, behind.subarray(0, 8 * bytes.length), behind]);
  }
}

/** `whole` in pieces. */
export const cuts: fc.Arbitrary<(whole: Buffer) => Buffer[]> = fc
  .array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 6 })
  .map(shares => (whole: Buffer) => {
    const inner = shares.map(share => Math.floor(share * whole.length)).sort((one, other) => one - other);
    const at = [0, ...inner, whole.length];
    return at.slice(1).map((end, nth) => whole.subarray(at[nth], end));
  });

export const singleBytes = (whole: Buffer): Buffer[] => Array.from(whole, byte => Buffer.from([byte]));
