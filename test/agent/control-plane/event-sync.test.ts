/** What the node remembers, from the journal over the link: after usage, once, within its bytes. */
import { join } from 'node:path';
import { cloudTime } from '@mastline/agent/control-plane/cloud-time';
import { BATCH_OVERHEAD_BYTES, EventBudget } from '@mastline/agent/control-plane/event-budget';
import { EventJournal, MAX_MEMORY_BYTES, SPILL_MS } from '@mastline/agent/control-plane/event-journal';
import { EventSync } from '@mastline/agent/control-plane/event-sync';
import type { LinkSession } from '@mastline/agent/control-plane/link-session';
import { createLog, type LogFields } from '@mastline/agent/observe/log';
import type { Chunk, StoredChunk } from '@mastline/agent/spool/event-file';
import { type EventStore, eventStore } from '@mastline/agent/spool/event-store';
import { systemClock } from '@mastline/shared/base/clock';
import { METERED_EVENT_BYTES } from '@mastline/shared/wire/limits';
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import * as assert from 'uvu/assert';
import { agentBuilt } from '../../support/build-agent';
import { type FakeClock, fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';
import { withTempDir } from '../../support/temp';

const test = suite('events over the link');
type Batch = UplinkBody<'event-batch'>;
const NOON = Date.UTC(2026, 10, 30, 12);

/** A store in memory, which fails or is looked into as the test likes. */
class MemoryStore implements EventStore {
  chunks: StoredChunk[] = [];
  writes = 0;
  fault: string | null = null;
  #id = 0;

  get hasFile(): boolean {
    return this.chunks.length > 0;
  }

  async write(chunks: readonly Chunk[], forget: { events?: number; flows?: number }) {
    this.writes += 1;
    const dropped = { events: 0, flows: 0 };
    if (this.fault) {
      for (const { stream, items } of this.chunks) dropped[stream] += items;
      this.chunks = [];
      return { dropped, problem: this.fault };
    }
    this.chunks = this.chunks.filter(({ stream, id }) => id > (forget[stream] ?? 0));
    for (const { epoch, stream, first, items, text } of chunks) {
      this.#id += 1;
      this.chunks.push({ epoch, stream, first, items, text, id: this.#id });
    }
    return { dropped, problem: null };
  }

  async oldest(stream: string, after: number) {
    return this.chunks.find(chunk => chunk.stream === stream && chunk.id > after) ?? null;
  }

  async empty() {
    const lost = { events: 0, flows: 0 };
    for (const { stream, items } of this.chunks) lost[stream] += items;
    this.chunks = [];
    return lost;
  }

  async close() {}
}

class Node {
  readonly clock: FakeClock;
  readonly lines: LogFields[] = [];
  readonly sent: Batch[] = [];
  readonly journal: EventJournal;
  readonly sync: EventSync;
  readonly time;
  isUsageQuiet = true;
  queued = 0;
  /** What the cloud does with a batch. */
  answer: (batch: Batch) => void = batch => this.acknowledge(batch);
  readonly session: LinkSession = {
    send: (kind, body) => {
      assert.is(kind, 'event-batch');
      const batch = body as Batch;
      this.sent.push(batch);
      setImmediate(() => this.answer(batch));
      return 'sent';
    },
    queuedBytes: () => this.queued,
    giveUp: () => assert.unreachable('a link is not given up for events'),
  };

  constructor(
    options: { store?: EventStore; metered?: boolean; isTimeKnown?: boolean; clock?: FakeClock } = {},
  ) {
    const { store = new MemoryStore(), metered = false, isTimeKnown = true } = options;
    this.clock = options.clock ?? fakeClock(NOON);
    this.time = cloudTime(this.clock);
    if (isTimeKnown) this.time.correct(NOON, 0);
    const log = createLog({ level: 'debug', write: line => void this.lines.push(JSON.parse(line)) });
    this.journal = new EventJournal({ store, time: this.time, metered, clock: this.clock, log });
    this.sync = new EventSync({
      journal: this.journal,
      isUsageQuiet: () => this.isUsageQuiet,
      budget: metered ? new EventBudget(this.clock) : undefined,
      clock: this.clock,
      log,
    });
  }

  connect(): void {
    this.sync.begin(this.session, ['event-batch']);
  }

  acknowledge({ epoch, stream, first, events, flows }: Batch): void {
    const items = (events ?? flows ?? []).length;
    this.sync.acknowledged({ epoch, stream, mark: first + items - 1 });
  }

  event(detail: string): void {
    this.journal.event({ kind: 'modem-state', severity: 'info', slot: 1, detail });
  }

  flow(host = 'example.org'): void {
    this.journal.flow(
      {
        tookMs: 10,
        credentialId: 'c1',
        endpointId: 'e1',
        slot: 1,
        protocol: 'socks5',
        outcome: 'ok',
        upBytes: 1,
        downBytes: 2,
        host,
        port: 443,
      },
      1_000,
    );
  }

  /** Numbers sent, by stream, in the order sent. */
  numbers(stream: 'events' | 'flows'): number[] {
    return this.sent
      .filter(batch => batch.stream === stream)
      .flatMap(batch => (batch.events ?? batch.flows ?? []).map((_, at) => batch.first + at));
  }

  details(): string[] {
    return this.sent.flatMap(batch => (batch.events ?? []).map(({ detail }) => detail));
  }
}

test('tells what happened once, events before flows, with its time, and never touches the disk', async () => {
  const store = new MemoryStore();
  const node = new Node({ store });
  node.connect();
  node.flow();
  node.event('failed');
  node.event('connected');
  await node.clock.advance(2_000);
  await node.clock.advance(60_000);
  assert.equal(
    node.sent.map(({ stream, first }) => [stream, first]),
    [
      ['events', 1],
      ['flows', 1],
    ],
  );
  assert.equal(node.details(), ['failed', 'connected']);
  assert.is(node.sent[1]?.flows?.[0]?.endedAt, NOON - 1_000);
  assert.is(store.writes, 0);
  await node.journal.close();
});

test('waits for usage and for an empty queue, however long', async () => {
  const node = new Node();
  node.isUsageQuiet = false;
  node.connect();
  node.event('x');
  await node.clock.advance(120_000);
  assert.is(node.sent.length, 0, 'usage is under way');
  node.isUsageQuiet = true;
  node.queued = 1;
  await node.clock.advance(5_000);
  assert.is(node.sent.length, 0, 'something is in the queue');
  node.queued = 0;
  await node.clock.advance(1_000);
  assert.is(node.sent.length, 1);
  await node.journal.close();
});

test('one batch at a time: the next goes when the last is acknowledged', async () => {
  const node = new Node();
  node.answer = () => undefined;
  node.connect();
  for (let flows = 0; flows < 1_200; flows += 1) node.flow();
  await node.clock.advance(10_000);
  assert.is(node.sent.length, 1);
  node.answer = batch => node.acknowledge(batch);
  const [first] = node.sent;
  assert.ok(first);
  node.acknowledge(first);
  await node.clock.advance(10_000);
  assert.equal(
    node.numbers('flows'),
    Array.from({ length: 1_200 }, (_, at) => at + 1),
  );
  await node.journal.close();
});

test('sends the same batch again when no answer comes, and leaves a cloud that never answers alone', async () => {
  const node = new Node();
  node.answer = () => undefined;
  node.connect();
  node.event('x');
  await node.clock.advance(600_000);
  assert.equal(
    node.sent.map(({ epoch, first }) => [epoch, first]),
    Array.from({ length: 3 }, () => [node.journal.epoch, 1]),
  );
  assert.ok(node.lines.some(line => line.code === 'events/unanswered'));
  node.answer = batch => node.acknowledge(batch);
  node.connect();
  await node.clock.advance(2_000);
  assert.is(node.sent.length, 4, 'the next session tries again');
  await node.journal.close();
});

test('a cloud that has enough for now is asked again when it said', async () => {
  const node = new Node();
  node.answer = ({ epoch, stream }) =>
    node.sync.refused({ epoch, stream, code: 'events/too-many', message: 'later', retryAfterMs: 30_000 });
  node.connect();
  node.event('x');
  await node.clock.advance(2_000);
  assert.is(node.sent.length, 1);
  node.answer = batch => node.acknowledge(batch);
  await node.clock.advance(27_000);
  assert.is(node.sent.length, 1);
  await node.clock.advance(5_000);
  assert.is(node.sent.length, 2);
  await node.journal.close();
});

test('says nothing to a cloud that does not take it', async () => {
  const node = new Node();
  node.sync.begin(node.session, ['rotation-report']);
  node.event('x');
  await node.clock.advance(60_000);
  assert.is(node.sent.length, 0);
  await node.journal.close();
});

test('without a link the disk is written to seldom, and the next run tells it with its old numbers', () =>
  withTempDir('events', async folder => {
    await agentBuilt();
    const path = join(folder, 'events.db');
    const store = eventStore(path, systemClock);
    const before = new Node({ store });
    before.event('told late');
    before.flow();
    before.journal.seal();
    await before.journal.close();
    const again = new Node({ store: eventStore(path, systemClock) });
    again.event('told now');
    again.journal.seal();
    const told: Batch[] = [];
    // The thread of the file lives by real time, the rest by the test's.
    for (
      let batch = await again.journal.next(() => true);
      batch;
      batch = await again.journal.next(() => true)
    ) {
      const { epoch, stream, first, items, droppedEvents, text } = batch;
      told.push({ epoch, stream, first, droppedEvents, [stream]: JSON.parse(text) } as Batch);
      assert.ok(again.journal.acknowledge(epoch, stream, first + items - 1));
    }
    assert.equal(
      told.map(({ epoch, stream, first }) => [epoch === before.journal.epoch, stream, first]),
      [
        [true, 'events', 1],
        [false, 'events', 1],
        [true, 'flows', 1],
      ],
    );
    await again.journal.close();
    const last = eventStore(path, systemClock);
    assert.is(await last.oldest('events', 0), null, 'what was told is forgotten');
    await last.close();
  }));

test('the disk is written to once in fifteen seconds at most, and not for flows that go soon', async () => {
  const store = new MemoryStore();
  const node = new Node({ store });
  for (let second = 0; second < 60; second += 1) {
    node.event('x');
    node.flow();
    await node.clock.advance(1_000);
  }
  assert.ok(store.writes <= 60_000 / SPILL_MS, `${store.writes} writes in a minute`);
  assert.ok(store.chunks.some(({ stream }) => stream === 'events'));
  await node.journal.close();
});

test('memory is bounded while nothing can be kept: flows go first, and all are counted in what is sent', async () => {
  const store = new MemoryStore();
  store.fault = 'the disk is full';
  const node = new Node({ store });
  node.event('the first');
  node.journal.seal();
  node.answer = () => undefined;
  node.connect();
  await node.clock.advance(1_000);
  const host = 'h'.repeat(200);
  const perFlow = 350;
  const flows = Math.ceil((4 * MAX_MEMORY_BYTES) / perFlow);
  for (let flow = 0; flow < flows; flow += 1) node.flow(host);
  const { flows: dropped, events } = node.journal.dropped();
  assert.ok(dropped > flows / 2, `${dropped} of ${flows} dropped`);
  assert.is(events, 0);
  node.answer = batch => node.acknowledge(batch);
  const [first] = node.sent;
  if (first) node.acknowledge(first);
  await node.clock.advance(120_000);
  const kept = node.numbers('flows');
  assert.is(kept.length + node.journal.dropped().flows, flows);
  assert.is(kept.at(-1), flows, 'the newest are kept');
  assert.is(node.sent.at(-1)?.droppedEvents, node.journal.dropped().flows);
  await node.journal.close();
});

test('when usage needs the room, the disk is given up at once and not used until it is over', async () => {
  const store = new MemoryStore();
  const node = new Node({ store });
  node.event('x');
  node.journal.seal();
  await node.clock.advance(SPILL_MS);
  assert.is(store.chunks.length, 1);
  node.journal.hold(true);
  await node.clock.advance(0);
  assert.is(store.chunks.length, 0);
  assert.is(node.journal.dropped().events, 1);
  node.event('y');
  await node.clock.advance(4 * SPILL_MS);
  assert.is(store.chunks.length, 0);
  node.journal.hold(false);
  await node.clock.advance(2 * SPILL_MS);
  assert.is(store.chunks.length, 1, 'what stayed in memory goes to disk now');
  await node.journal.close();
});

test('what happened before the cloud told the time gets the time at which it happened', async () => {
  const clock = fakeClock(0);
  const node = new Node({ isTimeKnown: false, clock });
  node.event('in 1970');
  await clock.advance(60_000);
  node.connect();
  await clock.advance(5_000);
  assert.is(node.sent.length, 0);
  node.time.correct(NOON, 0);
  await clock.advance(5_000);
  assert.is(node.sent[0]?.events?.[0]?.at, NOON - 65_000);
  await node.journal.close();
});

test('what does not fit the protocol is dropped here, and what comes behind it goes', async () => {
  const node = new Node();
  node.connect();
  node.journal.event({ kind: 'Not A Name', severity: 'info', detail: '' });
  node.journal.seal();
  await node.clock.advance(1_000);
  node.event('good');
  await node.clock.advance(4_000);
  assert.equal(node.details(), ['good']);
  assert.is(node.sent[0]?.first, 2);
  assert.is(node.sent[0]?.droppedEvents, 1);
  await node.journal.close();
});

test(
  'a metered link carries at most its month of bytes, however much happens, and events before flows',
  async () => {
    const clock = fakeClock(NOON);
    const node = new Node({ metered: true, clock });
    node.connect();
    const MONTH_MS = 30 * 86_400_000;
    const STEP_MS = 900_000;
    let happened = 0;
    for (let spent = 0; spent < MONTH_MS; spent += STEP_MS) {
      for (let flow = 0; flow < 20; flow += 1) node.flow(`host-${flow}.example`);
      if (spent % (8 * STEP_MS) === 0) {
        node.event(`state ${spent}`);
        happened += 1;
      }
      await clock.advance(STEP_MS);
    }
    const cost = (batch: Batch) => JSON.stringify(batch.events ?? batch.flows).length + BATCH_OVERHEAD_BYTES;
    const bytes = node.sent.reduce((sum, batch) => sum + cost(batch), 0);
    console.log(`${bytes} bytes in a month, ${node.sent.length} batches`);
    assert.ok(bytes <= METERED_EVENT_BYTES, `${bytes} bytes`);
    assert.ok(bytes > METERED_EVENT_BYTES * 0.6, `${bytes} bytes: the budget is used`);
    assert.ok(node.details().length >= happened - 1, `${node.details().length} of ${happened} events told`);
    assert.ok(node.numbers('flows').length > 500);
    await node.journal.close();
  },
  { deadlineMs: 120_000 },
);

test.run();
