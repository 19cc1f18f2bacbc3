/**
 * The bus by NATS: connects for ever, also when the server is not there at the start. While it is away nothing is queued:
 * what would be late is told anew after the return (cluster.ts). Credentials come in the URL and are never logged.
 */
import { Backoff } from '@mastline/shared/base/backoff';
import { type Clock, sleep } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import { type ConnectionOptions, connect, ErrorCode, Events, type NatsConnection } from 'nats';
import type { Log } from '../log';
import { type Bus, type BusState, type Hear, MAX_MESSAGE_BYTES, type Reply } from './bus';

const CONNECT_DEADLINE_MS = 2_000;
const RETRY_FIRST_MS = 250;
const RETRY_MAX_MS = 2_000;
/** A server that answers no ping for so long, twice, is taken for gone: a half-open connection is found in 9 s. */
const PING_MS = 3_000;
const MAX_PINGS_OUT = 2;
const FLUSH_DEADLINE_MS = 500;

/** One or several comma-separated `nats://` or `tls://` addresses of one NATS; credentials of the first hold for all. */
export function natsOptions(text: string): ConnectionOptions & { servers: string[] } {
  const urls = text.split(',').map(part => new URL(part.trim()));
  const [first] = urls;
  if (first === undefined) throw new CodedError('cluster/nats-url', 'no address in NATS_URL');
  const [user, pass] = [decodeURIComponent(first.username), decodeURIComponent(first.password)];
  return {
    servers: urls.map(url => `${url.hostname}:${url.port || '4222'}`),
    ...(user === '' ? {} : pass === '' ? { token: user } : { user, pass }),
    ...(urls.some(url => url.protocol === 'tls:') ? { tls: {} } : {}),
  };
}

export class NatsBus implements Bus {
  readonly #options: ConnectionOptions & { servers: string[] };
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #backoff: Backoff;
  readonly #listeners = new Map<string, Hear>();
  readonly #closing = new AbortController();
  #connection: NatsConnection | undefined;
  #isUp = false;
  #awaySinceMs: number;
  #running: Promise<void> = Promise.resolve();
  #on: Parameters<Bus['start']>[0] = { up: () => undefined, away: () => undefined };

  constructor(options: { url: string; name: string; clock: Clock; log: Log; random?: () => number }) {
    this.#options = {
      ...natsOptions(options.url),
      name: options.name,
      timeout: CONNECT_DEADLINE_MS,
      maxReconnectAttempts: -1,
      reconnectTimeWait: RETRY_FIRST_MS,
      reconnectJitter: RETRY_FIRST_MS,
      pingInterval: PING_MS,
      maxPingOut: MAX_PINGS_OUT,
      noEcho: true,
    };
    this.#clock = options.clock;
    this.#log = options.log;
    this.#backoff = new Backoff({
      firstMs: RETRY_FIRST_MS,
      maxMs: RETRY_MAX_MS,
      ...(options.random === undefined ? {} : { random: options.random }),
    });
    this.#awaySinceMs = options.clock.monotonicMs();
  }

  get state(): BusState {
    return this.#isUp ? 'up' : 'away';
  }

  get awayMs(): number {
    return this.#isUp ? 0 : this.#clock.monotonicMs() - this.#awaySinceMs;
  }

  listen(subject: string, hear: Hear): void {
    this.#listeners.set(subject, hear);
  }

  start(on: Parameters<Bus['start']>[0]): void {
    this.#on = on;
    this.#running = this.#run();
  }

  publish(subject: string, bytes: Uint8Array): boolean {
    if (!this.#isUp) return false;
    if (bytes.length > MAX_MESSAGE_BYTES) {
      this.#log.error({ subject, bytes: bytes.length }, 'a message is too long for NATS: it is lost');
      return false;
    }
    try {
      this.#connection?.publish(subject, bytes);
      return true;
    } catch (error) {
      // Closed a moment ago: its end is told by its status.
      this.#log.debug({ err: messageOf(error) }, 'NATS did not take a message');
      return false;
    }
  }

  async ask(subject: string, bytes: Uint8Array, deadlineMs: number): Promise<Reply> {
    if (!this.#isUp || this.#connection === undefined) return { is: 'away' };
    try {
      const { data } = await this.#connection.request(subject, bytes, { timeout: deadlineMs });
      return data.length > MAX_MESSAGE_BYTES ? { is: 'late' } : { is: 'answer', bytes: data };
    } catch (error) {
      const code = codeOf(error);
      if (code === ErrorCode.NoResponders) return { is: 'nobody' };
      if (code !== ErrorCode.Timeout)
        this.#log.warn({ err: messageOf(error) }, 'NATS could not carry a question');
      return { is: 'late' };
    }
  }

  async close(): Promise<void> {
    this.#closing.abort();
    const connection = this.#connection;
    if (connection !== undefined) {
      if (this.#isUp)
        await withDeadline(connection.flush(), FLUSH_DEADLINE_MS, 'flushing NATS', this.#clock).catch(
          (error: unknown) => this.#log.debug({ err: messageOf(error) }, 'NATS was left without a flush'),
        );
      await connection.close();
    }
    this.#isUp = false;
    await this.#running;
  }

  async #run(): Promise<void> {
    for (let told = false; !this.#closing.signal.aborted; ) {
      try {
        await this.#live(await connect(this.#options));
        told = false;
      } catch (error) {
        // Once for each absence, not for each try.
        if (!told)
          this.#log.warn(
            { err: messageOf(error), servers: this.#options.servers },
            'NATS does not answer: this process goes on by itself and keeps looking for it',
          );
        told = true;
      }
      if (this.#closing.signal.aborted) return;
      await sleep(this.#clock, this.#backoff.nextMs(), this.#closing.signal).catch(() => undefined);
    }
  }

  /** From a connection's beginning to its end; breaks in between are mended by the client. */
  async #live(connection: NatsConnection): Promise<void> {
    this.#connection = connection;
    if (this.#closing.signal.aborted) return connection.close();
    for (const [subject, hear] of this.#listeners)
      connection.subscribe(subject, {
        callback: (error, message) => {
          if (error !== null) {
            this.#log.error({ err: messageOf(error), subject }, 'NATS refused a subscription');
            return;
          }
          hear(message.data, message.reply ? bytes => void message.respond(bytes) : undefined);
        },
      });
    this.#backoff.reset();
    this.#cameUp();
    void this.#follow(connection);
    await connection.closed();
    this.#connection = undefined;
    this.#wentAway();
  }

  async #follow(connection: NatsConnection): Promise<void> {
    for await (const { type, data } of connection.status()) {
      if (connection.isClosed()) return;
      if (type === Events.Disconnect) this.#wentAway();
      else if (type === Events.Reconnect) this.#cameUp();
      else if (type === Events.Error) this.#log.warn({ detail: String(data) }, 'NATS reports an error');
    }
  }

  #cameUp(): void {
    if (this.#isUp || this.#closing.signal.aborted) return;
    const { awayMs } = this;
    this.#isUp = true;
    this.#log.info({ servers: this.#options.servers, awayMs: Math.round(awayMs) }, 'NATS is there');
    this.#on.up(awayMs);
  }

  #wentAway(): void {
    if (!this.#isUp) return;
    this.#isUp = false;
    this.#awaySinceMs = this.#clock.monotonicMs();
    if (this.#closing.signal.aborted) return;
    this.#log.warn(
      { servers: this.#options.servers },
      'NATS is away: this process goes on by itself and keeps looking for it',
    );
    this.#on.away();
  }
}
