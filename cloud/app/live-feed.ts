/**
 * The browser's end of the live figures: one EventSource at a time, for as long as somebody looks. Comes back by
 * itself after a loss, with growing pauses, and says aloud which of the two it is doing. A stream that the server
 * refuses is asked once by fetch why, since EventSource will not tell: a session that ended needs a log-in, not a
 * retry. What the figures mean is the dashboard's business.
 */
import { Backoff } from '@mastline/shared/base/backoff';
import type { Clock, Timer } from '@mastline/shared/base/clock';

export type LiveStatus = 'connecting' | 'live' | 'reconnecting';

/** The server says something at least every 15 s; twice that and a little is silence. */
export const SILENCE_MS = 40_000;
const PROBE_DEADLINE_MS = 5_000;

export interface FeedOptions<T> {
  url: string;
  clock: Clock;
  /** Turns an event's text into figures; undefined for what is not understood. */
  parse(text: string): T | undefined;
  onFigures(figures: T): void;
  onStatus(status: LiveStatus): void;
  /** The server wants a log-in; the feed has stopped. */
  onSessionEnded(): void;
  /** For tests; the browser's own otherwise. */
  openSource?(url: string): EventSource;
  fetch?: typeof fetch;
  random?(): number;
}

/** Open from construction until `close()`. */
export class LiveFeed<T> {
  readonly #options: FeedOptions<T>;
  readonly #backoff: Backoff;
  #source: EventSource | undefined;
  #silence: Timer | undefined;
  #retry: Timer | undefined;
  #probe: AbortController | undefined;
  #closed = false;

  constructor(options: FeedOptions<T>) {
    this.#options = options;
    this.#backoff = new Backoff({
      firstMs: 1_000,
      maxMs: 15_000,
      ...(options.random === undefined ? {} : { random: options.random }),
    });
    options.onStatus('connecting');
    this.#open();
  }

  close(): void {
    this.#closed = true;
    this.#drop();
    this.#retry?.cancel();
    this.#probe?.abort();
  }

  #open(): void {
    const { url, openSource } = this.#options;
    const source = openSource?.(url) ?? new EventSource(url);
    this.#source = source;
    this.#listenForSilence();
    source.onmessage = event => this.#heard(event.data);
    source.addEventListener('overview', event => this.#heard(event.data));
    source.addEventListener('ping', () => this.#listenForSilence());
    source.onerror = () => {
      // EventSource would retry a lost stream by itself, but not a refused one, and never with growing pauses.
      const refused = source.readyState === 2;
      this.#drop();
      void this.#lost(refused);
    };
  }

  #heard(text: unknown): void {
    this.#listenForSilence();
    const figures = typeof text === 'string' ? this.#options.parse(text) : undefined;
    if (figures === undefined) return;
    this.#backoff.reset();
    this.#options.onStatus('live');
    this.#options.onFigures(figures);
  }

  #listenForSilence(): void {
    this.#silence?.cancel();
    this.#silence = this.#options.clock.after(SILENCE_MS, () => {
      this.#drop();
      void this.#lost(false);
    });
  }

  #drop(): void {
    this.#silence?.cancel();
    this.#source?.close();
    this.#source = undefined;
  }

  async #lost(refused: boolean): Promise<void> {
    this.#options.onStatus('reconnecting');
    if (refused && (await this.#wantsLogIn())) {
      if (!this.#closed) this.#options.onSessionEnded();
      return;
    }
    if (this.#closed) return;
    this.#retry = this.#options.clock.after(this.#backoff.nextMs(), () => this.#open());
  }

  async #wantsLogIn(): Promise<boolean> {
    const probe = new AbortController();
    this.#probe = probe;
    const deadline = this.#options.clock.after(PROBE_DEADLINE_MS, () => probe.abort());
    try {
      const answer = await (this.#options.fetch ?? fetch)(this.#options.url, {
        headers: { accept: 'text/event-stream' },
        signal: probe.signal,
      });
      return answer.status === 401;
    } catch {
      // No answer is no refusal: the next try will tell.
      return false;
    } finally {
      deadline.cancel();
      // The status was all we wanted: frees the stream that the answer may have opened.
      probe.abort();
    }
  }
}
