/**
 * Reads the standalone file again while it serves. What cannot be served is refused before anything changes: the file
 * is parsed, ways out and certificates are looked for, new ports are opened and closed once. Only then the data plane
 * gets the new plan, and flows that it still allows go on.
 */
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { type AgentConfig, readAgentConfig, type StandaloneConfig } from './config';
import { certificateProblem } from './data-plane/certificates';
import { portProblem } from './data-plane/listener';
import type { Log } from './observe/log';
import type { DataPlane, ListenerOutcome, ServicePlan } from './ports';
import { planOf, type SlotNumbers } from './standalone-plan';

/** Set when the process starts; a new value needs a new process. */
const FIXED = ['dataDir', 'threads', 'metrics'] as const;

export type Reload =
  /** `waits`: fields that changed and hold from the next start on. */
  | { ok: true; listeners: ListenerOutcome[]; waits: string[] }
  /** `problem`: sentences for people; nothing has changed. */
  | { ok: false; problem: string };

export class StandaloneReload {
  readonly #path: string;
  readonly #plane: DataPlane;
  readonly #numbers: SlotNumbers;
  readonly #log: Log;
  #config: StandaloneConfig;
  #plan: ServicePlan;
  /** One after the other: each is compared with what the last one left. */
  #running: Promise<unknown> = Promise.resolve();
  #closed = false;

  constructor(
    options: { path: string; plane: DataPlane; numbers: SlotNumbers; log: Log },
    serving: { config: StandaloneConfig; plan: ServicePlan },
  ) {
    this.#path = options.path;
    this.#plane = options.plane;
    this.#numbers = options.numbers;
    this.#log = options.log;
    this.#config = serving.config;
    this.#plan = serving.plan;
  }

  /** Reads no more, and resolves when nothing is being read. */
  async close(): Promise<void> {
    this.#closed = true;
    await this.#running;
  }

  /** Never rejects: a file that cannot be served is an answer, and the log says it too. */
  reload(): Promise<Reload> {
    const result = this.#running.then(() => this.#reload());
    this.#running = result;
    return result;
  }

  async #reload(): Promise<Reload> {
    if (this.#closed) return { ok: false, problem: 'The agent is stopping.' };
    let next: { config: StandaloneConfig; plan: ServicePlan };
    try {
      const config = standaloneOnly(readAgentConfig(this.#path), this.#path);
      const plan = planOf(config, this.#numbers);
      await this.#tryOut(plan);
      next = { config, plan };
    } catch (error) {
      const problem = error instanceof CodedError ? error.userMessage : messageOf(error);
      this.#log.error('the configuration was refused, the old one stays', { path: this.#path, problem });
      return { ok: false, problem };
    }
    let listeners: ListenerOutcome[];
    try {
      listeners = await this.#plane.apply(next.plan);
    } catch (error) {
      const problem = `the configuration could not be applied as a whole, restart the agent: ${messageOf(error)}`;
      this.#log.error(problem, { error });
      return { ok: false, problem };
    }
    const waits = FIXED.filter(
      field => JSON.stringify(next.config[field]) !== JSON.stringify(this.#config[field]),
    );
    this.#plan = next.plan;
    // What waits for a start is compared with what runs, not with what was written last.
    this.#config = { ...next.config, ...pick(this.#config, FIXED) };
    this.#log.info('the configuration was read anew', {
      path: this.#path,
      listeners: next.plan.endpoints.length,
      credentials: next.plan.credentials.length,
    });
    if (waits.length > 0)
      this.#log.warn('some changes of the configuration need a restart', { fields: waits });
    return { ok: true, listeners, waits };
  }

  /** Throws when a certificate cannot be used or a port that is new cannot be opened. */
  async #tryOut(plan: ServicePlan): Promise<void> {
    const problems: string[] = [];
    const held = new Set(this.#plan.endpoints.map(one => one.listen.port));
    for (const { name, listen: place, tls } of plan.endpoints) {
      const certificate = tls ? certificateProblem(tls) : null;
      if (certificate) problems.push(`${name}: ${certificate}`);
      // A port that we hold, on this address or another, changes hands within the plan and cannot be tried before.
      if (held.has(place.port)) continue;
      const taken = await portProblem(place);
      if (taken) problems.push(`${name}: ${taken.message}.`);
    }
    if (problems.length > 0)
      throw new CodedError('standalone/cannot-serve', 'the new configuration cannot be served', {
        userMessage: problems.join('\n'),
      });
  }
}

function standaloneOnly(config: AgentConfig, path: string): StandaloneConfig {
  if (config.kind === 'standalone') return config;
  throw new CodedError('standalone/became-node', `${path} names a cloud`, {
    userMessage: `${path} has a "cloud" now: stop this agent and start it anew to make it a node.`,
  });
}

function pick<Fields extends object, Name extends keyof Fields>(
  from: Fields,
  names: readonly Name[],
): Pick<Fields, Name> {
  return Object.fromEntries(names.map(name => [name, from[name]])) as Pick<Fields, Name>;
}
