/** The portal as `--once` uses it: logs in by its form as a browser does, then asks tRPC over HTTP. */
import { CodedError } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';

const DEADLINE_MS = 10_000;

const Sum = z.looseObject({ upBytes: z.int(), downBytes: z.int(), flows: z.int() });
const UsageSince = z.looseObject({
  total: Sum,
  byEndpoint: z.array(Sum.extend({ endpointId: z.string().nullable(), name: z.string() })),
});
export type UsageSince = z.infer<typeof UsageSince>;

const Endpoints = z.array(
  z.looseObject({
    id: z.string(),
    name: z.string(),
    protocols: z.array(z.enum(['socks5', 'http'])),
    host: z.string(),
    port: z.int(),
    slots: z.array(z.looseObject({ slot: z.int() })),
    problem: z.string().nullable(),
  }),
);
export type Endpoints = z.infer<typeof Endpoints>;

export interface PortalClient {
  /** Usage in the ledger since an instant (epoch milliseconds), by endpoint. */
  usageSince(from: number): Promise<UsageSince>;
  endpoints(): Promise<Endpoints>;
  /** Any query. */
  ask(procedure: string, input: unknown): Promise<unknown>;
  /** Any mutation. */
  tell(procedure: string, input: unknown): Promise<unknown>;
}

/** Logs in at the portal's own form. Throws `start/log-in` when it is refused. */
export async function logIn(base: string, email: string, password: string): Promise<PortalClient> {
  const response = await fetch(new URL('/login', base), {
    method: 'POST',
    redirect: 'manual',
    headers: { Origin: new URL(base).origin },
    body: new URLSearchParams({ email, password, to: '/dashboard' }),
    signal: AbortSignal.timeout(DEADLINE_MS),
  });
  const cookie = response.headers
    .getSetCookie()
    .map(line => line.split(';', 1)[0])
    .join('; ');
  if (response.status !== 302 || cookie === '')
    throw new CodedError('start/log-in', `the portal answered ${response.status} to the demo log-in`);

  const ask = async <T>(procedure: string, input: unknown, schema: z.ZodType<T>): Promise<T> => {
    const url = new URL(`/api/trpc/${procedure}`, base);
    if (input !== undefined) url.searchParams.set('input', JSON.stringify(input));
    const answer = await fetch(url, { headers: { cookie }, signal: AbortSignal.timeout(DEADLINE_MS) });
    return dataOf(procedure, await answer.json(), schema);
  };
  return {
    usageSince: from => ask('usage.since', { from }, UsageSince),
    endpoints: () => ask('endpoints.list', undefined, Endpoints),
    ask: (procedure, input) => ask(procedure, input, z.unknown()),
    tell: async (procedure, input) => {
      const answer = await fetch(new URL(`/api/trpc/${procedure}`, base), {
        method: 'POST',
        headers: { cookie, origin: new URL(base).origin, 'content-type': 'application/json' },
        body: JSON.stringify(input),
        signal: AbortSignal.timeout(DEADLINE_MS),
      });
      return dataOf(procedure, await answer.json(), z.unknown());
    },
  };
}

function dataOf<T>(procedure: string, body: unknown, schema: z.ZodType<T>): T {
  const Envelope = z.looseObject({ result: z.looseObject({ data: schema }) });
  return parseOrExplain(Envelope, body, `the portal's answer to ${procedure}`, 'start/portal').result.data;
}
