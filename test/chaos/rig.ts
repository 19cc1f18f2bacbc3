/**
 * The rig of a run: simulators, clouds, agent, their database, NATS, HAProxy, wicked link, small disk and clocks; it starts them, and
 * again after a fault, and ends them all. What befalls them is faults.ts, what is read of them books.ts.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { agentStatus } from '../../installer/local/agent-client';
import { type DataDir, openDataDir, readDemo } from '../../installer/local/demo';
import { logIn } from '../../installer/local/portal-client';
import { freePorts } from '../../installer/local/ports';
import { type Program, startProgram } from '../../installer/local/processes';
import {
  type Simulators,
  START_DEADLINE_MS,
  startAgent,
  startCloud,
  startSimulators,
} from '../../installer/local/product';
import type { LoadTarget } from '../support/load';
import { type OwnHaproxy, startOwnHaproxy } from '../support/own-haproxy';
import { type OwnNats, startOwnNats } from '../support/own-nats';
import { seeded } from '../support/random';
import { tempDir } from '../support/temp';
import { Books } from './books';
import { type OwnPostgres, startOwnPostgres } from './own-postgres';
import { within } from './patience';
import { mountSmallDisk, type SmallDisk } from './small-disk';
import { startWickedLink, type WickedLink } from './wicked-link';

export const SLOTS = 2;
/** Processes of the cloud, where they can share a database. */
export const CLOUDS = 2;
const STOP_MS = 5_000;
/** Files with the clocks' offsets: the agent's, and each cloud's. */
export const AGENT_CLOCK = 'clock';
export const CLOUD_CLOCKS = ['cloud-clock', 'cloud-clock-1'];

export interface RigOptions {
  database: 'server' | 'embedded';
  seed: number;
  hasSmallDisk: boolean;
  /** A HAProxy stands between the link and the clouds. */
  hasBalancer: boolean;
}

/** The programs of a run and what stands between them. */
export class Rig {
  readonly #options: RigOptions;
  #folder: Awaited<ReturnType<typeof tempDir>> | undefined;
  #dataDir: DataDir | undefined;
  #disk: SmallDisk | undefined;
  #postgres: OwnPostgres | undefined;
  #link: WickedLink | undefined;
  #simulators: Simulators | undefined;
  readonly #clouds: (Program | undefined)[] = [];
  #nats: OwnNats | undefined;
  #balancer: OwnHaproxy | undefined;
  #agent: { program: Program; statusSocket: string } | undefined;
  #books: Books | undefined;
  #ports: number[] = [];
  /** A cloud cannot start while its database is away: each waits for the other. */
  #database: Promise<void> = Promise.resolve();
  readonly #secretKey = randomBytes(32).toString('base64');
  /** Ends that nobody asked for, as sentences. */
  readonly unasked: string[] = [];
  readonly #lastWords: string[] = [];

  constructor(options: RigOptions) {
    this.#options = options;
  }

  async set(): Promise<void> {
    this.#folder = await tempDir('chaos');
    this.#dataDir = openDataDir(this.#folder.path);
    for (const name of [AGENT_CLOCK, ...CLOUD_CLOCKS]) this.setClock(name, 0);
    if (this.#options.hasSmallDisk) this.#disk = mountSmallDisk(this.#data.at('agent', 'data'));
    if (this.#options.database === 'server') {
      this.#postgres = await startOwnPostgres();
      this.#nats = await startOwnNats();
    }
    this.#ports = await freePorts(CLOUDS + 2 * SLOTS);
    const random = seeded(this.#options.seed);
    this.#link = await startWickedLink(this.#ports.slice(0, 1), random);
    this.#simulators = await startSimulators({ dataDir: this.#data, kind: 'rootless', modems: SLOTS });
    await this.bringCloud(0);
    const { claimCode, login } = readDemo(this.#data.at('demo.json'));
    await this.bringAgent(claimCode);
    const portal = await logIn(`http://127.0.0.1:${this.#ports[0]}`, login.email, login.password);
    this.#books = new Books({
      spoolFile: this.#data.at('agent', 'data', 'spool.db'),
      postgresUrl: this.#postgres?.url,
      portal,
      origin: this.#simulated.origin,
      unasked: this.unasked,
    });
    await this.untilServing();
    if (this.#nats === undefined) return;
    // Only now: the demo is the first one's, and what a new node shall be is set when it enrols there.
    for (let which = 1; which < CLOUDS; which += 1) await this.bringCloud(which);
    const [first = 0, second = 0, port = 0] = [...this.#ports.slice(0, CLOUDS), ...(await freePorts(1))];
    if (this.#options.hasBalancer)
      this.#balancer = await startOwnHaproxy({ folder: this.#data.at('.'), port, clouds: [first, second] });
    this.#link.clouds = this.#balancer === undefined ? [first, second] : [port];
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
      () => this.#balancer?.kill(),
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

  get books(): Books {
    if (this.#books === undefined) throw new Error('the stage is not set');
    return this.#books;
  }

  get agent(): Program | undefined {
    return this.#agent?.program;
  }

  /** By number; the first is that with the demo. */
  get clouds(): readonly (Program | undefined)[] {
    return this.#clouds;
  }

  get balancer(): OwnHaproxy | undefined {
    return this.#balancer;
  }

  get nats(): OwnNats | undefined {
    return this.#nats;
  }

  get postgres(): OwnPostgres | undefined {
    return this.#postgres;
  }

  get disk(): SmallDisk | undefined {
    return this.#disk;
  }

  get #data(): DataDir {
    if (this.#dataDir === undefined) throw new Error('the stage is not set');
    return this.#dataDir;
  }

  get link(): WickedLink {
    if (this.#link === undefined) throw new Error('the stage is not set');
    return this.#link;
  }

  get #simulated(): Simulators {
    if (this.#simulators === undefined) throw new Error('the stage is not set');
    return this.#simulators;
  }

  /** One after the other, whoever needs the database. */
  withDatabase(work: () => Promise<void>): Promise<void> {
    const done = this.#database.then(work);
    // The next one may go on; whoever asked for this one hears of its failure.
    this.#database = done.catch(() => undefined);
    return done;
  }

  /** The first with the demo, the others beside it on the same database. */
  async bringCloud(which: number): Promise<void> {
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
    void cloud.died.then(how => this.unasked.push(how));
  }

  async bringAgent(claimCode: string | null): Promise<void> {
    this.#agent = await startAgent({
      dataDir: this.#data,
      cloudUrl: `http://127.0.0.1:${this.link.port}`,
      simulators: this.#simulated,
      allowTargets: [],
      claimCode,
      env: {
        NODE_ENV: 'production',
        ...this.#clockOf(AGENT_CLOCK),
      },
    });
    void this.#agent.program.died.then(how => this.unasked.push(how));
  }

  /** By renaming: who reads meanwhile never finds half a number. */
  setClock(name: string, offsetMs: number): void {
    writeFileSync(this.#data.at(`${name}.new`), `${offsetMs}\n`);
    renameSync(this.#data.at(`${name}.new`), this.#data.at(name));
  }

  /** By which a program's wall clock is what `setClock` says. */
  #clockOf(name: string): Record<string, string> {
    return {
      NODE_OPTIONS: `--import ${join(import.meta.dirname, 'jumping-clock.mjs')}`,
      CHAOS_CLOCK: this.#data.at(name),
    };
  }

  targets(tag: string): LoadTarget[] {
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

  async untilServing(): Promise<void> {
    await within('the endpoints are open', async () => {
      const { listeners } = await agentStatus(this.#agent?.statusSocket ?? '');
      return listeners.filter(one => one.listening).length === 2 * SLOTS ? true : undefined;
    });
  }
}
