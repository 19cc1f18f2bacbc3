/**
 * Takes a cipher's output and gives its memory back at once. node:crypto writes into no buffer of ours: every `update`
 * makes a new one, which aead.ts copies and forgets. Left to the garbage collector, 16 KiB a chunk are counted as
 * memory outside the heap, and every 64 MB of them V8 marks and sweeps the whole heap on all its threads: a quarter of
 * what a Shadowsocks download cost. Freed at once, the next output gets the same memory, which is still in the cache.
 *
 * `ArrayBuffer.prototype.transfer` to length 0 is what frees (ECMAScript 2024). Node 20 has it behind a flag of V8
 * that counts for contexts made while it is set; so one such context is made (1 ms, 260 KB, in threads that seal) for
 * its one function. Where it is not to be had, the garbage collector does the work as ever.
 */
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';

type Transfer = (this: ArrayBufferLike, bytes: number) => unknown;

const FLAG = 'harmony-rab-gsab-transfer';

/** Undefined until the first output. */
let transfer: Transfer | null | undefined;

/** Copies `output` to `at` and frees it; gives back where it ends. Nobody else may have a view of it. */
export function moveOutput(output: Buffer, into: Buffer, at: number): number {
  const bytes = output.length;
  into.set(output, at);
  if (transfer === undefined) transfer = findTransfer();
  // What shares its memory with others (Buffer's pool) is not ours to free.
  if (transfer !== null && bytes > 0 && output.buffer.byteLength === bytes) transfer.call(output.buffer, 0);
  return at + bytes;
}

function findTransfer(): Transfer | null {
  const own = transferIn(ArrayBuffer.prototype);
  if (own || Number(process.versions.node.split('.')[0]) >= 22) return own;
  setFlagsFromString(`--${FLAG}`);
  try {
    return transferIn(runInNewContext('ArrayBuffer.prototype'));
  } finally {
    setFlagsFromString(`--no-${FLAG}`);
  }
}

function transferIn(prototype: object): Transfer | null {
  const found: unknown = 'transfer' in prototype ? prototype.transfer : null;
  return typeof found === 'function' ? (found as Transfer) : null;
}
