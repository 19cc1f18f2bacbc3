/**
 * Which slots there are: the configured ones, and those that sources bring and take away (slot-source.ts). Owns their
 * supervisors. What a slot has in the network is slot-networks.ts.
 */
import type { ModemCause } from '@mastline/shared/domain/modem';
import { parentOf } from './discovery/usb-tree';
import type { SlotConfig } from './slot-config';
import type { SlotSource } from './slot-source';
import type { SlotSupervisor } from './slot-supervisor';

/** A path on USB, as opposed to a name of our own. */
const USB_PATH = /^\d+-\d+(?:\.\d+)*$/;

export function isUsbPath(path: string): boolean {
  return USB_PATH.test(path);
}

export interface SlotRosterOptions {
  configured: readonly SlotConfig[];
  sources: readonly SlotSource[];
  /** Makes a slot's supervisor; `source`: where it came from, if not from the configuration. */
  supervise: (config: SlotConfig, source?: SlotSource) => SlotSupervisor;
  /** Takes down what the slot has in the network. Never rejects. */
  takeDown: (slot: number) => Promise<void>;
}

export class SlotRoster {
  readonly #options: SlotRosterOptions;
  #supervisors: readonly SlotSupervisor[];
  /** Slots of the sources that have nothing to bring up now, with the reason. */
  readonly #gone = new Map<number, string>();
  /** Which source a slot that is not configured came from. */
  readonly #origins = new Map<number, SlotSource>();

  constructor(options: SlotRosterOptions) {
    this.#options = options;
    this.#supervisors = options.configured.map(config => options.supervise(config));
  }

  all(): readonly SlotSupervisor[] {
    return this.#supervisors;
  }

  find(slot: number): SlotSupervisor | undefined {
    return this.#supervisors.find(one => one.config.slot === slot);
  }

  /** Why its source has nothing to bring up; undefined when it has. */
  whyAbsent(slot: number): string | undefined {
    return this.#gone.get(slot);
  }

  /**
   * Takes up what a source has now: a slot that is reached another way begins anew. True when something has changed.
   * Never rejects.
   */
  async follow(source: SlotSource): Promise<boolean> {
    const wanted = source.slots().filter(config => this.#mayHave(source, config));
    const wentAway = await this.#letGo(source, wanted);
    return (await this.#takeUp(source, wanted)) || wentAway;
  }

  /** Gone alone, or with everything else on its hub; no cause where it is there and merely cannot be used. */
  causeOfAbsence({ usbPath, slot }: SlotConfig): { cause?: ModemCause } {
    const isThere = this.#options.sources.some(source => source.isPluggedIn?.(usbPath) ?? false);
    if (!isUsbPath(usbPath) || isThere) return {};
    const { hub } = parentOf(usbPath);
    const mates = this.#supervisors.filter(
      ({ config }) =>
        config.slot !== slot && isUsbPath(config.usbPath) && parentOf(config.usbPath).hub === hub,
    );
    const allGone = mates.length > 0 && mates.every(({ config }) => this.#gone.has(config.slot));
    return { cause: allGone ? 'hub-power' : 'usb-gone' };
  }

  async close(): Promise<void> {
    await Promise.all(this.#supervisors.map(one => one.close()));
  }

  /** Slots that the source has no more: known on while it says why, forgotten otherwise. */
  async #letGo(source: SlotSource, wanted: readonly SlotConfig[]): Promise<boolean> {
    let changed = false;
    for (const one of this.#supervisors) {
      const { config } = one;
      if (this.#origins.get(config.slot) !== source || wanted.some(({ slot }) => slot === config.slot))
        continue;
      const why = source.whyAbsent(config);
      if (why !== null) {
        this.#gone.set(config.slot, why);
        continue;
      }
      await one.close();
      await this.#options.takeDown(config.slot);
      this.#supervisors = this.#supervisors.filter(other => other !== one);
      this.#origins.delete(config.slot);
      this.#gone.delete(config.slot);
      changed = true;
    }
    return changed;
  }

  async #takeUp(source: SlotSource, wanted: readonly SlotConfig[]): Promise<boolean> {
    let changed = false;
    for (const config of wanted) {
      this.#gone.delete(config.slot);
      const before = this.find(config.slot);
      if (before && JSON.stringify(before.config) === JSON.stringify(config)) continue;
      if (before) {
        await this.#options.takeDown(config.slot);
        before.reconfigure(config);
      } else this.#supervisors = [...this.#supervisors, this.#options.supervise(config, source)];
      this.#origins.set(config.slot, source);
      changed = true;
    }
    return changed;
  }

  /** A number that is given out already is not given out again. */
  #mayHave(source: SlotSource, { slot }: SlotConfig): boolean {
    const configured = this.#options.configured.some(config => config.slot === slot);
    const owner = this.#origins.get(slot);
    return !configured && (owner === undefined || owner === source);
  }
}
