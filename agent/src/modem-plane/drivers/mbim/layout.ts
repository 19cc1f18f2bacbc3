/**
 * The value encoding inside an information buffer (USB-IF MBIM 1.0, part 10.3): a fixed part, then a variable part
 * that the fixed one points into by offset and size, relative to the start of the structure. Pure. Every offset, size
 * and count is checked against the structure before it is followed; a reader throws `mbim/malformed` and nothing else.
 */
import { malformed } from './malformed';
import { UUID_BYTES, uuidBytes, uuidText } from './uuid';

/** Longest string of MBIM 1.0 is a firmware description of 30 letters; USSD and vendors go beyond. */
const MAX_STRING_BYTES = 4096;
/** Longest list of MBIM 1.0 is a message store. */
const MAX_ELEMENTS = 1024;

export class InfoReader {
  readonly #info: Buffer;
  readonly #what: string;
  #at = 0;
  /** Variable bytes followed so far: in an honest structure they lie side by side. */
  #followed = 0;

  /** `what` names the structure in refusals. */
  constructor(info: Buffer, what: string) {
    this.#info = info;
    this.#what = what;
  }

  get left(): number {
    return this.#info.length - this.#at;
  }

  u16(field: string): number {
    return this.#fixed(2, field).readUInt16LE(0);
  }

  u32(field: string): number {
    return this.#fixed(4, field).readUInt32LE(0);
  }

  i32(field: string): number {
    return this.#fixed(4, field).readInt32LE(0);
  }

  /** Refuses a count that a number cannot hold exactly. */
  u64(field: string): number {
    const value = this.#fixed(8, field).readBigUInt64LE(0);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw this.#wrong(field, `${value} is beyond 2^53`);
    return Number(value);
  }

  uuid(field: string): string {
    return uuidText(this.#fixed(UUID_BYTES, field));
  }

  /** UTF-16LE behind an offset and size pair; empty for a pair of zeros. */
  string(field: string): string {
    const bytes = this.bytes(field);
    if (bytes.length % 2 !== 0 || bytes.length > MAX_STRING_BYTES)
      throw this.#wrong(field, `a string of ${bytes.length} bytes`);
    // Some firmware counts the terminator in.
    return bytes.toString('utf16le').replace(/\0+$/, '');
  }

  /** Bytes behind an offset and size pair. */
  bytes(field: string): Buffer {
    const offset = this.u32(field);
    const size = this.u32(field);
    return size === 0 ? Buffer.alloc(0) : this.#behind(field, offset, size);
  }

  /** `count` offset and size pairs; a reader for each structure. */
  structures(field: string, count: number): InfoReader[] {
    if (count > MAX_ELEMENTS) throw this.#wrong(field, `${count} elements`);
    return Array.from({ length: count }, (_, index) => {
      const name = `${field}[${index}]`;
      return new InfoReader(this.bytes(name), `${this.#what} ${name}`);
    });
  }

  /** One structure behind an offset and size pair; undefined for a pair of zeros. */
  structure(field: string): InfoReader | undefined {
    const bytes = this.bytes(field);
    return bytes.length === 0 ? undefined : new InfoReader(bytes, `${this.#what} ${field}`);
  }

  /** `count` elements of `elementBytes` behind a single offset; none for offset 0 or no elements. */
  elements(field: string, shape: { count: number; elementBytes: number }): Buffer[] {
    const offset = this.u32(field);
    if (shape.count > MAX_ELEMENTS) throw this.#wrong(field, `${shape.count} elements`);
    if (offset === 0 || shape.count === 0) return [];
    const all = this.#behind(field, offset, shape.count * shape.elementBytes);
    return Array.from({ length: shape.count }, (_, index) =>
      all.subarray(index * shape.elementBytes, (index + 1) * shape.elementBytes),
    );
  }

  #fixed(size: number, field: string): Buffer {
    if (size > this.left)
      throw this.#wrong(field, `${size} bytes at ${this.#at} of a structure of ${this.#info.length}`);
    const bytes = this.#info.subarray(this.#at, this.#at + size);
    this.#at += size;
    return bytes;
  }

  #behind(field: string, offset: number, size: number): Buffer {
    // Both are below 2^32, so their sum is exact.
    if (offset + size > this.#info.length)
      throw this.#wrong(field, `${size} bytes at ${offset} of a structure of ${this.#info.length}`);
    this.#followed += size;
    if (this.#followed > this.#info.length) throw this.#wrong(field, 'parts that lie over each other');
    return this.#info.subarray(offset, offset + size);
  }

  #wrong(field: string, why: string) {
    return malformed(`${this.#what}, ${field}: ${why}`);
  }
}

/** Builds a structure: numbers at once, everything variable behind the fixed part in the order of its pairs. */
export class InfoWriter {
  readonly #fixed: (Buffer | { variable: Buffer; sized: boolean })[] = [];

  u32(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeUInt32LE(value);
    return this.#push(bytes);
  }

  i32(value: number): this {
    const bytes = Buffer.alloc(4);
    bytes.writeInt32LE(value);
    return this.#push(bytes);
  }

  u64(value: number): this {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(BigInt(value));
    return this.#push(bytes);
  }

  uuid(text: string): this {
    return this.#push(uuidBytes(text));
  }

  string(text: string): this {
    return this.bytes(Buffer.from(text, 'utf16le'));
  }

  /** An offset and size pair; both zero for nothing. */
  bytes(variable: Buffer): this {
    this.#fixed.push({ variable, sized: true });
    return this;
  }

  /** An offset alone; its element count was written elsewhere. */
  elements(list: readonly Buffer[]): this {
    this.#fixed.push({ variable: Buffer.concat(list), sized: false });
    return this;
  }

  /** A count, then one pair for each structure. */
  structures(list: readonly Buffer[]): this {
    this.u32(list.length);
    for (const one of list) this.bytes(one);
    return this;
  }

  finish(): Buffer {
    const fixedBytes = this.#fixed.reduce(
      (sum, part) => sum + (Buffer.isBuffer(part) ? part.length : part.sized ? 8 : 4),
      0,
    );
    const head: Buffer[] = [];
    const tail: Buffer[] = [];
    let at = fixedBytes;
    for (const part of this.#fixed) {
      if (Buffer.isBuffer(part)) {
        head.push(part);
        continue;
      }
      const { variable, sized } = part;
      const pair = Buffer.alloc(sized ? 8 : 4);
      if (variable.length > 0) {
        pair.writeUInt32LE(at, 0);
        if (sized) pair.writeUInt32LE(variable.length, 4);
        const padding = Buffer.alloc((4 - (variable.length % 4)) % 4);
        tail.push(variable, padding);
        at += variable.length + padding.length;
      }
      head.push(pair);
    }
    return Buffer.concat([...head, ...tail]);
  }

  #push(bytes: Buffer): this {
    this.#fixed.push(bytes);
    return this;
  }
}
