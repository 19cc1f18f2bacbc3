/**
 * Who answered a probe: the service that was asked, or the carrier in its place. Pure. Carriers answer for everybody
 * when a SIM has no credit left: a redirect to their shop, a page in HTML, status 511 (RFC 6585 section 6). Sending
 * the probe is probe.ts.
 */
import { addressIn } from '../exit-address';

export interface ProbeReply {
  status: number;
  location: string | undefined;
  contentType: string | undefined;
  body: string;
}

export type Answerer =
  /** It carries. `address` is null when the service answered, but told none. */
  | { kind: 'service'; address: string | null; problem: string }
  /** `credit`: its page speaks of money. */
  | { kind: 'carrier'; problem: string; credit: boolean };

/**
 * How prepaid shops name themselves in addresses and pages, in the languages that our hosts' carriers speak. A word
 * that is missing costs only the more exact name: the page is recognised as the carrier's all the same.
 */
const CREDIT =
  /top-?up|re-?charge|recarg|ricaric|rechar|guthaben|auflad|credit|kredit|credito|crédito|saldo|balance|prepaid|prepago|do[lł]adow|doladuj|пополн|баланс|поповн|kontor|opwaarder|refill|payment|no-?funds/i;
const MAX_SHOWN = 120;
const LOOKED_AT_CHARS = 4096;

/** Whose answer `reply` is to a question that was put to `url`. */
export function whoAnswered(url: string, reply: ProbeReply): Answerer {
  const { status, location, body } = reply;
  const address = status === 200 ? addressIn(body) : null;
  if (address !== null || status === 204) return { kind: 'service', address, problem: '' };
  const speaksOfMoney = CREDIT.test(`${location ?? ''} ${body.slice(0, LOOKED_AT_CHARS)}`);
  if (status >= 300 && status < 400) {
    const target = hostOf(location, url);
    if (target !== null && target === new URL(url).hostname)
      return { kind: 'service', address: null, problem: `${url}: HTTP ${status} to ${shown(location)}` };
    return {
      kind: 'carrier',
      problem: `${new URL(url).hostname} was asked, and the answer leads to ${shown(location)}`,
      credit: speaksOfMoney,
    };
  }
  if (status === 511 || status === 402)
    return {
      kind: 'carrier',
      problem: `HTTP ${status} in the place of ${url}`,
      credit: speaksOfMoney || status === 402,
    };
  const isPage = /html/i.test(reply.contentType ?? '') || /^\s*<(?:!doctype|html)/i.test(body);
  if (isPage && (status === 200 || speaksOfMoney))
    return { kind: 'carrier', problem: `a web page answers in the place of ${url}`, credit: speaksOfMoney };
  return { kind: 'service', address: null, problem: `${url}: HTTP ${status} without an address` };
}

function hostOf(location: string | undefined, base: string): string | null {
  if (location === undefined || !URL.canParse(location, base)) return null;
  return new URL(location, base).hostname;
}

/** Without its query, which may hold the subscriber's number. */
function shown(location: string | undefined): string {
  return (location ?? 'nowhere').split('?', 1)[0]?.slice(0, MAX_SHOWN) ?? '';
}
