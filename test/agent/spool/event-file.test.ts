/** Events on disk: bounded, the first to go, never in the way of usage. */
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type Chunk, EventFile, MIN_FREE_BYTES } from '@mastline/agent/spool/event-file';
import { eventStore } from '@mastline/agent/spool/event-store';
import { systemClock } from '@mastline/shared/base/clock';
import type { EventStream } from '@mastline/shared/domain/node-event';
import Sqlite from 'better-sqlite3';
import * as assert from 'uvu/assert';
import { agentBuilt } from '../../support/build-agent';
import { suite } from '../../support/suite';
import { withTempDir } from '../../support/temp';
import { delta, openSpool } from './open-spool';

const test = suite('events on disk');
const EPOCH = '01960000-0000-7000-8000-0000000000e1';
const PLENTY = () => 10 * MIN_FREE_BYTES;

const chunk = (stream: EventStream, first: number, bytes = 100, items = 10): Chunk => ({
  epoch: EPOCH,
  stream,
  first,
  items,
  text: JSON.stringify(['x'.repeat(bytes)]),
});

/** First numbers of what is there, in order. */
function numbersOf(file: EventFile, stream: EventStream): number[] {
  const numbers: number[] = [];
  for (let next = file.oldest(stream, 0); next; next = file.oldest(stream, next.id)) numbers.push(next.first);
  return numbers;
}

test('keeps chunks in order over a restart and forgets those that were settled', () =>
  withTempDir('events', async folder => {
    const path = join(folder, 'events.db');
    const before = new EventFile({ path, freeBytes: PLENTY });
    assert.not(existsSync(path), 'nothing to keep makes no file');
    before.write([chunk('flows', 1), chunk('events', 1), chunk('flows', 11)], {});
    before.close();
    const after = new EventFile({ path, freeBytes: PLENTY });
    const [first] = [after.oldest('flows', 0)];
    assert.equal(first, { ...chunk('flows', 1), id: first?.id });
    assert.equal(numbersOf(after, 'flows'), [1, 11]);
    assert.equal(after.write([], { flows: first?.id ?? 0 }), {
      dropped: { events: 0, flows: 0 },
      problem: null,
    });
    assert.equal(numbersOf(after, 'flows'), [11]);
    assert.equal(numbersOf(after, 'events'), [1]);
    after.close();
  }));

test('drops the oldest flow summaries first, then the oldest events, counts them, and stays within its bytes', () =>
  withTempDir('events', async folder => {
    const path = join(folder, 'events.db');
    const maxBytes = 100_000;
    const file = new EventFile({ path, maxBytes, freeBytes: PLENTY });
    const dropped = { events: 0, flows: 0 };
    for (let round = 0; round < 200; round += 1) {
      const written = file.write(
        [chunk('flows', round * 10 + 1, 900), chunk('events', round * 10 + 1, 900)],
        {},
      );
      dropped.events += written.dropped.events;
      dropped.flows += written.dropped.flows;
      assert.is(written.problem, null);
    }
    const flows = numbersOf(file, 'flows');
    const events = numbersOf(file, 'events');
    assert.equal(flows, [], 'flows went first');
    assert.ok(events.length > 100);
    assert.is(events.at(-1), 1991, 'the newest is there');
    assert.is(dropped.flows, 2000);
    assert.is(dropped.events + events.length * 10, 2000, 'each is there or counted');
    file.close();
    assert.ok(statSync(path).size <= maxBytes * 1.5 + 64 * 4096, `${statSync(path).size} bytes`);
  }));

test('gives everything up when the disk is nearly full, and counts it', () =>
  withTempDir('events', async folder => {
    const path = join(folder, 'events.db');
    let free = PLENTY();
    const file = new EventFile({ path, freeBytes: () => free });
    file.write([chunk('flows', 1), chunk('events', 1)], {});
    free = MIN_FREE_BYTES - 1;
    const written = file.write([chunk('flows', 11)], {});
    assert.equal(written.dropped, { events: 10, flows: 10 }, 'what there was; the caller has the rest');
    assert.match(String(written.problem), 'nearly full');
    assert.not(existsSync(path), 'its room is usage’s');
    free = PLENTY();
    assert.is(file.write([chunk('flows', 21)], {}).problem, null);
    assert.equal(numbersOf(file, 'flows'), [21]);
    file.close();
  }));

test('a broken file is begun anew', () =>
  withTempDir('events', async folder => {
    const path = join(folder, 'events.db');
    writeFileSync(path, 'not a database at all, but long enough to be looked at as one'.repeat(100));
    const file = new EventFile({ path, freeBytes: PLENTY });
    assert.is.not(file.write([chunk('events', 1)], {}).problem, null);
    assert.is(file.write([chunk('events', 11)], {}).problem, null);
    assert.equal(numbersOf(file, 'events'), [11]);
    file.close();
  }));

test('usage is committed at once while the file of events cannot be written', () =>
  withTempDir('events', async folder => {
    await agentBuilt();
    const { spool } = await openSpool(folder);
    const path = join(folder, 'events.db');
    const store = eventStore(path, systemClock);
    try {
      await store.write([chunk('events', 1)], {});
      // Somebody sits on the file: its thread waits for it with the whole of its time-out.
      const sitter = new Sqlite(path);
      sitter.exec('BEGIN EXCLUSIVE');
      let isWritten = false;
      const written = store.write([chunk('events', 11)], {}).then(answer => {
        isWritten = true;
        return answer;
      });
      for (let commits = 0; commits < 20; commits += 1) await spool.commit([delta()]);
      assert.not(isWritten, 'twenty commits did not wait for the events before them');
      sitter.exec('ROLLBACK');
      sitter.close();
      await written;
      const records = await spool.recordsAfter(0, 10);
      assert.is(records[0]?.flows, 20);
    } finally {
      await store.close();
      await spool.close();
    }
  }));

test.run();
