/**
 * Which address the outside sees of a slot: asked of echo services through the modem, since a modem knows only its
 * address inside the carrier's network. One round asks the services in turn until one answers sensibly.
 */
import { isIP } from 'node:net';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { ipv6Bytes } from '@mastline/shared/protocols/socks5-client';
import type { CountOwn } from '../ports';
import { urlsFor } from './address-family';
import { boundRequest } from './bound-request';

export const ECHO_DEADLINE_MS = 8000;
const MAX_ECHO_BYTES = 4096;

export interface ExitQuestion {
  echoUrls: readonly string[];
  localAddress: string | null;
  dnsServers: readonly string[];
  clock: Clock;
  signal: AbortSignal;
  count?: CountOwn | undefined;
}

/** The address; throws `modem/exit-unknown` naming what each service did when none told. */
export async function askExitAddress(question: ExitQuestion): Promise<string> {
  const failures: string[] = [];
  for (const url of urlsFor(question.localAddress, question.echoUrls)) {
    try {
      const reply = await boundRequest({
        ...question,
        url,
        deadlineMs: ECHO_DEADLINE_MS,
        maxBytes: MAX_ECHO_BYTES,
        headers: { accept: 'text/plain, application/json' },
      });
      const address = reply.status === 200 ? addressIn(reply.body) : null;
      if (address !== null) return address;
      failures.push(`${url}: HTTP ${reply.status} without an address`);
    } catch (error) {
      failures.push(messageOf(error));
      if (question.signal.aborted) break;
    }
  }
  throw new CodedError(
    'modem/exit-unknown',
    failures.length === 0 ? 'no echo service is configured' : failures.join('; '),
    { retryable: true },
  );
}

/**
 * What counts as one exit: an IPv4 address, and of IPv6 the /64, which carriers give to one modem whole (RFC 6459 part
 * 5.2). Another address in it is still the same customer's to everybody out there.
 */
export function exitOf(address: string): string {
  if (isIP(address) !== 6) return address;
  return ipv6Bytes(address).subarray(0, 8).toString('hex');
}

/** The address in an echo service's answer: bare text, or JSON with `ip`, `address` or `origin`. Null when none. */
export function addressIn(body: string): string | null {
  const text = body.trim();
  if (isIP(text) !== 0) return text;
  if (!text.startsWith('{')) return null;
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return null;
  }
  for (const key of ['ip', 'address', 'origin']) {
    const found = (value as Record<string, unknown>)[key];
    if (typeof found === 'string' && isIP(found) !== 0) return found;
  }
  return null;
}
