/** What the outside sees, from several echo services over real sockets; the country of a network; the book on disk. */
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { countryOf } from '@mastline/agent/modem-plane/mobile-countries';
import { HISTORY_KEPT, ROTATION_BOOK_NAME, RotationBook } from '@mastline/agent/modem-plane/rotation-book';
import { seenAddresses } from '@mastline/agent/modem-plane/rotation-proof';
import { createLog, type LogFields, quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import type { RotationRecord } from '@mastline/shared/domain/rotation';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import * as assert from 'uvu/assert';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';

const test = suite('rotation, its proof and its book');

const servers: Server[] = [];
let dir: Awaited<ReturnType<typeof tempDir>>;
test.before(async () => {
  dir = await tempDir('book');
});
test.after(async () => {
  for (const server of servers) {
    server.closeAllConnections();
    await new Promise(resolve => server.close(resolve));
  }
  await dir.remove();
});

/** A service that answers so; null never answers. */
async function service(body: string | null): Promise<string> {
  const server = createServer((_request, response) => {
    if (body !== null) response.end(body);
  });
  servers.push(server);
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

const see = (echoUrls: string[], signal = new AbortController().signal) =>
  seenAddresses({ echoUrls, localAddress: null, dnsServers: [], clock: systemClock, signal });

test('asks several services at once: all that is seen counts, in the order of preference', async () => {
  const one = await service('203.0.113.1\n');
  const two = await service('{"ip":"203.0.113.2"}');
  const same = await service('203.0.113.1');
  assert.equal(await see([two, one, same]), ['203.0.113.2', '203.0.113.1']);
});

test('a service that is silent or talks nonsense neither delays much nor counts', async () => {
  const silent = await service(null);
  const nonsense = await service('<html>log in to the hotel</html>');
  const good = await service('203.0.113.9');
  assert.equal(await see([silent, nonsense, good]), ['203.0.113.9']);
  // The fourth is asked only when none of the first three told.
  assert.equal(await see([nonsense, nonsense, nonsense, good]), ['203.0.113.9']);
});

test('nobody who tells is a fault that names each service', async () => {
  const nonsense = await service('moved');
  const fault = await see([nonsense, 'http://127.0.0.1:9/']).then(
    () => assert.unreachable(),
    error => error,
  );
  assert.is(codeOf(fault), 'modem/exit-unknown');
  assert.match(fault.message, /without an address; .*ECONNREFUSED|ECONNREFUSED.*without an address/);
  assert.is(codeOf(await see([]).catch(error => error)), 'modem/exit-unknown');
});

test('a network has the country of its code, where it says one', () => {
  assert.is(countryOf('26201'), 'DE');
  assert.is(countryOf('310260'), 'US');
  assert.is(countryOf('23415'), 'GB');
  assert.is(countryOf('40445'), 'IN');
  for (const none of [null, '99970', '90101', '34001', '']) assert.is(countryOf(none), null);
});

function record(over: Partial<RotationRecord> = {}): RotationRecord {
  return {
    id: uuidv7(),
    slot: 1,
    askedFor: 'test',
    endedAt: 1000,
    outcome: 'rotated',
    reason: '',
    method: 'data-switch',
    oldAddress: '203.0.113.1',
    newAddress: '203.0.113.2',
    tookMs: 6000,
    attempts: 1,
    carrier: null,
    connected: true,
    retryAfterMs: null,
    ...over,
  };
}

const learnt = { modem: '1', carrier: 'c', method: 'radio', outcome: 'rotated', tookMs: 5 } as const;
const book = (log = quietLog) => new RotationBook({ dataDir: dir.path, log, experience: () => [learnt] });

test('what rotations came to is on disk, bounded by slot, with what the cloud has', async () => {
  const first = book();
  const other = record({ slot: 2 });
  first.add(other);
  const many = Array.from({ length: HISTORY_KEPT + 3 }, (_, i) => record({ tookMs: i }));
  for (const one of many) first.add(one);
  first.note([other.id, many[3]?.id ?? '']);
  await first.close();
  const second = book();
  assert.is(second.history(1).length, HISTORY_KEPT);
  assert.is(second.history(1)[0]?.tookMs, 3);
  assert.equal(second.history(2), [other]);
  assert.is(second.unnoted().length, HISTORY_KEPT - 1);
  assert.equal(second.find(other.id), other);
  assert.equal(second.pastExperience(), [learnt]);
});

test('a damaged book is put aside and named, and the node goes on', async () => {
  const path = join(dir.path, ROTATION_BOOK_NAME);
  const lines: LogFields[] = [];
  const log = createLog({ level: 'warn', write: line => void lines.push(JSON.parse(line)) });
  for (const damage of ['{"version":1,', '{"version":1,"entries":[{}],"experience":[]}']) {
    writeFileSync(path, damage);
    const begun = book(log);
    assert.equal(begun.history(1), []);
    assert.is(readFileSync(`${path}.broken`, 'utf8'), damage);
    begun.add(record());
    await begun.close();
    assert.ok(existsSync(path));
  }
  assert.is(lines.length, 2);
});

test.run();
