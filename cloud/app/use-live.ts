/** Live figures for a component: the loader's until the first event, then the feed's. */

import { systemClock } from '@mastline/shared/base/clock';
import { useRevalidator } from '@remix-run/react';
import { useEffect, useState } from 'react';
import type { ModemView, OverviewView } from './api-types';
import { LiveFeed, type LiveStatus } from './live-feed';

/** `scope` names whose figures they are (the active organization): another one means another stream. */
export function useLive(loaded: OverviewView, scope: string): { overview: OverviewView; status: LiveStatus } {
  const [heard, setHeard] = useState<{ scope: string; overview: OverviewView }>();
  const [status, setStatus] = useState<LiveStatus>('connecting');
  const { revalidate } = useRevalidator();

  useEffect(() => {
    let feed: LiveFeed<OverviewView> | undefined;
    const open = () => {
      feed ??= new LiveFeed({
        url: '/api/live',
        clock: systemClock,
        parse: parseOverview,
        onFigures: overview => setHeard({ scope, overview }),
        onStatus: setStatus,
        // The loader finds no session either and leads to the log-in page and back.
        onSessionEnded: () => void revalidate(),
      });
    };
    const close = () => {
      feed?.close();
      feed = undefined;
    };
    // A hidden tab holds no stream: browsers open only six to one server.
    const onVisibility = () => (document.hidden ? close() : open());
    document.addEventListener('visibilitychange', onVisibility);
    if (!document.hidden) open();
    return () => {
      document.removeEventListener('visibilitychange', onVisibility);
      close();
    };
  }, [scope, revalidate]);

  const fresh = heard?.scope === scope && heard.overview.at >= loaded.at;
  return { overview: fresh ? heard.overview : loaded, status };
}

/** Checks the outline, so that a wrong event leaves the screen as it was instead of breaking it. */
function parseOverview(text: string): OverviewView | undefined {
  let value: Partial<OverviewView> | null;
  try {
    value = JSON.parse(text);
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
  const whole =
    typeof value?.at === 'number' &&
    Array.isArray(value.modems) &&
    typeof value.nodes?.total === 'number' &&
    typeof value.today?.upBytes === 'number' &&
    typeof value.throughput?.upBytesPerSecond === 'number';
  return whole ? (value as OverviewView) : undefined;
}

export interface Samples {
  up: readonly number[];
  down: readonly number[];
}

/** How many seconds a sparkline shows. */
export const SAMPLES = 60;
const NONE: Samples = { up: [], down: [] };

/** The last minute of each modem's throughput, and of all together under the empty name; one sample a second. */
export function useSamples(overview: OverviewView, running: boolean): (slotId: string) => Samples {
  const [samples, setSamples] = useState<ReadonlyMap<string, Samples>>(new Map());
  const [latest] = useState<{ overview: OverviewView }>({ overview });
  latest.overview = overview;

  useEffect(() => {
    if (!running) return;
    const timer = setInterval(() => setSamples(before => sampled(before, latest.overview)), 1_000);
    return () => clearInterval(timer);
  }, [running, latest]);

  return slotId => samples.get(slotId) ?? NONE;
}

function sampled(before: ReadonlyMap<string, Samples>, overview: OverviewView): ReadonlyMap<string, Samples> {
  const next = new Map<string, Samples>();
  const add = (id: string, now: Pick<ModemView, 'upBytesPerSecond' | 'downBytesPerSecond'>) => {
    const { up, down } = before.get(id) ?? NONE;
    next.set(id, {
      up: [...up.slice(1 - SAMPLES), now.upBytesPerSecond],
      down: [...down.slice(1 - SAMPLES), now.downBytesPerSecond],
    });
  };
  add('', overview.throughput);
  for (const modem of overview.modems) add(modem.slotId, modem);
  return next;
}
