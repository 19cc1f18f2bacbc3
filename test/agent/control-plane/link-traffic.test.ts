/** What the link moves, by local address, against what the other end's sockets took and gave; and whose slot it is. */
import { type AddressInfo, connect, createServer, type Socket } from 'node:net';
import { createServer as createTlsServer, connect as tlsConnect } from 'node:tls';
import { LinkTraffic } from '@mastline/agent/control-plane/link-traffic';
import { linkShare } from '@mastline/agent/reconcile/link-share';
import * as assert from 'uvu/assert';
import { makeCertificates } from '../../support/certificates';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';

const test = suite('what the link moves', { needs: ['openssl'] });

test('plain connections are counted to the byte, while they run and when they are over', async () => {
  const server = createServer(socket => {
    socket.on('error', () => undefined);
    socket.on('data', bytes => socket.write(Buffer.alloc(3 * bytes.length)));
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const traffic = new LinkTraffic();
  const { port } = server.address() as AddressInfo;
  for (let round = 1; round <= 2; round += 1) {
    const socket = connect(port, '127.0.0.1');
    await new Promise(resolve => socket.once('connect', resolve));
    traffic.follow(socket);
    traffic.follow(socket);
    socket.resume();
    socket.write(Buffer.alloc(1000));
    const want = [{ localAddress: '127.0.0.1', upBytes: 1000 * round, downBytes: 3000 * round }];
    await eventually(() => JSON.stringify(traffic.moved()) === JSON.stringify(want));
    const closed = new Promise(resolve => socket.once('close', resolve));
    socket.destroy();
    await closed;
    assert.equal(traffic.moved(), want);
  }
  await new Promise(resolve => server.close(resolve));
});

test('in TLS it is what went over the wire, within a tenth', async () => {
  const dir = await tempDir('link');
  const { cert, key } = makeCertificates(dir.path);
  const wire = { up: 0, down: 0 };
  const server = createTlsServer({ cert, key }, socket => {
    socket.on('error', () => undefined);
    socket.on('data', () => socket.write(Buffer.alloc(400)));
  });
  server.on('connection', (raw: Socket) => {
    const count = () => {
      wire.up = raw.bytesRead;
      wire.down = raw.bytesWritten;
    };
    raw.on('close', count);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  const traffic = new LinkTraffic();
  const socket = tlsConnect({
    port: (server.address() as AddressInfo).port,
    host: '127.0.0.1',
    rejectUnauthorized: false,
  });
  await new Promise(resolve => socket.once('secureConnect', resolve));
  traffic.follow(socket);
  let got = 0;
  socket.on('data', bytes => {
    got += bytes.length;
  });
  for (let at = 1; at <= 200; at += 1) {
    socket.write(Buffer.alloc(300));
    await eventually(() => got >= 400 * at);
  }
  const closed = new Promise(resolve => socket.once('close', resolve));
  socket.end();
  await closed;
  await eventually(() => wire.down > 0);
  const [moved] = traffic.moved();
  assert.ok(moved);
  assert.ok(Math.abs(moved.upBytes - wire.up) < wire.up / 10, `${moved.upBytes} up, ${wire.up} on the wire`);
  assert.ok(Math.abs(moved.downBytes - wire.down) < wire.down / 10, `${moved.downBytes} down, ${wire.down}`);
  await new Promise(resolve => server.close(resolve));
  await dir.remove();
});

test('bytes belong to the slot whose interface has the address; others to none', () => {
  const moved = [
    { localAddress: '192.168.8.100', upBytes: 10, downBytes: 20 },
    { localAddress: '10.0.0.5', upBytes: 1, downBytes: 2 },
  ];
  const slots = [
    { slot: 1, interface: 'eth1' },
    { slot: 2, interface: 'eth2' },
    { slot: 3, interface: null },
  ];
  const interfaces = {
    eth0: [{ address: '10.0.0.5' }],
    eth1: [{ address: '192.168.8.101' }, { address: '192.168.8.100' }],
  };
  assert.equal(linkShare(moved, slots, interfaces), [
    { slot: 1, upBytes: 10, downBytes: 20, upDatagrams: 0, downDatagrams: 0 },
  ]);
});

test.run();
