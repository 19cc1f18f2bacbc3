/**
 * Where slots come from beside the configuration: they come and go while the agent runs. USB discovery is one source
 * (discovery/slot-source.ts), virtual modems are another (virtual-slots.ts). The plane starts and closes them.
 */
import type { ModemIdentityFacts } from './discovery/assess';
import type { Conflict } from './discovery/conflicts';
import type { SlotConfig } from './slot-config';

export interface SlotSource {
  /** Resolves after the first look. */
  start(): Promise<void>;
  /** Those that can be brought up now. */
  slots(): readonly SlotConfig[];
  /**
   * Why a slot that was among them is not any more, for people; null when it is gone for good and to be forgotten.
   */
  whyAbsent(config: SlotConfig): string | null;
  /** What a driver has heard from the modem. */
  learn?(usbPath: string, identity: ModemIdentityFacts): void;
  /** Whether something is plugged in there, usable or not; left out where nothing is ever plugged in. */
  isPluggedIn?(usbPath: string): boolean;
  /** Other programs that are in the modems' way now. */
  conflicts?(): Promise<readonly Conflict[]>;
  onChange(listener: () => void): void;
  close(): Promise<void>;
}
