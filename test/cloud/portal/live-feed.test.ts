/** The live feed's manners, with an EventSource and a clock that do what they are told. */
import assert from 'node:assert/strict';
import { LiveFeed, type LiveStatus, SILENCE_MS } from '../../../cloud/app/live-feed';
import { fakeClock } from '../../support/clock';
import { suite } from '../../support/suite';

const test = suite('live feed');

class Source {
  readyState = 0;
  closed = false;
  onmessage: ((event: { data: string }) => void) | null = null;
  onerror: (() => void) | null = null;
  readonly listeners = new Map<string, (event: { data: string }) => void>();
  addEventListener(name: string, run: (event: { data: string }) => void) {
    this.listeners.set(name, run);
  }
  close() {
    this.closed = true;
  }
}

function started(answer: () => Promise<Response> = async () => new Response(null, { status: 503 })) {
  const clock = fakeClock();
  const sources: Source[] = [];
  const statuses: LiveStatus[] = [];
  const figures: number[] = [];
  const ended = { count: 0 };
  const feed = new LiveFeed<number>({
    url: '/api/live',
    clock,
    parse: text => (/^\d+$/.test(text) ? Number(text) : undefined),
    onFigures: value => void figures.push(value),
    onStatus: status => void statuses.push(status),
    onSessionEnded: () => {
      ended.count += 1;
    },
    openSource: () => {
      const source = new Source();
      sources.push(source);
      return source as unknown as EventSource;
    },
    fetch: answer as typeof fetch,
    random: () => 1,
  });
  return { clock, sources, statuses, figures, ended, feed };
}

test('is live from the first figures on, and leaves alone what it does not understand', () => {
  const { sources, statuses, figures, feed } = started();
  assert.deepEqual(statuses, ['connecting']);
  sources[0]!.onmessage?.({ data: 'gibberish' });
  assert.deepEqual(statuses, ['connecting']);
  sources[0]!.onmessage?.({ data: '7' });
  assert.deepEqual([statuses.at(-1), figures], ['live', [7]]);
  feed.close();
});

test('comes back after a loss with growing pauses, and with a short one after a success', async () => {
  const { clock, sources, statuses, feed } = started();
  for (const pause of [1_000, 2_000, 4_000]) {
    sources.at(-1)!.onerror?.();
    assert.equal(statuses.at(-1), 'reconnecting');
    const before = sources.length;
    await clock.advance(pause - 1);
    assert.equal(sources.length, before, `too early after ${pause}`);
    await clock.advance(1);
    assert.equal(sources.length, before + 1, `not after ${pause}`);
  }
  sources.at(-1)!.onmessage?.({ data: '1' });
  sources.at(-1)!.onerror?.();
  const before = sources.length;
  await clock.advance(1_000);
  assert.equal(sources.length, before + 1);
  feed.close();
  assert.equal(clock.pending(), 0);
});

test('takes a stream that says nothing for lost, but not one that only beats', async () => {
  const { clock, sources, statuses, feed } = started();
  sources[0]!.onmessage?.({ data: '1' });
  for (let beat = 0; beat < 6; beat += 1) {
    await clock.advance(15_000);
    sources[0]!.listeners.get('ping')?.({ data: 'still here' });
  }
  assert.equal(statuses.at(-1), 'live');
  await clock.advance(SILENCE_MS);
  assert.equal(statuses.at(-1), 'reconnecting');
  assert.equal(sources[0]!.closed, true);
  feed.close();
});

test('asks for a log-in when the server wants one, and stops', async () => {
  const { clock, sources, ended, feed } = started(async () => new Response(null, { status: 401 }));
  sources[0]!.readyState = 2;
  sources[0]!.onerror?.();
  await clock.advance(60_000);
  assert.equal(ended.count, 1);
  assert.equal(sources.length, 1);
  feed.close();
  assert.equal(clock.pending(), 0);
});

test('goes on trying when a refusal is not about the session, or nobody answers', async () => {
  for (const answer of [
    async () => new Response(null, { status: 503 }),
    () => Promise.reject(new TypeError('fetch failed')),
  ]) {
    const { clock, sources, ended, feed } = started(answer);
    sources[0]!.readyState = 2;
    sources[0]!.onerror?.();
    await clock.advance(1_000);
    assert.equal(sources.length, 2);
    assert.equal(ended.count, 0);
    feed.close();
  }
});

test('does nothing more once closed, also in the middle of a probe', async () => {
  let release: (response: Response) => void = () => {};
  const { clock, sources, ended, feed } = started(
    () =>
      new Promise(resolve => {
        release = resolve;
      }),
  );
  sources[0]!.readyState = 2;
  sources[0]!.onerror?.();
  feed.close();
  release(new Response(null, { status: 401 }));
  await clock.advance(60_000);
  assert.equal(sources.length, 1);
  assert.equal(ended.count, 0);
  assert.equal(clock.pending(), 0);
});

test.run();
