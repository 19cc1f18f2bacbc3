/** A time: written in the viewer's zone, with UTC in its title. */
import { useRouteLoaderData } from '@remix-run/react';
import type { loader as rootLoader } from '../root';
import { formatMoment, formatUtc } from '../time';

/** The viewer's zone; the same on the server and in the browser, so that nothing is written twice. */
export function useZone(): string {
  return useRouteLoaderData<typeof rootLoader>('root')?.zone ?? 'UTC';
}

export function Moment({ at }: { at: number }) {
  const zone = useZone();
  return (
    <time className="number" dateTime={new Date(at).toISOString()} title={formatUtc(at)}>
      {formatMoment(at, zone)}
    </time>
  );
}
