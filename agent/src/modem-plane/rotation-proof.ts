/**
 * What the outside sees of a slot at the beginning and at the end of a rotation. Several echo services are asked at
 * once through the modem, since one may be down, slow or answer out of a cache, and since a carrier may show different
 * addresses to different servers. Whether the address changed is judged from all that was seen (rotation.ts).
 */
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { urlsFor } from './address-family';
import { askExitAddress, type ExitQuestion } from './exit-address';

/** Asked at once; the next ones only when none of these told. */
const AT_ONCE = 3;
/** So long the others are waited for once one has told. */
const COMPANY_MS = 700;

/** Every address seen, the preferred service's first; rejects with `modem/exit-unknown` when nobody told. */
export async function seenAddresses(question: ExitQuestion): Promise<string[]> {
  const failures: string[] = [];
  const urls = urlsFor(question.localAddress, question.echoUrls);
  for (let from = 0; from < urls.length; from += AT_ONCE) {
    const round = await askTogether(question, urls.slice(from, from + AT_ONCE));
    if (round.addresses.length > 0) return [...new Set(round.addresses)];
    failures.push(...round.failures);
    if (question.signal.aborted) break;
  }
  throw new CodedError(
    'modem/exit-unknown',
    failures.length === 0 ? 'no echo service is configured' : failures.join('; '),
    { retryable: true },
  );
}

function askTogether(
  question: ExitQuestion,
  urls: readonly string[],
): Promise<{ addresses: string[]; failures: string[] }> {
  const enough = new AbortController();
  const signal = AbortSignal.any([question.signal, enough.signal]);
  const told: (string | null)[] = urls.map(() => null);
  const failures: string[] = [];
  return new Promise(resolve => {
    let open = urls.length;
    let company: { cancel(): void } | undefined;
    const finish = () => {
      company?.cancel();
      enough.abort(new CodedError('modem/exit-enough', 'others have told'));
      resolve({ addresses: told.filter(address => address !== null), failures });
    };
    for (const [i, url] of urls.entries())
      askExitAddress({ ...question, echoUrls: [url], signal })
        .then(
          address => {
            told[i] = address;
            company ??= question.clock.after(COMPANY_MS, finish);
          },
          error => void failures.push(messageOf(error)),
        )
        .finally(() => {
          open -= 1;
          if (open === 0) finish();
        });
  });
}
