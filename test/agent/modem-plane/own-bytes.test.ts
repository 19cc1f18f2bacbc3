/** What the modem plane's requests say that they moved, against what the other end's sockets took and gave. */
import { createServer, type Server } from 'node:http';
import { createServer as createTlsServer } from 'node:https';
import type { AddressInfo, Socket } from 'node:net';
import { boundRequest } from '@mastline/agent/modem-plane/bound-request';
import { OwnTrafficBook } from '@mastline/agent/modem-plane/own-traffic';
import type { CountOwn } from '@mastline/agent/ports';
import { systemClock } from '@mastline/shared/base/clock';
import * as assert from 'uvu/assert';
import { makeCertificates } from '../../support/certificates';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';

const test = suite('own bytes of the modem plane', { needs: ['openssl'] });

/** Asks once, and gives what was counted beside what went over the wire. */
async function ask(server: Server, scheme: 'http' | 'https') {
  const wire = { up: 0, down: 0, over: false };
  server.on('connection', (raw: Socket) =>
    raw.once('close', () => Object.assign(wire, { up: raw.bytesRead, down: raw.bytesWritten, over: true })),
  );
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const counted: Parameters<CountOwn>[0][] = [];
  const asked = boundRequest({
    url: `${scheme}://127.0.0.1:${(server.address() as AddressInfo).port}/ip`,
    ...{ localAddress: '127.0.0.1', dnsServers: [], deadlineMs: 20_000, maxBytes: 100_000 },
    clock: systemClock,
    count: moved => void counted.push(moved),
  });
  const outcome = await asked.then(
    () => 'answered',
    error => String(error),
  );
  await eventually(() => wire.over);
  await new Promise(resolve => server.close(resolve));
  assert.is(counted.length, 1, 'told once');
  return { counted: counted[0], wire, outcome };
}

test('a request in the clear is counted to the byte', async () => {
  const { counted, wire, outcome } = await ask(
    createServer((_request, response) => response.end('203.0.113.7')),
    'http',
  );
  assert.is(outcome, 'answered');
  assert.equal(counted, { upBytes: wire.up, downBytes: wire.down, upDatagrams: 0, downDatagrams: 0 });
});

test('one that fails in TLS is counted all the same, by estimate', async () => {
  const dir = await tempDir('own');
  const { cert, key } = makeCertificates(dir.path);
  const server = createTlsServer({ cert, key }, (_request, response) => response.end('203.0.113.7'));
  const { counted, wire, outcome } = await ask(server, 'https');
  // Its authority is not believed here.
  assert.match(outcome, /request\/failed|certificate|UNABLE_TO_VERIFY/);
  const apart = (told = 0, real = 0) => Math.abs(told - real);
  assert.ok(apart(counted?.upBytes, wire.up) < 700, `${counted?.upBytes} up, ${wire.up} on the wire`);
  assert.ok(
    apart(counted?.downBytes, wire.down) < 1500,
    `${counted?.downBytes} down, ${wire.down} on the wire`,
  );
  await dir.remove();
});

test('slots are counted apart, and a slot that comes back goes on', () => {
  const book = new OwnTrafficBook();
  book.counter(1)({ upBytes: 1, downBytes: 2, upDatagrams: 0, downDatagrams: 0 });
  book.counter(2)({ upBytes: 10, downBytes: 20, upDatagrams: 1, downDatagrams: 1 });
  book.counter(1)({ upBytes: 3, downBytes: 4, upDatagrams: 0, downDatagrams: 0 });
  assert.equal(book.all(), [
    { slot: 1, upBytes: 4, downBytes: 6, upDatagrams: 0, downDatagrams: 0 },
    { slot: 2, upBytes: 10, downBytes: 20, upDatagrams: 1, downDatagrams: 1 },
  ]);
});

test.run();
