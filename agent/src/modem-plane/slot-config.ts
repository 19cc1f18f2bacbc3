/**
 * What the modem plane is told of each slot, by the node's configuration, by discovery or by the virtual network: how
 * the modem is spoken to and where its traffic leaves. What state it is in is found out by the plane.
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

/** The access point that the carrier wants; what the SIM or the modem brings along when left out. */
const ApnConfig = z
  .strictObject({
    name: z.string().min(1).max(100),
    username: z.string().max(127).default(''),
    password: z.string().max(127).default(''),
    authentication: z.enum(['none', 'pap', 'chap']).default('none'),
    ipType: z.enum(['ipv4', 'ipv6', 'ipv4v6']).default('ipv4'),
  })
  .refine(apn => apn.username === '' || apn.authentication !== 'none', {
    path: ['authentication'],
    message: 'must be "pap" or "chap" where a "username" is given',
  });

const DevicePath = z
  .string()
  .regex(/^\/[\x21-\x7e]{1,200}$/, 'must be an absolute path, such as /dev/ttyUSB2 or /dev/cdc-wdm0');

const AtApi = z.strictObject({
  kind: z.literal('at'),
  /** The serial port that answers AT. Prefer /dev/serial/by-path/…: numbers move. */
  port: DevicePath,
  /** Id of the firmware profile. */
  profile: z
    .string()
    .regex(/^[a-z0-9-]+\/[a-z0-9-]+$/, 'must be "vendor/model" of a firmware profile')
    .default('generic/at'),
  apn: ApnConfig.optional(),
  /** Only asks what the modem is: it is not dialled before its profile is known. Set by discovery. */
  identifying: z.boolean().optional(),
});

const MbimApi = z.strictObject({
  kind: z.literal('mbim'),
  device: DevicePath,
  /** Always through mbim-proxy; without it, when another program holds the device. */
  proxy: z.boolean().optional(),
  apn: ApnConfig.optional(),
});

export const SlotApi = z.discriminatedUnion('kind', [HilinkApi, AtApi, MbimApi], {
  error: '"kind" must be hilink, at or mbim',
});
export type SlotApi = z.infer<typeof SlotApi>;

const Common = {
  slot: z.int().min(0).max(65_535),
  usbPath: z.string().min(1).max(128),
  api: SlotApi,
  /** Simulated by us. */
  virtual: z.boolean(),
  /**
   * Name servers to ask from the slot, `ADDRESS` or `ADDRESS:PORT`; those that the modem names when left out.
   */
  dnsServers: z.array(z.string().min(1).max(64)).max(8).optional(),
  rotation: Rotation.optional(),
  /** Services that tell this slot its exit address, instead of the node's. */
  echoUrls: z
    .array(z.url({ protocol: /^https?$/, error: 'must be an http:// or https:// URL' }))
    .max(8)
    .optional(),
};

/** A modem behind a network interface of its own, which the agent sets up. */
export const InterfaceSlot = z.strictObject({
  ...Common,
  interface: z.string().regex(/^[^\s/]{1,15}$/, 'must be the name of a network interface'),
  /**
   * The modem's own address where it is a router (HiLink; ECM, RNDIS and NCM of Quectel): its /24 is the slot's
   * subnet. 192.168.8.1 when left out with HiLink. Left out with AT or MBIM: the carrier's address is the interface's.
   */
  gateway: z.ipv4().optional(),
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

/** Where a stick of an untouched HiLink firmware is. */
export const HILINK_ADDRESS = '192.168.8.1';

/** The modem's address where it routes; null where the interface carries the carrier's own address. */
export function routerOf(slot: Pick<InterfaceSlot, 'api' | 'gateway'>): string | null {
  return slot.gateway ?? (slot.api.kind === 'hilink' ? HILINK_ADDRESS : null);
}

/** What no customer may reach through the slot: the modem's web UI, and the subnet that it hands out. */
export function guardedOf(config: SlotConfig): string[] {
  if ('interface' in config) {
    const router = routerOf(config);
    return router === null ? [] : [`${subnetOf(router)}.0/24`];
  }
  return config.api.kind === 'hilink' ? [`${new URL(config.api.url).hostname}/32`] : [];
}

/** `192.168.8.1` → `192.168.8` */
export function subnetOf(address: string): string {
  return address.split('.').slice(0, 3).join('.');
}
