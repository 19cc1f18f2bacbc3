/**
 * Not a test: run in a network namespace of its own by probe-cost.test.ts. Probes an echo service over the loopback
 * interface, where nobody else sends anything, and prints what the kernel counted and what the probe thought.
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { probe } from '@mastline/agent/modem-plane/health/probe';
import { systemClock } from '@mastline/shared/base/clock';
import { startNameServer } from '../../../simulators/name-server';

const PROBES = 20;
/** The kernel counts the header of a link that is none; on the radio there is no such thing. */
const LINK_HEADER_BYTES = 14;

execFileSync('ip', ['link', 'set', 'lo', 'up']);

function sentBytes(): number {
  const line = readFileSync('/proc/net/dev', 'utf8')
    .split('\n')
    .find(one => one.trim().startsWith('lo:'));
  const fields = (line ?? '').replace('lo:', ' ').trim().split(/\s+/).map(Number);
  const [bytes = Number.NaN, packets = Number.NaN] = [fields[8], fields[9]];
  return bytes - LINK_HEADER_BYTES * packets;
}

// What nginx and its like say around a short answer.
const server = createServer((_, response) =>
  response
    .writeHead(200, {
      'content-type': 'text/plain; charset=utf-8',
      server: 'nginx/1.26.0',
      'access-control-allow-origin': '*',
      'strict-transport-security': 'max-age=31536000',
    })
    .end('198.51.100.117\n'),
);
await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
const dns = await startNameServer({
  host: '127.0.0.2',
  port: 0,
  names: { 'echo.mastline.test': ['127.0.0.1'] },
  forward: async query => query,
});
const url = `http://echo.mastline.test:${(server.address() as AddressInfo).port}/ip`;
let thought = 0;
const before = sentBytes();
for (let i = 0; i < PROBES; i += 1) {
  const result = await probe({
    urls: [url],
    localAddress: '127.0.0.3',
    dnsServers: [`${dns.address}:${dns.port}`],
    clock: systemClock,
    signal: new AbortController().signal,
  });
  if (result.outcome.kind !== 'carries') throw new Error(JSON.stringify(result));
  thought += result.wireBytes;
}
// The last goodbye is on its way.
await new Promise(resolve => setTimeout(resolve, 300));
const real = sentBytes() - before;
console.log(JSON.stringify({ realBytes: real / PROBES, thoughtBytes: thought / PROBES }));
server.close();
server.closeAllConnections();
await dns.close();
