/**
 * The overview, pushed to whoever looks: one computation per organization and second, however many browsers. Sends
 * only what differs from what was sent last; a beat keeps idle connections open. Knows no HTTP: subscribers are
 * functions.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { OrganizationView } from '../identity/viewer';
import type { Log } from '../log';
import type { Services } from '../rpc/context';
import { readOverview } from './overview';
import type { OverviewView } from './views';

export const LIVE_INTERVAL_MS = 1_000;
/** Without any sign of change the overview is still looked at so often: figures grow stale, midnight passes. */
const RECHECK_TICKS = 5;
/** Streams of one process; more are refused, and the portal falls back to reloading. */
export const MAX_STREAMS = 1_000;

type Subscriber = (view: OverviewView) => void;
type Subject = Pick<OrganizationView, 'id' | 'kinds'>;

interface Channel {
  organization: Subject;
  subscribers: Set<Subscriber>;
  lastText: string;
  last: OverviewView | null;
  dirty: boolean;
  ticks: number;
  busy: boolean;
}

export class LiveFeed {
  readonly #services: Services;
  readonly #log: Log;
  readonly #channels = new Map<string, Channel>();
  readonly #timer: Timer;
  readonly #stopListening: () => void;
  #streams = 0;

  constructor(services: Services, options: { clock: Clock }) {
    this.#services = services;
    this.#log = services.log;
    this.#timer = options.clock.every(LIVE_INTERVAL_MS, () => this.#tick());
    this.#stopListening = services.presence.onChange(() => {
      for (const channel of this.#channels.values()) channel.dirty = true;
    });
  }

  /** Browsers that follow. */
  get streams(): number {
    return this.#streams;
  }

  /** Sends the present overview at once, then each change; undefined when there are too many streams. */
  subscribe(organization: Subject, subscriber: Subscriber): (() => void) | undefined {
    if (this.#streams >= MAX_STREAMS) return undefined;
    this.#streams += 1;
    let channel = this.#channels.get(organization.id);
    if (channel === undefined) {
      channel = {
        organization,
        subscribers: new Set(),
        lastText: '',
        last: null,
        dirty: true,
        ticks: 0,
        busy: false,
      };
      this.#channels.set(organization.id, channel);
    }
    const joined = channel;
    joined.subscribers.add(subscriber);
    if (joined.last === null) void this.#refresh(joined);
    else subscriber(joined.last);
    return () => {
      if (!joined.subscribers.delete(subscriber)) return;
      this.#streams -= 1;
      if (joined.subscribers.size === 0) this.#channels.delete(organization.id);
    };
  }

  close(): void {
    this.#timer.cancel();
    this.#stopListening();
    this.#channels.clear();
  }

  #tick(): void {
    for (const channel of this.#channels.values()) {
      channel.ticks += 1;
      if (channel.dirty || channel.ticks >= RECHECK_TICKS) void this.#refresh(channel);
    }
  }

  async #refresh(channel: Channel): Promise<void> {
    if (channel.busy) return;
    channel.busy = true;
    channel.dirty = false;
    channel.ticks = 0;
    try {
      const view = await readOverview(this.#services, channel.organization);
      const text = JSON.stringify({ ...view, at: 0 });
      if (text === channel.lastText) return;
      channel.lastText = text;
      channel.last = view;
      for (const subscriber of channel.subscribers) subscriber(view);
    } catch (error) {
      // The next tick tries again; browsers keep what they show.
      channel.dirty = true;
      this.#log.warn({ err: error }, 'the live overview could not be read');
    } finally {
      channel.busy = false;
    }
  }
}
