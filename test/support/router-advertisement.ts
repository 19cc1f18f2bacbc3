/**
 * A router advertisement (RFC 4861) as a hostile or careless stick sends it, from inside a network namespace: raw ICMPv6 is
 * not to be had in Node, so that a few lines of Python send it.
 */
import { runTool } from '../simulators/run-tool';

const SENDER = `
import ipaddress, socket, struct, sys
dev, prefix, lifetime = sys.argv[1], ipaddress.ip_network(sys.argv[2]), int(sys.argv[3])
option = struct.pack('!BBBBIII', 3, 4, prefix.prefixlen, 0xc0, 3600, 3600, 0) + prefix.network_address.packed
message = struct.pack('!BBHBBHII', 134, 0, 0, 64, 0, lifetime, 0, 0) + option
sock = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, 255)
sock.bind(('fe80::bad', 0, 0, socket.if_nametoindex(dev)))
sock.sendto(message, ('ff02::1', 0, 0, socket.if_nametoindex(dev)))
`;

/**
 * Sends one from `dev` in `namespace`, which is given fe80::bad for it: its sender is a default router for
 * `lifetimeSeconds` (0: none), and `prefix` is on the link and to make addresses of.
 */
export async function advertise(options: {
  namespace: string;
  dev: string;
  prefix: string;
  lifetimeSeconds: number;
}): Promise<void> {
  const { namespace, dev, prefix, lifetimeSeconds } = options;
  const inside = (...words: string[]) => runTool('ip', ['netns', 'exec', namespace, ...words]);
  await inside('sh', '-c', `echo 0 > /proc/sys/net/ipv6/conf/${dev}/disable_ipv6`);
  await inside('ip', 'address', 'replace', 'fe80::bad/64', 'dev', dev, 'nodad');
  await inside('python3', '-c', SENDER, dev, prefix, String(lifetimeSeconds));
}
