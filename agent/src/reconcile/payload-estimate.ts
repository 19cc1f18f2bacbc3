/**
 * How much payload an interface moved, from its counters of bytes and packets: `bytes − headers × packets`. Pure.
 *
 * An offloaded packet (TSO, GSO, GRO) is one packet with one header in these counters, whatever goes over the air, so
 * that the formula holds with and without. What a driver counts beside the IP packet differs by driver and direction:
 *
 * | driver                           | down | up | why (Linux)                                                        |
 * | -------------------------------- | ---- | -- | ------------------------------------------------------------------ |
 * | cdc_ether, cdc_ncm, huawei_cdc_ncm, qmi_wwan, … | 0 | 14 | usbnet counts what comes after `eth_type_trans`, and what goes with the Ethernet header |
 * | rndis_host                       | 0    | 58 | the same, and 44 bytes of RNDIS                                    |
 * | cdc_mbim, qmi_wwan in raw IP     | 0    | 0  | no Ethernet header                                                 |
 * | virtual (veth), unknown          | 0 or 14, each way | | veth counts with the header, but without where packets go through NAPI: sender without TSO, receiver with GRO |
 *
 * Where it is 0 or 14 the packets themselves tell: no TCP segment with timestamps is shorter than 52 bytes, so that a while in which
 * packets had fewer than 59 on average was counted without. Before such a while was seen, it is 14. The relay's own count is
 * never asked, or a wrong one would prove itself right. veth is proven by test/system/reconciliation.test.ts;
 * the other rows were read in the drivers and not measured on hardware.
 */
import type { UpDown } from '@mastline/shared/domain/reconciliation';
import type { Counters } from './interface-counters';

const ETHERNET = 14;
const IPV4 = 20;
const UDP = 8;
/** RFC 9293; timestamps (RFC 7323) are 12 bytes with padding, which Linux offers and nearly every peer takes. */
const TCP = 20;
const TIMESTAMPS = 12;
/** Framing of 14 bytes and the shortest segment of TCP with timestamps are 66, without framing 52. */
const SURELY_BARE = 59;
/** Fewer packets, or a larger share of datagrams, prove nothing about segments. */
const MIN_PACKETS = 20;
const MAX_DATAGRAM_SHARE = 0.1;

const BARE = { down: 0, up: 0 };
const USBNET = { down: 0, up: ETHERNET };
const FRAMING: Readonly<Record<string, UpDown>> = {
  cdc_ether: USBNET,
  cdc_eem: USBNET,
  cdc_ncm: USBNET,
  cdc_subset: USBNET,
  huawei_cdc_ncm: USBNET,
  qmi_wwan: USBNET,
  rndis_host: { down: 0, up: ETHERNET + 44 },
  cdc_mbim: BARE,
  'qmi_wwan raw-ip': BARE,
};

/** The lowest average size of a packet in any while that says something; null before there was one. */
export interface Lowest {
  up: number | null;
  down: number | null;
}

/** Takes a while's packets into account. */
export function lowestAfter(lowest: Lowest, moved: Counters, datagrams: UpDown): Lowest {
  const next = (before: number | null, bytes: number, packets: number, ofThem: number) => {
    if (packets < MIN_PACKETS || ofThem > packets * MAX_DATAGRAM_SHARE) return before;
    const mean = bytes / packets;
    return before === null ? mean : Math.min(before, mean);
  };
  return {
    up: next(lowest.up, moved.upBytes, moved.upPackets, datagrams.up),
    down: next(lowest.down, moved.downBytes, moved.downPackets, datagrams.down),
  };
}

/** Framing that the driver's counters hold for each packet. */
export function framingOf(driver: string, lowest: Lowest): UpDown {
  const known = FRAMING[driver];
  if (known) return known;
  const seen = (mean: number | null) => (mean === null || mean >= SURELY_BARE ? ETHERNET : 0);
  return {
    up: lowest.up === null ? seen(lowest.down) : seen(lowest.up),
    down: lowest.down === null ? seen(lowest.up) : seen(lowest.down),
  };
}

export interface EstimateOptions {
  framing: UpDown;
  /** Packets among them that were UDP datagrams. */
  datagrams: UpDown;
  /** Whether this host offers TCP timestamps (`net.ipv4.tcp_timestamps`). */
  timestamps: boolean;
}

/** Payload in bytes; never below zero. IPv4 is assumed: IPv6 has 20 bytes more a packet. */
export function payloadOf(moved: Counters, { framing, datagrams, timestamps }: EstimateOptions): UpDown {
  const segment = IPV4 + TCP + (timestamps ? TIMESTAMPS : 0);
  const one = (bytes: number, packets: number, frame: number, ofThem: number) => {
    const udp = Math.min(ofThem, packets);
    return Math.max(0, bytes - packets * frame - (packets - udp) * segment - udp * (IPV4 + UDP));
  };
  return {
    up: one(moved.upBytes, moved.upPackets, framing.up, datagrams.up),
    down: one(moved.downBytes, moved.downPackets, framing.down, datagrams.down),
  };
}
