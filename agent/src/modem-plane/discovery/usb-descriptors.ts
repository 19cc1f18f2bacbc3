/**
 * The configurations that a device offers, out of its raw descriptors. sysfs shows interfaces of the current
 * configuration only; which other one would be better can be read here. Pure.
 *
 *   each descriptor:  length (1) │ type (1) │ …               USB 2.0, 9.5 and 9.6
 *   configuration:    9 │ 2 │ total length (2) │ interfaces │ value │ …
 *   interface:        9 │ 4 │ number │ alternate │ endpoints │ class │ subclass │ protocol │ …
 */
export interface UsbConfiguration {
  value: number;
  interfaces: { number: number; class: number; subclass: number; protocol: number }[];
}

const CONFIGURATION = 2;
const INTERFACE = 4;
const FULL_LENGTH = 9;

/** In the device's order; null when the bytes make no sense (a length of 0 or 1, or one past the end). */
export function configurationsIn(bytes: Buffer): UsbConfiguration[] | null {
  const found: UsbConfiguration[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = bytes[at] ?? 0;
    const type = bytes[at + 1];
    if (length < 2 || type === undefined || at + length > bytes.length) return null;
    if ((type === CONFIGURATION || type === INTERFACE) && length < FULL_LENGTH) return null;
    if (type === CONFIGURATION) found.push({ value: bytes.readUInt8(at + 5), interfaces: [] });
    if (type === INTERFACE) {
      const configuration = found[found.length - 1];
      if (!configuration) return null;
      const number = bytes.readUInt8(at + 2);
      // Alternate settings repeat the interface; the first is what it is for.
      if (!configuration.interfaces.some(one => one.number === number))
        configuration.interfaces.push({
          number,
          class: bytes.readUInt8(at + 5),
          subclass: bytes.readUInt8(at + 6),
          protocol: bytes.readUInt8(at + 7),
        });
    }
    at += length;
  }
  return found;
}

/** The configuration in which a stick is an Ethernet card (ECM before RNDIS); null when it offers none. */
export function ethernetConfiguration(configurations: readonly UsbConfiguration[]): number | null {
  const having = (fits: (one: UsbConfiguration['interfaces'][number]) => boolean) =>
    configurations.find(one => one.interfaces.some(fits))?.value;
  const ecm = having(one => one.class === 2 && one.subclass === 6);
  const rndis = having(
    one =>
      (one.class === 0xe0 && one.subclass === 1 && one.protocol === 3) ||
      (one.class === 2 && one.subclass === 2 && one.protocol === 0xff) ||
      (one.class === 0xef && one.subclass === 4 && one.protocol === 1),
  );
  return ecm ?? rndis ?? null;
}
