/**
 * Names to addresses, asked through the modem that will carry the flow: from its source address and of its own name
 * servers, so that the answer fits the modem's network and no query leaks through another link. Answers are kept for
 * their time, for the slot that asked; who asks what is being asked already waits for the same answer. What may be
 * reached is judged on each use of an address, kept or not (gate.ts). Asking is dns-query.ts.
 */
import { lookup as lookupBySystem } from 'node:dns';
import { isIPv4 } from 'node:net';
import type { Clock } from '@mastline/shared/base/clock';
import { codeOf } from '@mastline/shared/base/coded-error';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import type { CountOwn, Egress, OwnTraffic } from '../ports';
import { askNameServers, type NameServer, nameServersOf, type QueryOutcome } from './dns-query';
import { type NameAnswer, NameCache } from './name-cache';
import { type Family, familiesOf } from './source-address';

export type ResolvingEgress = Pick<
  Egress,
  'slot' | 'sourceAddress' | 'sourceAddress6' | 'dnsServers' | 'imei'
>;

/** A TTL of nothing means "for what is going on now": flows that begin together share it. */
const MIN_KEEP_MS = 1_000;
const MAX_KEEP_MS = 3_600_000;
/** RFC 2308 section 5 suggests hours; customers wait for new names. */
const MAX_KEEP_NONE_MS = 300_000;
/** RFC 9520 section 3.2: a failure is kept for a second at least, so that it does not become a storm of queries. */
const KEEP_FAILURE_MS = 1_000;
/** Questions of one slot under way; each holds up to four sockets. More are refused. */
const MAX_ASKING = 512;

const LOCALHOST = { 4: '127.0.0.1', 6: '::1' } as const;
const FAILED: NameAnswer = { kind: 'failed', reason: 'resolver-failed' };
const NO_NAME: NameAnswer = { kind: 'none', exists: false };

type Answered = (answer: NameAnswer) => void;

interface Asking {
  waiting: Set<Answered>;
  cancel(): void;
}

/** What one slot knows, as long as its way to its name servers is the same. */
interface SlotNames {
  /** That asked last: the same object has the same way. */
  egress: ResolvingEgress;
  way: string;
  servers: readonly NameServer[];
  cache: NameCache;
  asking: Map<string, Asking>;
}

export class Resolver {
  readonly #clock: Clock;
  readonly #slots = new Map<number, SlotNames>();

  readonly #own: ((slot: number) => OwnTraffic) | undefined;

  /** `own`: where what is asked and answered through a slot is counted. */
  constructor(clock: Clock, own?: (slot: number) => OwnTraffic) {
    this.#clock = clock;
    this.#own = own;
  }

  /** Forgets what was learnt through slots that are gone, or that now have another address, server or modem. */
  adopt(egresses: Iterable<ResolvingEgress>): void {
    const ways = new Map<number, string>();
    for (const egress of egresses) ways.set(egress.slot, wayOf(egress));
    for (const [slot, names] of this.#slots)
      if (ways.get(slot) !== names.way) {
        this.#slots.delete(slot);
        giveUp(names);
      }
  }

  /** Gives up all questions; who waits for them is told that they failed. */
  close(): void {
    this.adopt([]);
  }

  /**
   * Addresses of `name` for flows through `egress`. `answered` is called once for each of `families`, within this call
   * where the answer is known. The function that comes back stops that; the questions go on, for the next who asks.
   */
  lookup(
    name: string,
    ask: { egress: ResolvingEgress; families: readonly Family[] },
    answered: (family: Family, answer: NameAnswer) => void,
  ): () => void {
    const { egress, families } = ask;
    const stops: (() => void)[] = [];
    let stopped = false;
    const stop = () => {
      stopped = true;
      for (const one of stops) one();
    };
    const known = knownByHeart(name);
    const bySystem = egress.dnsServers.length === 0;
    for (const family of families) {
      if (stopped) break;
      const tell = (answer: NameAnswer) => {
        if (!stopped) answered(family, answer);
      };
      if (known) tell(known(family));
      else if (bySystem) stops.push(this.#ask(egress, `- ${name}`, answer => tell(ofFamily(answer, family))));
      else if (families.length === 2) stops.push(this.#ask(egress, `${family} ${name}`, tell));
      else
        stops.push(
          this.#ask(egress, `${family} ${name}`, answer => {
            // Only the other family may have addresses. They cannot be reached, but that is another thing to say.
            if (stopped || answer.kind !== 'none' || !answer.exists) return tell(answer);
            const other = family === 4 ? 6 : 4;
            stops.push(
              this.#ask(egress, `${other} ${name}`, more => tell(more.kind === 'found' ? more : answer)),
            );
          }),
        );
    }
    return stop;
  }

  #ask(egress: ResolvingEgress, key: string, answered: Answered): () => void {
    const slot = this.#slot(egress);
    const kept = slot.cache.get(key, this.#clock.monotonicMs());
    if (kept) {
      answered(kept);
      return () => undefined;
    }
    let asking = slot.asking.get(key);
    if (!asking) {
      if (slot.asking.size >= MAX_ASKING) {
        answered(FAILED);
        return () => undefined;
      }
      asking = { waiting: new Set(), cancel: () => undefined };
      slot.asking.set(key, asking);
      asking.cancel = this.#begin(egress, slot, key);
    }
    const { waiting } = asking;
    waiting.add(answered);
    return () => void waiting.delete(answered);
  }

  #begin(egress: ResolvingEgress, slot: SlotNames, key: string): () => void {
    const name = key.slice(2);
    const learnt = (answer: NameAnswer, keepMs: number) => {
      const asking = slot.asking.get(key);
      if (!asking) return;
      slot.asking.delete(key);
      slot.cache.keep(key, answer, this.#clock.monotonicMs() + keepMs);
      for (const answered of asking.waiting) answered(answer);
    };
    if (key[0] === '-') return askSystem(name, familiesOf(egress), answer => learnt(answer, MIN_KEEP_MS));
    if (slot.servers.length === 0) {
      // Servers of a family that the slot does not have. Told later, like every other answer.
      queueMicrotask(() => learnt(FAILED, KEEP_FAILURE_MS));
      return () => undefined;
    }
    const question = { name, type: key[0] === '4' ? 'A' : 'AAAA' } as const;
    const own = this.#own?.(egress.slot);
    const count = own && counterInto(own);
    return askNameServers(question, { servers: slot.servers, clock: this.#clock, count }, outcome =>
      learnt(answerOf(outcome), keepMsOf(outcome)),
    );
  }

  #slot(egress: ResolvingEgress): SlotNames {
    const known = this.#slots.get(egress.slot);
    if (known?.egress === egress) return known;
    const way = wayOf(egress);
    if (known?.way === way) {
      known.egress = egress;
      return known;
    }
    const names = { egress, way, servers: nameServersOf(egress), cache: new NameCache(), asking: new Map() };
    this.#slots.set(egress.slot, names);
    if (known) giveUp(known);
    return names;
  }
}

function counterInto(own: OwnTraffic): CountOwn {
  return moved => {
    own.upBytes += moved.upBytes;
    own.downBytes += moved.downBytes;
    own.upDatagrams += moved.upDatagrams;
    own.downDatagrams += moved.downDatagrams;
  };
}

/** The most telling of what was said, when no address was among it. */
export function refusalOf(answers: readonly NameAnswer[]): RefusalReason {
  // A name that does not exist does so for all families; one that has no address may have one of the other.
  if (answers.some(answer => answer.kind === 'none' && !answer.exists)) return 'name-not-found';
  const failed = answers.find(answer => answer.kind === 'failed');
  return failed ? failed.reason : 'name-not-found';
}

function wayOf({ sourceAddress, sourceAddress6, dnsServers, imei }: ResolvingEgress): string {
  return `${sourceAddress} ${sourceAddress6 ?? null} ${imei} ${dnsServers.join(' ')}`;
}

function giveUp(names: SlotNames): void {
  const given = [...names.asking.values()];
  names.asking.clear();
  for (const { waiting, cancel } of given) {
    cancel();
    for (const answered of waiting) answered(FAILED);
  }
}

/**
 * Names that no server is asked for: "localhost" is the machine itself for everybody (RFC 6761 section 6.3), ".invalid"
 * is nothing (section 6.4), and ".onion" must not become known to name servers (RFC 7686).
 */
function knownByHeart(name: string): ((family: Family) => NameAnswer) | null {
  const last = name.slice(name.lastIndexOf('.') + 1);
  if (last === 'localhost') return family => ({ kind: 'found', addresses: [LOCALHOST[family]] });
  return last === 'invalid' || last === 'onion' ? () => NO_NAME : null;
}

/** The machine's own resolver. Its queries cannot be cancelled; their answer is then nobody's. It tells no TTL. */
function askSystem(name: string, families: readonly Family[], answered: Answered): () => void {
  lookupBySystem(
    name,
    { all: true, family: families.length === 2 ? 0 : (families[0] ?? 0) },
    (error, entries) =>
      answered(
        error
          ? answerOfSystem(codeOf(error))
          : { kind: 'found', addresses: entries.map(entry => entry.address) },
      ),
  );
  return () => undefined;
}

function answerOfSystem(code: string | undefined): NameAnswer {
  switch (code) {
    case 'ENOTFOUND':
    case 'ENODATA':
    case 'ENONAME':
      return NO_NAME;
    case 'EAI_AGAIN':
      return { kind: 'failed', reason: 'resolver-timeout' };
    default:
      return FAILED;
  }
}

function ofFamily(answer: NameAnswer, family: Family): NameAnswer {
  if (answer.kind !== 'found') return answer;
  const addresses = answer.addresses.filter(address => isIPv4(address) === (family === 4));
  return addresses.length > 0 ? { kind: 'found', addresses } : { kind: 'none', exists: true };
}

function answerOf(outcome: QueryOutcome): NameAnswer {
  switch (outcome.kind) {
    case 'found':
      return { kind: 'found', addresses: outcome.addresses };
    case 'none':
      return { kind: 'none', exists: outcome.exists };
    case 'failed':
      return FAILED;
    case 'silent':
      return { kind: 'failed', reason: 'resolver-timeout' };
  }
}

function keepMsOf(outcome: QueryOutcome): number {
  const clamp = (ttlS: number, maxMs: number) => Math.min(maxMs, Math.max(MIN_KEEP_MS, ttlS * 1_000));
  switch (outcome.kind) {
    case 'found':
      return clamp(outcome.ttlS, MAX_KEEP_MS);
    case 'none':
      return clamp(outcome.ttlS ?? 0, MAX_KEEP_NONE_MS);
    default:
      return KEEP_FAILURE_MS;
  }
}
