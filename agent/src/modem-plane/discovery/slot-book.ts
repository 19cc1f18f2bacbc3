/**
 * Which USB path has which slot number, on disk: a slot keeps its number through restarts, through other sticks in it
 * and through being empty. Numbers are never given out again by themselves; a person may delete a line of the file.
 */
import { closeSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';

export const SLOT_BOOK_NAME = 'slots.json';
/** A node has at most as many (agent/src/config.ts). */
export const MAX_SLOTS = 256;

const Book = z
  .strictObject({
    version: z.literal(1),
    /** USB path → slot number. */
    slots: z.record(z.string().min(1).max(128), z.int().min(0).max(65_535)),
  })
  .refine(book => new Set(Object.values(book.slots)).size === Object.keys(book.slots).length, {
    path: ['slots'],
    message: 'gives a number to two USB paths',
  });

export class SlotBook {
  readonly #path: string;
  readonly #slots: Map<string, number>;
  readonly #reserved: ReadonlySet<number>;

  /** `reserved` are numbers that the configuration gives out itself. Throws `slots/damaged` or `slots/unreadable`. */
  constructor(options: { dataDir: string; reserved: ReadonlySet<number> }) {
    this.#path = join(options.dataDir, SLOT_BOOK_NAME);
    this.#reserved = options.reserved;
    mkdirSync(options.dataDir, { recursive: true, mode: 0o700 });
    this.#slots = new Map(Object.entries(readBook(this.#path)));
    for (const [path, slot] of this.#slots)
      if (options.reserved.has(slot))
        throw new CodedError(
          'slots/taken',
          `${this.#path}: slots["${path}"] is ${slot}, which is configured`,
          {
            userMessage: `Slot ${slot} is given to USB path ${path} by ${this.#path} and to another modem by the configuration. Choose another number in the configuration, or delete the line.`,
          },
        );
  }

  /** The number of a path that has one. */
  numberOf(usbPath: string): number | undefined {
    return this.#slots.get(usbPath);
  }

  /** The number of a path; a new one is on disk before it is given. Throws `slots/full` or `slots/unwritable`. */
  claim(usbPath: string): number {
    const known = this.#slots.get(usbPath);
    if (known !== undefined) return known;
    const used = new Set([...this.#slots.values(), ...this.#reserved]);
    if (used.size >= MAX_SLOTS)
      throw new CodedError('slots/full', `${this.#path} has ${used.size} slots`, {
        userMessage: `This node has ${MAX_SLOTS} slots, which is the most. Delete USB paths that are not used any more from ${this.#path} and start again.`,
      });
    let slot = 0;
    while (used.has(slot)) slot += 1;
    this.#slots.set(usbPath, slot);
    try {
      this.#write();
    } catch (error) {
      this.#slots.delete(usbPath);
      throw new CodedError('slots/unwritable', `${this.#path}: ${messageOf(error)}`, {
        userMessage: `The slot numbers cannot be written to ${this.#path}: ${messageOf(error)}. Free space, or give the folder to the agent's user.`,
        cause: error,
        retryable: true,
      });
    }
    return slot;
  }

  /** Through a power cut, too: customers' endpoints name slots. */
  #write(): void {
    const beside = `${this.#path}.new`;
    const file = openSync(beside, 'w', 0o600);
    try {
      writeSync(file, `${JSON.stringify({ version: 1, slots: Object.fromEntries(this.#slots) }, null, 2)}\n`);
      fsyncSync(file);
    } finally {
      closeSync(file);
    }
    renameSync(beside, this.#path);
  }
}

function readBook(path: string): Record<string, number> {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    if (codeOf(error) === 'ENOENT') return {};
    throw new CodedError('slots/unreadable', `${path}: ${messageOf(error)}`, {
      userMessage: `The slot numbers in ${path} cannot be read: ${messageOf(error)}. Give the file to the agent's user.`,
      cause: error,
    });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new CodedError('slots/damaged', `${path} is not JSON`, {
      userMessage: `${path} is damaged. Put back a copy, or delete it: slots are then numbered anew in the order of their USB paths.`,
      cause: error,
    });
  }
  return parseOrExplain(Book, value, path, 'slots/damaged').slots;
}
