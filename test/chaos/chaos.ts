/**
 * Chaos: a whole Mastline (simulators, cloud, agent, a database of its own) carries customers' traffic while programs are
 * killed, the link and the database break, the disk fills up and the clock jumps. After each round all is mended, and
 * the ledger must hold exactly what the spool committed, which in turn must be what clients and origins counted (judge.ts).
 * Here are the rounds; what befalls one is plan.ts, how faults.ts, whom rig.ts, what is read afterwards books.ts.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { startLoad } from '../support/load';
import { seeded } from '../support/random';
import { befall, DAY_MS, whyNotPlayed } from './faults';
import { type Bytes, judgeNumbers, judgeRound, lossOf, type RoundCounts } from './judge';
import { describePlan, FAULTS, type Fault, planRound, type RoundPlan } from './plan';
import { Rig, SLOTS } from './rig';
import type { WickedLink } from './wicked-link';

const CLIENTS = 4;
/** Design, part 3: a crash of the agent loses at most 2 seconds or 8 MiB a slot, whichever comes first. */
export const BOUND_PER_DEATH = SLOTS * 8 * 1024 * 1024;
/** The portal answers for the last 24 hours. */
const MAX_RUN_MS = DAY_MS - 3_600_000;

export interface ChaosOptions {
  database: 'server' | 'embedded';
  seed: number;
  rounds: number;
  /** Number of the first round; each round's misfortunes follow from the seed and its number. */
  firstRound?: number;
  /** When true, no further round begins. */
  stopped?: () => boolean;
  say(line: string): void;
}

export interface ChaosReport {
  database: 'server' | 'embedded';
  seed: number;
  rounds: number;
  /** What this machine or database cannot play, and why. */
  notPlayed: Partial<Record<Fault, string>>;
  faults: Partial<Record<Fault, number>>;
  /** What the link did in effect: batches doubled and so on, connections cut. */
  link: WickedLink['played'];
  /** Commits of usage that a full disk refused. */
  commitsRefused: number;
  agentDeaths: number;
  committed: Bytes;
  flows: number;
  largestLoss: number;
  boundPerDeath: number;
  problems: string[];
  seconds: number;
}

/** Runs the rounds, up to the first with a problem. What it started is gone when it resolves or rejects. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const began = performance.now();
  const notPlayed = whyNotPlayed(options.database);
  const possible = FAULTS.filter(fault => notPlayed[fault] === undefined);
  const { database, seed } = options;
  const rig = new Rig({
    database,
    seed,
    hasSmallDisk: notPlayed['fill-disk'] === undefined,
    hasBalancer: notPlayed['restart-balancer'] === undefined,
  });
  const report: ChaosReport = {
    database,
    seed,
    rounds: 0,
    notPlayed,
    faults: {},
    link: rig.nothingPlayed(),
    commitsRefused: 0,
    agentDeaths: 0,
    committed: { up: 0, down: 0 },
    flows: 0,
    largestLoss: 0,
    boundPerDeath: BOUND_PER_DEATH,
    problems: [],
    seconds: 0,
  };
  try {
    await rig.set();
    const first = options.firstRound ?? 1;
    for (let round = first; round < first + options.rounds && report.problems.length === 0; round += 1) {
      if (options.stopped?.()) break;
      if (performance.now() - began > MAX_RUN_MS) throw new Error('a run may last 23 hours');
      const plan = planRound(seed, round, possible);
      const { counts, flows, problems, seconds } = await play(rig, plan, report.committed);
      const loss = lossOf(counts);
      report.rounds += 1;
      report.agentDeaths += counts.agentDeaths;
      report.flows += flows;
      report.largestLoss = Math.max(report.largestLoss, loss);
      report.committed = {
        up: report.committed.up + counts.charged.up,
        down: report.committed.down + counts.charged.down,
      };
      for (const { fault } of plan.misfortunes) report.faults[fault] = (report.faults[fault] ?? 0) + 1;
      options.say(
        `round ${round} (seed ${seed}): ${describePlan(plan)}; charged ${counts.charged.up} up ` +
          `${counts.charged.down} down, not charged ${loss}, ${seconds} s`,
      );
      report.problems.push(...problems.map(problem => `round ${round}: ${problem}`));
    }
    report.link = rig.played();
    report.commitsRefused = rig.commitsRefused();
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : String(error)}${rig.lastWords()}`, {
      cause: error,
    });
  } finally {
    await rig.clear();
  }
  report.seconds = Math.round((performance.now() - began) / 100) / 10;
  return report;
}

interface Played {
  counts: RoundCounts;
  flows: number;
  problems: string[];
  seconds: number;
}

/** One round: load, misfortunes, all mended, all counted. `before` is what was committed until now. */
async function play(rig: Rig, plan: RoundPlan, before: Bytes): Promise<Played> {
  const began = performance.now();
  const tag = `round-${plan.round}`;
  const load = startLoad(rig.targets(tag), { clients: CLIENTS, random: seeded(plan.loadSeed) });
  const loaded = wait(plan.loadMs).then(() => load.stop());
  // All are waited for, also when one fails: none may start a program after the others were ended.
  const ends = await Promise.allSettled([...plan.misfortunes.map(each => befall(rig, each)), loaded]);
  for (const end of ends) if (end.status === 'rejected') throw end.reason;
  const origin = await rig.books.originCounts(tag);
  const agentDeaths = plan.misfortunes.filter(each => each.fault === 'kill-agent').length;
  const countsAt = (committed: Bytes): RoundCounts => ({
    charged: { up: committed.up - before.up, down: committed.down - before.down },
    client: load.carried,
    origin,
    agentDeaths,
    boundPerDeath: BOUND_PER_DEATH,
  });
  const committed = await rig.books.untilSettled(
    plan,
    sums => agentDeaths === 0 && judgeRound(countsAt(sums)).length === 0,
  );
  const counts = countsAt(committed);
  const problems = [...judgeRound(counts), ...judgeNumbers(await rig.books.ledgerNumbers())];
  problems.push(...rig.unasked.splice(0));
  await rig.untilServing();
  const seconds = Math.round((performance.now() - began) / 100) / 10;
  return { counts, flows: load.carried.flows, problems, seconds };
}
