/**
 * Which modem carries a new flow: of the endpoint's slots, in its order, those that are what the client asks for
 * (its user name's parameters) and can carry now. A session goes where it was, and a new one to a slot that its name
 * picks, so that sessions spread; all else goes to the first. Pure.
 */
import type { Endpoint } from '@mastline/shared/domain/endpoint';
import type { UsernameParameters } from '@mastline/shared/protocols/username-parameters';
import type { Egress } from '../ports';

/** What the client wants of the modem. */
export type ModemWish = Pick<UsernameParameters, 'modem' | 'carrier' | 'country'>;

export interface ModemAsk {
  wish: ModemWish;
  /** Slot of the session, when it has one. */
  kept: number | null;
  /** A number of the session's own, to spread sessions by; null without session. */
  spread: number | null;
}

export type ModemChoice<E> =
  | { ok: true; egress: E }
  | { ok: false; reason: 'no-modem' | 'no-matching-modem' };

export function chooseModem<E extends Egress>(
  endpoint: Pick<Endpoint, 'slots'>,
  egresses: ReadonlyMap<number, E>,
  ask?: ModemAsk,
): ModemChoice<E> {
  const fitting: E[] = [];
  let anyFits = false;
  for (const slot of endpoint.slots) {
    const egress = egresses.get(slot);
    if (!egress || (ask && !fits(egress, ask.wish))) continue;
    anyFits = true;
    if (!egress.ready) continue;
    fitting.push(egress);
    if (!ask || ask.spread === null) break;
  }
  const kept = ask?.kept ?? null;
  const egress =
    fitting.find(one => one.slot === kept) ?? fitting[(ask?.spread ?? 0) % Math.max(1, fitting.length)];
  if (egress) return { ok: true, egress };
  // A slot that the client named, or that nobody has, will not come back by waiting.
  return { ok: false, reason: anyFits || !asksForOne(ask) ? 'no-modem' : 'no-matching-modem' };
}

function fits(egress: Egress, wish: ModemWish): boolean {
  return (
    (wish.modem === undefined || egress.slot === wish.modem) &&
    (wish.carrier === undefined || wordOf(egress.carrier) === wish.carrier) &&
    (wish.country === undefined || egress.country?.toUpperCase() === wish.country)
  );
}

/** A carrier's name as a user name can spell it: "T-Mobile DE" is `t_mobile_de`. */
export function wordOf(carrier: string | null | undefined): string | null {
  if (!carrier) return null;
  return carrier
    .toLowerCase()
    .replace(/[^a-z0-9]+/g, '_')
    .replace(/^_|_$/g, '');
}

function asksForOne(ask: ModemAsk | undefined): boolean {
  const { modem, carrier, country } = ask?.wish ?? {};
  return modem !== undefined || carrier !== undefined || country !== undefined;
}
