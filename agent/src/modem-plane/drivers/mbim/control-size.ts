/**
 * How large a control transfer a modem takes, from the descriptors that the kernel shows in
 * /sys/bus/usb/devices/<path>/descriptors. Pure. (The driver's ioctl that tells the same cannot be reached from Node.)
 *
 * MBIM functional descriptor (USB-IF MBIM 1.0, part 6.4): length 12 | type 0x24 | subtype 0x1b | version u16 |
 * wMaxControlMessage u16 | …
 */
import { MIN_CONTROL_TRANSFER } from './frame';

const CLASS_SPECIFIC = 0x24;
const MBIM = 0x1b;

/** Null when there is no MBIM function in them, or one whose size makes no sense. */
export function maxControlTransferOf(descriptors: Buffer): number | null {
  for (let at = 0; at + 2 < descriptors.length; ) {
    const length = descriptors.readUInt8(at);
    // A descriptor of no length would be read for ever.
    if (length < 2 || at + length > descriptors.length) return null;
    if (
      length >= 7 &&
      descriptors.readUInt8(at + 1) === CLASS_SPECIFIC &&
      descriptors.readUInt8(at + 2) === MBIM
    ) {
      const size = descriptors.readUInt16LE(at + 5);
      return size < MIN_CONTROL_TRANSFER ? null : size;
    }
    at += length;
  }
  return null;
}
