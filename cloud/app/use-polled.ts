/**
 * Figures that are asked for again every few seconds while somebody looks: the loader's until the first answer. A lost
 * answer leaves the screen as it was and says so; a session that ended, or a right that went, lets the loader decide.
 */
import { useRevalidator } from '@remix-run/react';
import { useEffect, useState } from 'react';
import type { LiveStatus } from './live-feed';

const EVERY_MS = 3_000;
const ANSWER_DEADLINE_MS = 10_000;

/** `path` answers with what the loader gave; another path means other figures. */
export function usePolled<T extends { at: number }>(
  loaded: T,
  path: string,
): { figures: T; status: LiveStatus } {
  const [heard, setHeard] = useState<{ path: string; figures: T }>();
  const [status, setStatus] = useState<LiveStatus>('connecting');
  const { revalidate } = useRevalidator();

  useEffect(() => {
    let timer: ReturnType<typeof setTimeout> | undefined;
    let stopped = false;
    const ask = async () => {
      // A hidden tab asks nothing.
      if (!document.hidden) {
        const answer = await askOnce<T>(path);
        if (stopped) return;
        if (answer === 'not-ours') {
          revalidate();
          return;
        }
        if (answer !== 'lost') setHeard({ path, figures: answer });
        setStatus(answer === 'lost' ? 'reconnecting' : 'live');
      }
      timer = setTimeout(() => void ask(), EVERY_MS);
    };
    void ask();
    return () => {
      stopped = true;
      clearTimeout(timer);
    };
  }, [path, revalidate]);

  const fresh = heard?.path === path && heard.figures.at >= loaded.at;
  return { figures: fresh ? heard.figures : loaded, status };
}

async function askOnce<T extends { at: number }>(path: string): Promise<T | 'lost' | 'not-ours'> {
  try {
    const answer = await fetch(path, {
      headers: { accept: 'application/json' },
      signal: AbortSignal.timeout(ANSWER_DEADLINE_MS),
    });
    if (answer.status === 401 || answer.status === 403 || answer.status === 404) return 'not-ours';
    if (!answer.ok) return 'lost';
    const figures: Partial<T> | null = await answer.json();
    return typeof figures?.at === 'number' ? (figures as T) : 'lost';
  } catch {
    // No answer, a late one, half of one: the next may be whole.
    return 'lost';
  }
}
