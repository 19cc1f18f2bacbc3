/**
 * A seeded storm over virtual modems of all kinds: a whole Mastline (virtual modems, a cloud, an agent, each a process of
 * its own) is struck by misfortunes at random and hammered by its secret rotation links while customers down- and upload;
 * then comes a last act in which lasting misfortunes must show with their causes, on the node and in the portal; then calm,
 * in which everything must be well again and usage exact; and at the end nothing may be left behind. The same seed strikes
 * the same modems in the same order.
 */
import { sleep, systemClock } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import { seeded } from '../support/random';
import { heldBeyond, leftInNetwork } from './leftovers';
import { callLink } from './links';
import { MISFORTUNES, type Misfortune, type StormModem } from './misfortunes';
import { type Holdings, type Programs, startPrograms } from './programs';
import { type Bytes, misbilled, Traffic } from './traffic';

export interface StormOptions {
  seed: number;
  seconds: number;
  modems: number;
  kind: 'namespaces' | 'rootless';
  /** Removed by the caller. */
  dir: string;
  say: (line: string) => void;
}

export interface StormReport {
  seed: number;
  /** How often each misfortune struck. */
  struck: Record<string, number>;
  /** What each misfortune of the last act looked like from outside. */
  lastAct: string[];
  /** Answers of the secret links, by status. */
  links: Record<string, number>;
  flows: Record<string, number>;
  billed: Bytes;
  /** What was not as it must be, in words; empty after a storm that was weathered. */
  problems: string[];
}

const KINDS = [
  { profile: 'huawei/e3372h-153', driver: 'hilink' },
  { profile: 'quectel/rm520n', driver: 'at' },
  { profile: 'quectel/em12', driver: 'mbim' },
  { profile: 'huawei/e3372h-153', driver: 'at' },
  { profile: 'quectel/ec25', driver: 'at' },
] as const;
const PINS = ['wrong', 'right', 'none'] as const;

const FLOWS_A_SECOND = 5;
const TICK_MS = 1000 / FLOWS_A_SECOND;
/** Between two blows, on average. */
const BLOW_EVERY_MS = 1500;
const ROTATE_EVERY_MS = 2500;
/** Hammered: so many ask by one link at once. */
const CALLS_AT_ONCE = 3;
const LASTS_MS = [1000, 8000] as const;
const COME_UP_MS = 120_000;
/** The deadline of a rotation, its way back and a verb's own deadline. */
const ROTATION_MS = 420_000;
const SHOW_MS = 300_000;
/** A refused connection is dialled again after five minutes at most. */
const CALM_DOWN_MS = 420_000;
const SETTLE_MS = 60_000;
/** The agent commits every 2 seconds at least; a loaded machine may be late. */
const QUIET_MS = 4000;
const LOOK_MS = 200;
const CALM_FLOWS = 5;

export async function runStorm(options: StormOptions): Promise<StormReport> {
  const modems = Array.from({ length: options.modems }, (_, i): StormModem => {
    const wish = KINDS[i % KINDS.length] ?? KINDS[0];
    return { slot: i + 1, wish, pin: PINS[i % PINS.length] ?? 'none' };
  });
  const programs = await startPrograms({ ...options, modems });
  const storm = new Storm(options, programs, modems);
  try {
    await storm.play();
  } catch (error) {
    await programs.abandon();
    throw error;
  }
  return storm.end();
}

class Storm {
  readonly #options: StormOptions;
  readonly #programs: Programs;
  readonly #modems: readonly StormModem[];
  readonly #traffic: Traffic;
  readonly #random: () => number;
  readonly #struck: Record<string, number> = {};
  readonly #lastActSeen: string[] = [];
  readonly #answers: Record<string, number> = {};
  readonly #problems: string[] = [];
  /** Every address that a slot has had on this machine. */
  readonly #sources = new Set<string>();
  /** What is under way, by slot. */
  readonly #ongoing = new Map<number, Misfortune>();
  readonly #calls = new Set<Promise<void>>();
  readonly #links = new Map<number, string>();
  #billed: Bytes = { up: 0, down: 0, flows: 0 };

  constructor(options: StormOptions, programs: Programs, modems: readonly StormModem[]) {
    this.#options = options;
    this.#programs = programs;
    this.#modems = modems;
    this.#random = seeded(options.seed);
    this.#traffic = new Traffic((slot, tag) => programs.target(slot, tag));
  }

  async play(): Promise<void> {
    const { seed, seconds, kind, say } = this.#options;
    const count = this.#modems.length;
    // Of its own, so that how many flows there were changes nothing of who is struck.
    const chance = seeded(seed + 1);
    const begin = () => this.#traffic.begin(1 + Math.floor(chance() * count), chance);
    await this.#until(COME_UP_MS, 'all modems come up', () => this.#unwell());
    await this.#until(COME_UP_MS, 'all endpoints are open', async () => {
      const open = await this.#programs.listening();
      return open === 2 * count ? [] : [`${open} of ${2 * count}`];
    });
    for (const { slot, slotId } of await this.#programs.shown())
      this.#links.set(slot, await this.#programs.makeLink(slotId));
    // Everything has been in use once before what it holds is counted.
    await this.#calmFlows(chance);
    for (const { slot } of this.#modems) this.#callLink(slot);
    await Promise.all(this.#calls);
    await this.#until(COME_UP_MS, 'all modems are back', () => this.#unwell());
    const before = this.#programs.holdings();
    say(`seed ${seed}: ${count} modems are up, ${kind}; ${seconds} s of storm`);
    await this.#rage(begin);
    // One that has just begun has its own deadlines, which are longer than it takes a cause to show.
    await this.#until(ROTATION_MS, 'rotations end', async () =>
      (await this.#programs.slots())
        .filter(one => one.state === 'rotating')
        .map(one => `slot ${one.slot}: ${one.reason}`),
    );
    say('last act: lasting misfortunes');
    await this.#lastAct();
    await this.#until(CALM_DOWN_MS, 'calm: everything is well again', () => this.#unwell());
    say('calm: usage');
    await Promise.all([this.#traffic.end(), ...this.#calls]);
    await this.#judgeUsage('the storm');
    await this.#calmFlows(chance);
    await this.#judgeUsage('the calm');
    await this.#judgeHoldings(before);
    for (const fault of await this.#programs.net.faults())
      this.#problems.push(`asked what a modem does not know: ${JSON.stringify(fault)}`);
  }

  async end(): Promise<StormReport> {
    this.#problems.push(...this.#programs.deaths);
    this.#problems.push(...(await this.#programs.stop()));
    await this.#judgeNetwork();
    return {
      seed: this.#options.seed,
      struck: this.#struck,
      lastAct: this.#lastActSeen,
      links: this.#answers,
      flows: this.#traffic.summary(),
      billed: this.#billed,
      problems: this.#problems,
    };
  }

  async #rage(begin: () => void): Promise<void> {
    const end = systemClock.monotonicMs() + this.#options.seconds * 1000;
    let nextBlow = 0;
    let nextCall = 0;
    while (systemClock.monotonicMs() < end) {
      const now = systemClock.monotonicMs();
      begin();
      if (now >= nextBlow) {
        nextBlow = now + 2 * BLOW_EVERY_MS * this.#random();
        this.#blow();
      }
      if (now >= nextCall) {
        nextCall = now + 2 * ROTATE_EVERY_MS * this.#random();
        const { slot } = this.#one(this.#modems);
        for (let i = 0; i < CALLS_AT_ONCE; i += 1) this.#callLink(slot);
      }
      await sleep(systemClock, TICK_MS);
    }
    while (this.#ongoing.size > 0) await sleep(systemClock, LOOK_MS);
  }

  #callLink(slot: number): void {
    const url = this.#links.get(slot);
    if (url === undefined) return;
    const work = callLink(url).then(
      ({ answer, problem }) => {
        this.#answers[answer] = (this.#answers[answer] ?? 0) + 1;
        if (problem !== null) this.#problems.push(`link of slot ${slot}: ${problem}`);
      },
      error => void this.#problems.push(`link of slot ${slot}: ${messageOf(error)}`),
    );
    this.#calls.add(work);
    void work.finally(() => this.#calls.delete(work));
  }

  #blow(): void {
    const modem = this.#one(this.#modems);
    const misfortune = this.#one(MISFORTUNES.filter(one => one.befalls(modem)));
    const lastsMs = LASTS_MS[0] + this.#random() * (LASTS_MS[1] - LASTS_MS[0]);
    if (this.#ongoing.has(modem.slot)) return;
    if (misfortune.alone && [...this.#ongoing.values()].includes(misfortune)) return;
    this.#ongoing.set(modem.slot, misfortune);
    this.#struck[misfortune.name] = (this.#struck[misfortune.name] ?? 0) + 1;
    void (async () => {
      try {
        await misfortune.strike(this.#programs.net, modem);
        await sleep(systemClock, lastsMs);
        await misfortune.heal(this.#programs.net, modem);
      } catch (error) {
        this.#problems.push(`${misfortune.name} of slot ${modem.slot}: ${messageOf(error)}`);
      } finally {
        this.#ongoing.delete(modem.slot);
      }
    })();
  }

  /** Each modem gets something that lasts, as many different ones as there can be, and the agent must say so; then all is healed. */
  async #lastAct(): Promise<void> {
    const { net } = this.#programs;
    const acts: { modem: StormModem; misfortune: Misfortune }[] = [];
    for (const modem of this.#modems) {
      const able = MISFORTUNES.filter(one => one.befalls(modem) && one.shows(modem) !== null);
      const fresh = able.filter(one => acts.every(({ misfortune }) => misfortune !== one));
      acts.push({ modem, misfortune: this.#one(fresh.length > 0 ? fresh : able) });
    }
    for (const { modem, misfortune } of acts) {
      this.#options.say(`slot ${modem.slot} (${modem.wish.driver}): ${misfortune.name}`);
      await misfortune.strike(net, modem);
    }
    const wrong = async () => {
      const [slots, ready, shown] = await Promise.all([
        this.#programs.slots(),
        this.#programs.ready(),
        this.#programs.shown(),
      ]);
      this.#lastActSeen.length = 0;
      return acts.flatMap(({ modem, misfortune }) => {
        const wanted = misfortune.shows(modem);
        const report = slots.find(one => one.slot === modem.slot);
        const told = shown.find(one => one.slot === modem.slot);
        const said = `slot ${modem.slot} (${modem.wish.driver}, ${misfortune.name}) is ${report?.state}: ${report?.reason}`;
        this.#lastActSeen.push(said);
        const cause = wanted?.causes.some(one => one === report?.cause) ?? false;
        const asWanted = cause && report?.reason !== '' && ready.has(modem.slot) === wanted?.ready;
        if (!asWanted) return [`${said} (cause ${report?.cause}, ready ${ready.has(modem.slot)})`];
        return told?.cause === report?.cause && told?.reason === report?.reason
          ? []
          : [`${said}, but the portal shows ${told?.state}: ${told?.reason}`];
      });
    };
    await this.#until(SHOW_MS, 'lasting misfortunes show', wrong);
    for (const { modem, misfortune } of acts)
      try {
        await misfortune.heal(net, modem);
      } catch (error) {
        this.#problems.push(`${misfortune.name} of slot ${modem.slot}: ${messageOf(error)}`);
      }
  }

  /** Slots that are not connected, on the node and in the portal, without a word of complaint. */
  async #unwell(): Promise<string[]> {
    const [slots, shown] = await Promise.all([this.#programs.slots(), this.#programs.shown()]);
    for (const { sourceAddress } of slots) if (sourceAddress !== null) this.#sources.add(sourceAddress);
    return this.#modems.flatMap(({ slot, wish }) => {
      const report = slots.find(one => one.slot === slot);
      const told = shown.find(one => one.slot === slot);
      const is = `slot ${slot} (${wish.driver}) is`;
      if (report?.state !== 'connected' || report.exitAddress === null || report.reason !== '')
        return [`${is} ${report?.state ?? 'not there'}: ${report?.reason ?? ''}`];
      return told?.state === 'connected' && told.reason === '' && told.exitAddress === report.exitAddress
        ? []
        : [`${is} connected, but the portal shows ${told?.state}: ${told?.reason} (${told?.exitAddress})`];
    });
  }

  /** Some flows of each slot, none of which may be refused or cut. */
  async #calmFlows(chance: () => number): Promise<void> {
    const before = this.#traffic.summary();
    for (let i = 0; i < CALM_FLOWS; i += 1)
      for (const { slot } of this.#modems) this.#traffic.begin(slot, chance);
    await this.#traffic.end();
    const { whole } = this.#traffic.summary();
    const missing = CALM_FLOWS * this.#modems.length - (whole - before.whole);
    if (missing > 0) this.#problems.push(`${missing} flows were refused or cut in calm weather`);
  }

  /** Spool and ledger hold the same, and what clients and origin have counted. */
  async #judgeUsage(after: string): Promise<void> {
    let ledger = new Map<number, Bytes>();
    let rest: { sum: Bytes; since: number } | undefined;
    await this.#until(SETTLE_MS, `usage after ${after}`, async () => {
      const { pending, ...spool } = this.#programs.spool();
      ledger = await this.#programs.ledger();
      const sum = total(ledger.values());
      const same = pending === 0 && sum.up === spool.up && sum.down === spool.down;
      if (!same) {
        rest = undefined;
        return [`spool ${JSON.stringify(spool)}, ${pending} on the way, ledger ${JSON.stringify(sum)}`];
      }
      const now = systemClock.monotonicMs();
      if (rest === undefined || rest.sum.up !== sum.up || rest.sum.down !== sum.down)
        rest = { sum, since: now };
      return now - rest.since >= QUIET_MS ? [] : ['not at rest'];
    });
    this.#billed = total(ledger.values());
    for (const { slot } of this.#modems) {
      const billed = ledger.get(slot) ?? { up: 0, down: 0, flows: 0 };
      const bounds = await this.#traffic.bounds(slot, this.#programs.net);
      for (const problem of misbilled(slot, billed, bounds))
        this.#problems.push(`after ${after}: ${problem}`);
    }
  }

  /** No program holds more than before the storm. */
  async #judgeHoldings(before: Map<string, Holdings>): Promise<void> {
    await this.#until(SETTLE_MS, 'nothing is held on to', async () =>
      heldBeyond(before, this.#programs.holdings()),
    );
  }

  /** Nothing of the run is in the network of this machine any more. */
  async #judgeNetwork(): Promise<void> {
    const { dataDir, net } = this.#programs;
    const left = await leftInNetwork({
      agentData: dataDir.at('agent', 'data'),
      instance: this.#options.kind === 'namespaces' ? net.ready.instance : null,
      sources: this.#sources,
    });
    this.#problems.push(...left.map(what => `left behind: ${what}`));
  }

  /** Waits until nothing is wrong any more; what still is afterwards is a problem. */
  async #until(withinMs: number, what: string, wrong: () => Promise<string[]>): Promise<void> {
    const end = systemClock.monotonicMs() + withinMs;
    let left = await wrong();
    while (left.length > 0 && systemClock.monotonicMs() < end) {
      // What has died by itself will not get well.
      if (this.#programs.deaths.length > 0) throw new Error(this.#programs.deaths.join('; '));
      await sleep(systemClock, LOOK_MS);
      left = await wrong();
    }
    for (const one of left) {
      this.#problems.push(`${what}: not within ${withinMs / 1000} s: ${one}`);
      this.#options.say(`✗ ${this.#problems.at(-1)}`);
    }
  }

  #one<T>(all: readonly T[]): T {
    const found = all[Math.floor(this.#random() * all.length)];
    if (found === undefined) throw new Error('there is nothing to choose from');
    return found;
  }
}

function total(all: Iterable<Bytes>): Bytes {
  const sum: Bytes = { up: 0, down: 0, flows: 0 };
  for (const { up, down, flows } of all) {
    sum.up += up;
    sum.down += down;
    sum.flows += flows;
  }
  return sum;
}
