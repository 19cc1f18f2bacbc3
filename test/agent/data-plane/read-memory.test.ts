import {
  type LargeReader,
  MIDDLE,
  ReadMemory,
  SMALL,
  type View,
} from '@mastline/agent/data-plane/read-memory';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';

const test = suite('read memory');

const MIB = 1024 * 1024;

class Reader implements LargeReader {
  resting = false;
  constructor(readonly slot: number | null) {}
  rest(): void {
    this.resting = true;
  }
  wake(): void {
    this.resting = false;
  }
}

const world = (bytes = MIB) => {
  const hold = { heldBytes: 0 };
  return { hold, reads: new ReadMemory(bytes, hold) };
};

/** As long a view as this reader can get by filling each. */
function grown(reads: ReadMemory, reader: LargeReader): View {
  let view: View = SMALL;
  for (let reading = 0; reading < 5; reading += 1) view = reads.longer(view, reads.view(view).length, reader);
  return view;
}

test('a flow begins small, grows to the whole as long as it fills its view, and shrinks when its receiver is slow', () => {
  const { reads } = world();
  const reader = new Reader(1);
  assert.is(reads.view(SMALL).length, 16 * 1024);
  const view = grown(reads, reader);
  assert.is(reads.view(view).length, MIB);
  assert.is(reads.shorter(view, reader), MIDDLE);
  assert.is(reads.shorter(MIDDLE, reader), SMALL);
  assert.is(reads.shorter(SMALL, reader), SMALL);
});

test('all views are the same memory, and never longer than one read may be', () => {
  const { reads } = world(8 * 1024);
  const view = grown(reads, new Reader(1));
  assert.is(reads.view(view).length, 8 * 1024);
  assert.is(reads.view(view).buffer, reads.view(SMALL).buffer);
});

test('few flows have the whole in view at once; one that goes makes room for another', () => {
  const { reads } = world();
  const readers = Array.from({ length: 20 }, () => new Reader(1));
  const views = readers.map(reader => grown(reads, reader));
  assert.is(views.filter(view => view > MIDDLE).length, 16);
  const [first, late] = [readers[0], readers[19]];
  if (!first || !late) throw new Error('no readers');
  reads.release(views[0] ?? SMALL, first);
  assert.ok(grown(reads, late) > MIDDLE);
  assert.is(grown(reads, first), MIDDLE);
});

test('while much is held for slow receivers nobody gets a longer view', () => {
  const { reads, hold } = world();
  hold.heldBytes = 4 * MIB;
  assert.is(grown(reads, new Reader(1)), MIDDLE);
  hold.heldBytes = 8 * MIB;
  assert.is(grown(reads, new Reader(1)), SMALL);
});

test('a flow whose limit lets it use less than half of a view gets no longer one', () => {
  const { reads } = world();
  assert.is(reads.longer(MIDDLE, 32 * 1024, new Reader(1)), MIDDLE);
});

test('views can be cut to whole chunks, and one that is shorter than a chunk is left as it is', () => {
  const { reads } = world();
  const large = grown(reads, new Reader(1));
  assert.is(reads.view(large, 0x3fff).length % 0x3fff, 0);
  assert.is(reads.view(SMALL, 0xffff).length, 16 * 1024);
  assert.is(reads.view(large, 0x3fff), reads.view(large, 0x3fff));
});

test('large readers of a slot that waits for the disk rest until it goes on; those of others do not', () => {
  const { reads } = world();
  const [own, other] = [new Reader(1), new Reader(2)];
  grown(reads, own);
  grown(reads, other);
  reads.rest(1);
  assert.equal([own.resting, other.resting], [true, false]);
  const late = new Reader(1);
  const view = grown(reads, late);
  assert.ok(late.resting);
  // One that shrinks reads on: what it holds at most is little.
  reads.shorter(view, late);
  assert.not.ok(late.resting);
  reads.wake(2);
  assert.ok(own.resting);
  reads.wake(1);
  assert.not.ok(own.resting);
  reads.rest(1);
  reads.wakeAll();
  assert.not.ok(own.resting);
});

test.run();
