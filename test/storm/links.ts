/** Whoever has a secret link and calls it again and again: what the cloud answers must be one of its words, and true. */
import { z } from 'zod';

/** The cloud holds an answer for 25 s at most. */
const DEADLINE_MS = 60_000;

const Answer = z.looseObject({
  code: z.string(),
  outcome: z.string().nullable().optional(),
  oldAddress: z.string().nullable().optional(),
  newAddress: z.string().nullable().optional(),
});

/** Which answers a modem in a storm may get; nobody cuts the node off, so that `unanswered` is none of them. */
const FAIR: Record<number, readonly string[]> = {
  200: ['rotate/rotated'],
  202: ['rotate/under-way'],
  409: ['rotate/collision'],
  429: ['rotate/too-often', 'rotate/not-yet'],
  502: ['rotate/failed'],
  503: ['rotate/unavailable'],
};

/** `problem`: what is wrong with the answer, in words; null for a fair one. */
export async function callLink(url: string): Promise<{ answer: string; problem: string | null }> {
  const response = await fetch(url, { signal: AbortSignal.timeout(DEADLINE_MS) });
  const body = Answer.parse(await response.json());
  const answer = `${response.status} ${body.code}`;
  if (!FAIR[response.status]?.includes(body.code)) return { answer, problem: `answered ${answer}` };
  if (response.status === 429 && !(Number(response.headers.get('retry-after')) > 0))
    return { answer, problem: `answered ${answer} without saying when to ask again` };
  const { oldAddress, newAddress } = body;
  if (response.status === 200 && (!newAddress || oldAddress === newAddress))
    return { answer, problem: `rotated, from ${oldAddress} to ${newAddress}` };
  return { answer, problem: null };
}
