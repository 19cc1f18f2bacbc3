/**
 * What the modem plane is told of each slot, by the node's configuration or by the virtual network. Which slots
 * exist and how each is reached; what state they are in is found out by the plane.
 */
import { RotationSchedule } from '@mastline/shared/domain/rotation';
import { z } from 'zod';

const HilinkApi = z.strictObject({
  kind: z.literal('hilink'),
  /** Base of the stick's web API as the slot reaches it: `http://192.168.8.1`. */
  url: z.url({ protocol: /^http$/, error: 'must be an http:// URL of the stick' }),
  /** Of the stick's web page, where it asks for a password; `admin` when left out. */
  username: z.string().min(1).max(64).optional(),
  password: z.string().min(1).max(128).optional(),
});

/** How often its address may change, and when it does so by itself; rotation-desk.ts has what holds when left out. */
const Rotation = z.strictObject({
  schedule: RotationSchedule.optional(),
  /** From one rotation to the next, whoever asks. */
  coolDownSeconds: z.int().min(0).max(86_400).optional(),
  perHour: z.int().min(1).max(1000).optional(),
  perDay: z.int().min(1).max(10_000).optional(),
  /** Running flows have this long before their modem goes. */
  graceSeconds: z.int().min(0).max(120).optional(),
});

const Common = {
  slot: z.int().min(0).max(65_535),
  usbPath: z.string().min(1).max(128),
  api: HilinkApi,
  /** Simulated by us. */
  virtual: z.boolean(),
  /**
   * Name servers to ask from the slot, `ADDRESS` or `ADDRESS:PORT`; those that the modem names when left out.
   */
  dnsServers: z.array(z.string().min(1).max(64)).max(8).optional(),
  rotation: Rotation.optional(),
};

/** A stick behind a network interface of its own, which the agent sets up. */
export const InterfaceSlot = z.strictObject({
  ...Common,
  interface: z.string().regex(/^[^\s/]{1,15}$/, 'must be the name of a network interface'),
  /** The stick's own address; its /24 is the slot's subnet. */
  gateway: z.ipv4().default('192.168.8.1'),
});
export type InterfaceSlot = z.infer<typeof InterfaceSlot>;

/** A modem reached from an address that exists already: nothing is set up (rootless virtual modems). */
export const AddressSlot = z.strictObject({
  ...Common,
  sourceAddress: z.ipv4(),
});
export type AddressSlot = z.infer<typeof AddressSlot>;

export const SlotConfig = z.union([InterfaceSlot, AddressSlot]);
export type SlotConfig = z.infer<typeof SlotConfig>;
