/**
 * Chaos: a whole Mastline (simulators, cloud, agent, a database of its own) carries customers' traffic while programs are
 * killed, the link and the database break, the disk fills up and the clock jumps. After each round all is mended, and
 * the ledger must hold exactly what the spool committed, which in turn must be what clients and origins counted (judge.ts).
 * What befalls a round is plan.ts. On PostgreSQL there are two cloud processes, which meet by a NATS of the run's own.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import Sqlite from 'better-sqlite3';
import pg from 'pg';
import { z } from 'zod';
import { agentStatus } from '../../installer/local/agent-client';
import { type DataDir, openDataDir, readDemo } from '../../installer/local/demo';
import { logIn, type PortalClient } from '../../installer/local/portal-client';
import { freePorts } from '../../installer/local/ports';
import { type Program, startProgram } from '../../installer/local/processes';
import {
  type Simulators,
  START_DEADLINE_MS,
  startAgent,
  startCloud,
  startSimulators,
} from '../../installer/local/product';
import { type LoadTarget, startLoad } from '../support/load';
import { type OwnNats, startOwnNats } from '../support/own-nats';
import { seeded } from '../support/random';
import { tempDir } from '../support/temp';
import { type Bytes, judgeNumbers, judgeRound, type LedgerNumbers, lossOf, type RoundCounts } from './judge';
import { type OwnPostgres, startOwnPostgres } from './own-postgres';
import { describePlan, FAULTS, type Fault, type Misfortune, planRound, type RoundPlan } from './plan';
import { mountSmallDisk, type SmallDisk, whyNoSmallDisk } from './small-disk';
import { type BatchTrick, startWickedLink, type WickedLink } from './wicked-link';

const SLOTS = 2;
const CLIENTS = 4;
/** Processes of the cloud, where they can share a database. */
const CLOUDS = 2;
/** Design, part 3: a crash of the agent loses at most 2 seconds or 8 MiB a slot, whichever comes first. */
export const BOUND_PER_DEATH = SLOTS * 8 * 1024 * 1024;
/** Longer than the link's silence limit and the ledger's longest retry together. */
const SETTLE_MS = 120_000;
const LOOK_MS = 50;
/** The agent commits at least every 2 seconds; a loaded machine may be late. */
const QUIET_MS = 4_000;
const STOP_MS = 5_000;
const REFILL_MS = 50;
const DAY_MS = 86_400_000;
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

/** Files with the clocks' offsets: the agent's, and each cloud's. */
const CLOUD_CLOCKS = ['cloud-clock', 'cloud-clock-1'];
const CLOCKS = ['clock', ...CLOUD_CLOCKS];
/** Up to three days either way, by chance. */
const daysOff = (choice: number) => Math.round((choice - 0.5) * 6 * DAY_MS);

const TRICKS: Partial<Record<Fault, BatchTrick>> = {
  'double-batches': 'double',
  'reorder-batches': 'reorder',
  'truncate-batches': 'truncate',
  'break-frames': 'break',
};

/** Runs the rounds, up to the first with a problem. What it started is gone when it resolves or rejects. */
export async function runChaos(options: ChaosOptions): Promise<ChaosReport> {
  const began = performance.now();
  const notPlayed: ChaosReport['notPlayed'] = {};
  const noDisk = whyNoSmallDisk();
  if (noDisk !== undefined) notPlayed['fill-disk'] = noDisk;
  if (options.database === 'embedded') {
    notPlayed['crash-database'] = 'the embedded database lives and dies with the cloud';
    notPlayed['kill-one-cloud'] = notPlayed['restart-nats'] = 'the embedded database has one process';
    notPlayed['jump-cloud-clock'] = 'the embedded database is read by the portal, and that by periods';
  }
  const possible = FAULTS.filter(fault => notPlayed[fault] === undefined);
  const stage = new Stage(options, noDisk === undefined);
  const report: ChaosReport = {
    database: options.database,
    seed: options.seed,
    rounds: 0,
    notPlayed,
    faults: {},
    link: stage.nothingPlayed(),
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
    await stage.set();
    const first = options.firstRound ?? 1;
    for (let round = first; round < first + options.rounds && report.problems.length === 0; round += 1) {
      if (options.stopped?.()) break;
      if (performance.now() - began > MAX_RUN_MS) throw new Error('a run may last 23 hours');
      const plan = planRound(options.seed, round, possible);
      const { counts, flows, problems, seconds } = await stage.play(plan, report.committed);
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
        `round ${round} (seed ${options.seed}): ${describePlan(plan)}; charged ${counts.charged.up} up ` +
          `${counts.charged.down} down, not charged ${loss}, ${seconds} s`,
      );
      report.problems.push(...problems.map(problem => `round ${round}: ${problem}`));
    }
    report.link = stage.played();
    report.commitsRefused = stage.commitsRefused();
  } catch (error) {
    throw new Error(`${error instanceof Error ? error.message : String(error)}${stage.lastWords()}`, {
      cause: error,
    });
  } finally {
    await stage.clear();
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

/** The programs of a run and what stands between them. */
class Stage {
  readonly #options: ChaosOptions;
  readonly #hasSmallDisk: boolean;
  readonly #begun = Date.now() - (Date.now() % 60_000);
  #folder: Awaited<ReturnType<typeof tempDir>> | undefined;
  #dataDir: DataDir | undefined;
  #disk: SmallDisk | undefined;
  #postgres: OwnPostgres | undefined;
  #link: WickedLink | undefined;
  #simulators: Simulators | undefined;
  readonly #clouds: (Program | undefined)[] = [];
  #nats: OwnNats | undefined;
  #agent: { program: Program; statusSocket: string } | undefined;
  #portal: PortalClient | undefined;
  #ports: number[] = [];
  /** A cloud cannot start while its database is away: each waits for the other. */
  #database: Promise<void> = Promise.resolve();
  readonly #secretKey = randomBytes(32).toString('base64');
  readonly #unasked: string[] = [];
  readonly #lastWords: string[] = [];

  constructor(options: ChaosOptions, hasSmallDisk: boolean) {
    this.#options = options;
    this.#hasSmallDisk = hasSmallDisk;
  }

  async set(): Promise<void> {
    this.#folder = await tempDir('chaos');
    this.#dataDir = openDataDir(this.#folder.path);
    for (const name of CLOCKS) this.#setClock(name, 0);
    if (this.#hasSmallDisk) this.#disk = mountSmallDisk(this.#data.at('agent', 'data'));
    if (this.#options.database === 'server') {
      this.#postgres = await startOwnPostgres();
      this.#nats = await startOwnNats();
    }
    this.#ports = await freePorts(CLOUDS + 2 * SLOTS);
    const random = seeded(this.#options.seed);
    this.#link = await startWickedLink(this.#ports.slice(0, 1), random);
    this.#simulators = await startSimulators({ dataDir: this.#data, kind: 'rootless', modems: SLOTS });
    await this.#bringCloud(0);
    const { claimCode, login } = readDemo(this.#data.at('demo.json'));
    await this.#bringAgent(claimCode);
    this.#portal = await logIn(`http://127.0.0.1:${this.#ports[0]}`, login.email, login.password);
    await this.#untilServing();
    if (this.#nats === undefined) return;
    // Only now: the demo is the first one's, and what a new node shall be is set when it enrols there.
    for (let which = 1; which < CLOUDS; which += 1) await this.#bringCloud(which);
    this.#link.clouds = this.#ports.slice(0, CLOUDS);
  }

  /** One round: load, misfortunes, all mended, all counted. `before` is what was committed until now. */
  async play(plan: RoundPlan, before: Bytes): Promise<Played> {
    const began = performance.now();
    const tag = `round-${plan.round}`;
    const load = startLoad(this.#targets(tag), { clients: CLIENTS, random: seeded(plan.loadSeed) });
    const loaded = wait(plan.loadMs).then(() => load.stop());
    // All are waited for, also when one fails: none may start a program after the others were ended.
    const ends = await Promise.allSettled([...plan.misfortunes.map(each => this.#befall(each)), loaded]);
    for (const end of ends) if (end.status === 'rejected') throw end.reason;
    const origin = await settled(() => this.#originCounts(tag));
    const agentDeaths = plan.misfortunes.filter(each => each.fault === 'kill-agent').length;
    const countsAt = (committed: Bytes): RoundCounts => ({
      charged: { up: committed.up - before.up, down: committed.down - before.down },
      client: load.carried,
      origin,
      agentDeaths,
      boundPerDeath: BOUND_PER_DEATH,
    });
    const committed = await this.#untilSettled(
      plan,
      sums => agentDeaths === 0 && judgeRound(countsAt(sums)).length === 0,
    );
    const counts = countsAt(committed);
    const problems = [...judgeRound(counts), ...judgeNumbers(await this.#ledgerNumbers())];
    problems.push(...this.#unasked.splice(0));
    await this.#untilServing();
    const seconds = Math.round((performance.now() - began) / 100) / 10;
    return { counts, flows: load.carried.flows, problems, seconds };
  }

  async #befall({ fault, atMs, lastsMs, choice }: Misfortune): Promise<void> {
    await wait(atMs);
    const link = this.#wicked;
    switch (fault) {
      case 'kill-agent':
        await this.#agent?.program.kill();
        await wait(lastsMs);
        return this.#bringAgent(null);
      case 'kill-cloud':
        return this.#withDatabase(async () => {
          await Promise.all(this.#clouds.map(each => each?.kill()));
          await wait(lastsMs);
          for (const which of this.#clouds.keys()) await this.#bringCloud(which);
        });
      case 'kill-one-cloud':
        return this.#withDatabase(async () => {
          const which = Math.floor(choice * CLOUDS);
          await this.#clouds[which]?.kill();
          await wait(lastsMs);
          await this.#bringCloud(which);
        });
      case 'restart-nats':
        await this.#nats?.kill();
        await wait(lastsMs);
        return this.#nats?.start();
      case 'crash-database':
        return this.#withDatabase(async () => {
          await this.#postgres?.crash();
          await wait(lastsMs);
          await this.#postgres?.start();
        });
      case 'cut-link':
        return link.cut();
      case 'half-open-link':
        link.halfOpen(choice < 0.5 ? 'agent' : 'cloud');
        await wait(lastsMs);
        return link.heal();
      case 'stall-link':
        link.stall();
        await wait(lastsMs);
        return link.heal();
      case 'double-batches':
      case 'reorder-batches':
      case 'truncate-batches':
      case 'break-frames': {
        const trick = TRICKS[fault];
        if (trick === undefined) throw new Error(`no trick for ${fault}`);
        link.tricks.add(trick);
        // Batches leave half a second after a commit: long enough for some.
        await wait(1_500 + lastsMs);
        return void link.tricks.delete(trick);
      }
      case 'fill-disk': {
        const until = performance.now() + lastsMs;
        // Again and again: the spool gives its reserve up, and the write-ahead log is made shorter.
        for (; performance.now() < until; await wait(REFILL_MS)) this.#disk?.fill();
        return this.#disk?.free();
      }
      case 'jump-clock': {
        this.#setClock('clock', daysOff(choice));
        await wait(lastsMs);
        // One in four jumps stays until the next one.
        return choice % 0.25 < 0.0625 ? undefined : this.#setClock('clock', 0);
      }
      case 'jump-cloud-clock': {
        // One process, the other, or both as far.
        const jumping = CLOUD_CLOCKS.filter((_, nth) => choice >= 2 / 3 || nth === Math.floor(choice * 3));
        for (const name of jumping) this.#setClock(name, daysOff(1 - choice));
        await wait(lastsMs);
        // Never for longer: processes whose clocks differ by more than half a minute admit no node of each other's.
        for (const name of jumping) this.#setClock(name, 0);
        return;
      }
      default:
        fault satisfies never;
    }
  }

  nothingPlayed(): WickedLink['played'] {
    return { double: 0, reorder: 0, truncate: 0, break: 0, cut: 0, 'half-open': 0, stall: 0 };
  }

  played(): WickedLink['played'] {
    return { ...this.nothingPlayed(), ...this.#link?.played };
  }

  commitsRefused(): number {
    return readFileSync(this.#data.at('logs', 'agent.log'), 'utf8').split('"usage/commit-failed"').length - 1;
  }

  /** Ends of the programs' logs, for a run that failed. */
  lastWords(): string {
    if (this.#dataDir === undefined) return '';
    for (const name of ['agent', 'cloud', 'cloud-1'])
      try {
        const lines = readFileSync(this.#data.at('logs', `${name}.log`), 'utf8')
          .trimEnd()
          .split('\n');
        this.#lastWords.push(`\n──── the end of ${name}.log\n${lines.slice(-25).join('\n')}`);
      } catch (error) {
        if (name !== 'cloud-1')
          this.#lastWords.push(`\n──── no ${name}.log: ${error instanceof Error ? error.message : error}`);
      }
    return this.#lastWords.join('');
  }

  /** Ends all that was started, in the order in which one needs the other; one that fails does not keep the rest. */
  async clear(): Promise<void> {
    const failures: unknown[] = [];
    const ends: (() => unknown)[] = [
      () => this.#agent?.program.stop(STOP_MS),
      () => Promise.all(this.#clouds.map(each => each?.stop(STOP_MS))),
      () => this.#simulators?.program.stop(STOP_MS),
      () => this.#link?.close(),
      () => this.#nats?.kill(),
      () => this.#postgres?.remove(),
      () => this.#disk?.unmount(),
      () => this.#dataDir?.release(),
      () => this.#folder?.remove(),
    ];
    for (const end of ends)
      try {
        await end();
      } catch (error) {
        failures.push(error);
      }
    if (failures.length > 0) throw new AggregateError(failures, 'something was left behind');
  }

  get #data(): DataDir {
    if (this.#dataDir === undefined) throw new Error('the stage is not set');
    return this.#dataDir;
  }

  get #wicked(): WickedLink {
    if (this.#link === undefined) throw new Error('the stage is not set');
    return this.#link;
  }

  get #simulated(): Simulators {
    if (this.#simulators === undefined) throw new Error('the stage is not set');
    return this.#simulators;
  }

  #withDatabase(work: () => Promise<void>): Promise<void> {
    const done = this.#database.then(work);
    // The next one may go on; whoever asked for this one hears of its failure.
    this.#database = done.catch(() => undefined);
    return done;
  }

  /** The first with the demo, the others beside it on the same database. */
  async #bringCloud(which: number): Promise<void> {
    const env: NodeJS.ProcessEnv = {
      NODE_ENV: 'production',
      DATABASE_URL: this.#postgres?.url ?? '',
      NATS_URL: this.#nats?.url ?? '',
      MASTLINE_SECRET_KEY: this.#secretKey,
      ...this.#clockOf(CLOUD_CLOCKS[which] ?? ''),
    };
    const port = this.#ports[which] ?? 0;
    const cloud =
      which === 0
        ? await startCloud({
            ...{ dataDir: this.#data, port, env },
            endpointPorts: this.#ports.slice(CLOUDS),
            slots: this.#simulated.slots,
          })
        : await startProgram({
            name: `cloud-${which}`,
            script: join(import.meta.dirname, '../../cloud/dist/main.js'),
            args: ['--data-dir', this.#data.at(`cloud-${which}`), '--port', String(port)],
            logFile: this.#data.at('logs', `cloud-${which}.log`),
            readyDeadlineMs: START_DEADLINE_MS,
            env,
          });
    this.#clouds[which] = cloud;
    void cloud.died.then(how => this.#unasked.push(how));
  }

  async #bringAgent(claimCode: string | null): Promise<void> {
    this.#agent = await startAgent({
      dataDir: this.#data,
      cloudUrl: `http://127.0.0.1:${this.#wicked.port}`,
      simulators: this.#simulated,
      allowTargets: [],
      claimCode,
      env: {
        NODE_ENV: 'production',
        ...this.#clockOf('clock'),
      },
    });
    void this.#agent.program.died.then(how => this.#unasked.push(how));
  }

  /** By renaming: who reads meanwhile never finds half a number. */
  #setClock(name: string, offsetMs: number): void {
    writeFileSync(this.#data.at(`${name}.new`), `${offsetMs}\n`);
    renameSync(this.#data.at(`${name}.new`), this.#data.at(name));
  }

  /** By which a program's wall clock is what `#setClock` says. */
  #clockOf(name: string): Record<string, string> {
    return {
      NODE_OPTIONS: `--import ${join(import.meta.dirname, 'jumping-clock.mjs')}`,
      CHAOS_CLOCK: this.#data.at(name),
    };
  }

  #targets(tag: string): LoadTarget[] {
    const [credential] = readDemo(this.#data.at('demo.json')).credentials;
    if (credential === undefined) throw new Error('the demo has no credential');
    // Of each slot the SOCKS5 endpoint: ports are the clouds', then SOCKS5 and HTTP of each slot.
    return Array.from({ length: SLOTS }, (_, slot) => ({
      proxy: { host: '127.0.0.1', port: this.#ports[CLOUDS + 2 * slot] ?? 0 },
      username: credential.username,
      secret: credential.secret,
      origin: this.#simulated.origin,
      tag,
    }));
  }

  async #untilServing(): Promise<void> {
    await within('the endpoints are open', async () => {
      const { listeners } = await agentStatus(this.#agent?.statusSocket ?? '');
      return listeners.filter(one => one.listening).length === 2 * SLOTS ? true : undefined;
    });
  }

  /**
   * The spool's sums once nothing of it is on the way and the ledger holds the same: at once when they are `good`, else
   * when they have stayed so for longer than the agent may keep usage uncommitted.
   */
  #untilSettled(plan: RoundPlan, good: (sums: Bytes) => boolean): Promise<Bytes> {
    let last = '';
    let rest: { up: number; down: number; since: number } | undefined;
    return within(
      `round ${plan.round} (${describePlan(plan)}): everything committed is in the ledger`,
      async () => {
        // What has died by itself will not bring anything anywhere.
        if (this.#unasked.length > 0) throw new Hopeless(this.#unasked.join('; '));
        const spool = this.#readSpool();
        const total = await this.#ledgerTotal();
        last = `spool ${JSON.stringify(spool)}, ledger ${JSON.stringify(total)}`;
        if (spool.pending > 0 || total.up !== spool.up || total.down !== spool.down) {
          rest = undefined;
          return undefined;
        }
        const { up, down } = spool;
        if (good({ up, down })) return { up, down };
        if (rest?.up !== up || rest.down !== down) rest = { up, down, since: performance.now() };
        return performance.now() - rest.since > QUIET_MS ? { up, down } : undefined;
      },
      () => last,
    );
  }

  /** The spool file as another reader sees it. */
  #readSpool(): Bytes & { pending: number } {
    const db = new Sqlite(this.#data.at('agent', 'data', 'spool.db'), { readonly: true });
    try {
      const row = db
        .prepare<[], Bytes & { pending: number }>(
          `SELECT committed_up AS up, committed_down AS down,
             (SELECT count(*) FROM usage_open) + (SELECT count(*) FROM usage_sealed) AS pending FROM spool`,
        )
        .get();
      if (row === undefined) throw new Error('the spool has no sums');
      return row;
    } finally {
      db.close();
    }
  }

  /** By SQL where one can: a cloud whose clock jumps gives nodes its time, and they their records. */
  async #ledgerTotal(): Promise<Bytes> {
    if (this.#postgres !== undefined) {
      const [row] = await this.#ask<{ up: string; down: string }>(
        'SELECT coalesce(sum(up_bytes), 0) AS up, coalesce(sum(down_bytes), 0) AS down FROM usage_rollups',
      );
      return { up: Number(row?.up), down: Number(row?.down) };
    }
    if (this.#portal === undefined) throw new Error('nobody is logged in');
    const { total } = await this.#portal.usageSince(this.#begun);
    return { up: total.upBytes, down: total.downBytes };
  }

  /** Read from the tables themselves; the embedded database lets nobody in beside the cloud. */
  async #ledgerNumbers(): Promise<LedgerNumbers[]> {
    if (this.#postgres === undefined) return [];
    const rows = await this.#ask<Record<keyof LedgerNumbers, string>>(
      `SELECT m.epoch, m.mark, count(r.sequence) AS records, count(DISTINCT r.sequence) AS numbers,
         coalesce(min(r.sequence), 0) AS lowest, coalesce(max(r.sequence), 0) AS highest
       FROM usage_marks m LEFT JOIN usage_records r ON r.mark_key = m.key GROUP BY m.key, m.epoch, m.mark`,
    );
    return rows.map(({ epoch, ...row }) => ({
      epoch,
      mark: Number(row.mark),
      records: Number(row.records),
      numbers: Number(row.numbers),
      lowest: Number(row.lowest),
      highest: Number(row.highest),
    }));
  }

  async #ask<T extends pg.QueryResultRow>(statement: string): Promise<T[]> {
    const client = new pg.Client({
      connectionString: this.#postgres?.url ?? '',
      connectionTimeoutMillis: 10_000,
    });
    // Broken while nothing is asked: the next question says so.
    client.on('error', () => undefined);
    await client.connect();
    try {
      return (await client.query<T>(statement)).rows;
    } finally {
      await client.end();
    }
  }

  /** Raw bytes that the origin's kernel gave and took on the connections of a round. */
  async #originCounts(tag: string): Promise<{ received: number; sent: number }> {
    const { host, port } = this.#simulated.origin;
    const answer = await fetch(`http://${host}:${port}/report?id=${tag}`, {
      signal: AbortSignal.timeout(10_000),
    });
    const { connections } = OriginReport.parse(await answer.json());
    return {
      received: connections.reduce((sum, one) => sum + one.bytesReceived, 0),
      sent: connections.reduce((sum, one) => sum + one.bytesSent, 0),
    };
  }
}

const OriginReport = z.looseObject({
  connections: z.array(z.looseObject({ bytesReceived: z.int(), bytesSent: z.int() })),
});

/** Asks until the same answer came three times in a row: kernels still hold bytes of flows that were killed. */
async function settled(ask: () => Promise<{ received: number; sent: number }>) {
  let last = await ask();
  for (let alike = 1; alike < 3; ) {
    await wait(30);
    const next = await ask();
    alike = next.received === last.received && next.sent === last.sent ? alike + 1 : 1;
    last = next;
  }
  return last;
}

/** Asking again is of no use. */
class Hopeless extends Error {}

/** Asks until there is an answer; what fails meanwhile is asked again, and told when the time is over. */
async function within<T>(what: string, ask: () => Promise<T | undefined>, detail = () => ''): Promise<T> {
  const deadline = performance.now() + SETTLE_MS;
  let failure: unknown;
  for (;;) {
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
      failure = undefined;
    } catch (error) {
      if (error instanceof Hopeless) throw new Error(`${what}: ${error.message}`);
      failure = error;
    }
    if (performance.now() > deadline)
      throw new Error(`${what}: not within ${SETTLE_MS / 1000} s; ${detail()}`, { cause: failure });
    await wait(LOOK_MS);
  }
}
