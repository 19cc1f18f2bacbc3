/**
 * Virtual modems as slots that come and go: follows the file in which a running virtual network (test/simulators) says
 * what it has. The agent only reads it; adding and removing modems is asked of the virtual network (virtual-client.ts).
 */
import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';
import type { Log } from '../observe/log';
import { SlotConfig } from './slot-config';
import type { SlotSource } from './slot-source';

/** Of the virtual network's state folder. */
export const VIRTUAL_STATE_FILE = 'virtual-network.json';
export const LOOK_EVERY_MS = 1000;

const VirtualState = z.looseObject({
  slots: z
    .array(SlotConfig)
    .max(256)
    .refine(slots => slots.every(slot => slot.virtual), 'must all be virtual'),
});

export class VirtualSlots implements SlotSource {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #log: Log;
  #slots: readonly SlotConfig[] = [];
  #said = '';
  #complaint = '';
  #listeners: (() => void)[] = [];
  #timer: Timer | undefined;
  #looking: Promise<void> | null = null;

  constructor(options: { stateDir: string; clock: Clock; log: Log }) {
    this.#path = join(options.stateDir, VIRTUAL_STATE_FILE);
    this.#clock = options.clock;
    this.#log = options.log;
  }

  async start(): Promise<void> {
    await this.#look();
    this.#timer = this.#clock.every(LOOK_EVERY_MS, () => void this.#look());
  }

  slots(): readonly SlotConfig[] {
    return this.#slots;
  }

  /** What is not in the file was taken away on purpose. */
  whyAbsent(): null {
    return null;
  }

  onChange(listener: () => void): void {
    this.#listeners.push(listener);
  }

  async close(): Promise<void> {
    this.#timer?.cancel();
    this.#listeners = [];
    await this.#looking;
  }

  /** One look at a time. Never rejects. */
  #look(): Promise<void> {
    this.#looking ??= this.#read().finally(() => {
      this.#looking = null;
    });
    return this.#looking;
  }

  async #read(): Promise<void> {
    const text = await this.#text();
    if (text === null || text === this.#said) return;
    this.#said = text;
    try {
      const state: unknown = text === '' ? { slots: [] } : JSON.parse(text);
      this.#slots = parseOrExplain(VirtualState, state, this.#path, 'virtual/state').slots;
    } catch (error) {
      // What it said last stays: half a message is no reason to pull modems out.
      this.#complain(messageOf(error));
      return;
    }
    this.#complaint = '';
    for (const listener of this.#listeners) listener();
  }

  /** Empty when there is no virtual network; null when it cannot be told. */
  async #text(): Promise<string | null> {
    try {
      return await readFile(this.#path, 'utf8');
    } catch (error) {
      if (codeOf(error) === 'ENOENT') return '';
      this.#complain(messageOf(error));
      return null;
    }
  }

  #complain(what: string): void {
    if (this.#complaint === what) return;
    this.#complaint = what;
    this.#log.error('the virtual network cannot be followed', { file: this.#path, reason: what });
  }
}
