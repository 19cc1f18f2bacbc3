/** What a node says of its slots and the modems in them. Deciding those things is the agent's modem plane. */
import { z } from 'zod';
import { Count } from './usage';

export const ModemState = z.enum([
  'absent',
  'probing',
  'locked',
  'registering',
  'connected',
  'rotating',
  'recovering',
  'failed',
]);
export type ModemState = z.infer<typeof ModemState>;

export const SlotReport = z.looseObject({
  slot: z.int().min(0).max(65_535),
  /** USB path: a slot keeps its number when the stick is swapped. */
  usbPath: z.string().max(128),
  interface: z.string().max(32).nullable(),
  /** The host's own address on the slot; flows leave from it. */
  sourceAddress: z.string().max(64).nullable(),
  state: ModemState,
  /** Why it is in that state, for people; empty when there is nothing to say. */
  reason: z.string().max(300),
  /** Public address seen through the modem; null while unknown. */
  exitAddress: z.string().max(64).nullable(),
  imei: z.string().max(20).nullable(),
  model: z.string().max(80).nullable(),
  firmware: z.string().max(80).nullable(),
  /** Simulated by us: shown as such everywhere. */
  virtual: z.boolean(),
});
export type SlotReport = z.infer<typeof SlotReport>;

export const SlotFigures = z.looseObject({
  slot: z.int().min(0).max(65_535),
  upBytesPerSecond: Count,
  downBytesPerSecond: Count,
  openFlows: Count,
});
export type SlotFigures = z.infer<typeof SlotFigures>;
