/**
 * A UDP socket that, once bound, is given nothing but addresses to send to. Node asks `dns.lookup` for each datagram
 * even so, which answers a turn of the event loop later with what it was given; here the answer comes at once, and
 * the datagram goes to the kernel within `send`. What is bound may be a name, which is looked up as ever.
 */
import { createSocket, type Socket } from 'node:dgram';
import { lookup } from 'node:dns';

export function createDatagramSocket(type: 'udp4' | 'udp6'): Socket {
  let isBound = false;
  const family = type === 'udp4' ? 4 : 6;
  const socket = createSocket({
    type,
    lookup(host, options, callback) {
      if (isBound) callback(null, host, family);
      else lookup(host, options, callback);
    },
  });
  socket.once('listening', () => {
    isBound = true;
  });
  return socket;
}
