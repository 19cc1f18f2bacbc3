/**
 * Keeps one session with the cloud open, for ever: dials, waits with jitter, dials again, obeys how it was closed.
 * One session's socket is link-session.ts, the rules of waiting are link-policy.ts, and what is said over it is
 * uplink-sync.ts, desired-state.ts and reports.ts.
 */
import type { Socket } from 'node:net';
import { Backoff } from '@mastline/shared/base/backoff';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { Downlink, DownlinkBody } from '@mastline/shared/wire/downlink';
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import type { Log } from '../observe/log';
import type { CloudRoute } from './cloud-route';
import { type LinkEnd, nextDial } from './link-policy';
import { type LinkSession, OpenSession } from './link-session';

const FIRST_WAIT_MS = 1_000;
const LONGEST_WAIT_MS = 60_000;

export interface LinkOptions {
  cloudUrl: string;
  route: CloudRoute;
  nodeId: string;
  sign(bytes: Buffer): Buffer;
  hello(): Promise<UplinkBody<'hello'>>;
  onUp(session: LinkSession, welcome: DownlinkBody<'welcome'>, roundTripMs: number): void;
  onMessage(session: LinkSession, message: Downlink): void;
  onHeard(): void;
  /** The connection of each session, for who counts what goes over it. */
  onSocket?: (socket: Socket) => void;
  /** The session that was handed to `onUp` is over. */
  onDown(): void;
  clock: Clock;
  random: () => number;
  log: Log;
  /** Time between pings where the cloud grants it, milliseconds; longer on metered links. */
  pingIntervalMs: number;
  /** The link costs SIM data. */
  metered: boolean;
}

export interface LinkStatus {
  phase: 'idle' | 'dialling' | 'up' | 'waiting' | 'stopped';
  /** Why it is not up, for people; undefined while there is nothing wrong. */
  problem: string | undefined;
  /** Tries since the last welcome. */
  failures: number;
}

export class Link {
  readonly #options: LinkOptions;
  readonly #backoff: Backoff;
  #session: OpenSession | undefined;
  #wait: Timer | undefined;
  #phase: LinkStatus['phase'] = 'idle';
  #problem: string | undefined;
  #closed = false;

  constructor(options: LinkOptions) {
    this.#options = options;
    this.#backoff = new Backoff({ firstMs: FIRST_WAIT_MS, maxMs: LONGEST_WAIT_MS, random: options.random });
  }

  start(): void {
    if (this.#phase === 'idle' && !this.#closed) this.#dial();
  }

  status(): LinkStatus {
    return { phase: this.#phase, problem: this.#problem, failures: this.#backoff.failures };
  }

  /** Ends the session and all waiting; resolves when the socket is gone (bounded by the session's own deadline). */
  async close(): Promise<void> {
    this.#closed = true;
    this.#phase = 'stopped';
    this.#wait?.cancel();
    await this.#session?.close();
  }

  #dial(): void {
    this.#phase = 'dialling';
    this.#wait = undefined;
    let wasUp = false;
    const session: OpenSession = new OpenSession({
      ...this.#options,
      onWelcome: (up, welcome, roundTripMs) => {
        wasUp = true;
        this.#phase = 'up';
        this.#problem = undefined;
        this.#backoff.reset();
        this.#options.log.info('the link is up');
        this.#options.onUp(up, welcome, roundTripMs);
      },
      onEnd: end => {
        if (wasUp) this.#options.onDown();
        this.#ended(end);
      },
    });
    this.#session = session;
  }

  #ended(end: LinkEnd): void {
    if (this.#closed) return;
    const next = nextDial(end, {
      backoffMs: () => this.#backoff.nextMs(),
      longestMs: LONGEST_WAIT_MS,
      random: this.#options.random,
    });
    this.#problem = next.problem;
    if (next.is === 'stop') {
      this.#phase = 'stopped';
      this.#options.log.error('the link stays down until a person acts', { problem: next.problem });
      return;
    }
    this.#phase = 'waiting';
    this.#options.log.info('the link is down', { ...end, againAfterMs: next.afterMs });
    this.#wait = this.#options.clock.after(next.afterMs, () => this.#dial());
  }
}
