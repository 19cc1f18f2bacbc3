/** What the fleet can be made to do, as flags and as the value that its processes share. */
import { parseArgs } from 'node:util';
import { CodedError } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';

const share = z.coerce.number('must be a number from 0 to 1').min(0).max(1);
const whole = z.coerce.number('must be a whole number').int();

const Knobs = z.object({
  nodes: whole.min(1).max(50_000).default(1_000),
  modems: whole.min(1).max(64).default(4),
  seconds: whole.min(10).max(86_400).default(120),
  /** Processes that play nodes. */
  generators: whole.min(1).max(16).default(2),
  /** Seconds between two commits of a node: one record of each modem. */
  every: z.coerce.number().min(0.5).max(3_600).default(15),
  /** New connections in a second while the fleet comes up for the first time. */
  rampPerSecond: whole.min(1).max(10_000).default(400),
  /** Share of nodes that drop their link and dial again, per minute. */
  churn: share.default(0.05),
  /** Share of nodes that are away for the middle third of the run. */
  offline: share.default(0.05),
  /** Share of batches that are sent twice. */
  duplicates: share.default(0.05),
  /** Share of batches that overtake the one before: a gap, to be refused. */
  reorder: share.default(0.02),
  /** Share of nodes behind a link that delays everything by up to two seconds. */
  slow: share.default(0.05),
  /** Share of nodes that greet as the first agents did, without later fields. */
  old: share.default(0.1),
  /** Share of nodes whose clock is off by up to two days. */
  skew: share.default(0.05),
  /** Share of nodes whose records name others' endpoints and impossible times. */
  liars: share.default(0.01),
  /** How the cloud is restarted in the middle of the run: stopped, killed, or not at all. */
  restart: z.enum(['term', 'kill', 'none']).default('term'),
  seed: whole.default(1),
  /** PGlite instead of the PostgreSQL at 127.0.0.1:5432. */
  database: z.enum(['server', 'embedded']).default('server'),
  json: z.string().optional(),
});
export type Knobs = z.infer<typeof Knobs>;

/** Flags are the names above in kebab case: `--nodes 10000 --ramp-per-second 500`. */
export function readKnobs(argv: readonly string[]): Knobs {
  const names = Object.keys(Knobs.shape);
  const kebab = (name: string) => name.replace(/[A-Z]/g, letter => `-${letter.toLowerCase()}`);
  const options = Object.fromEntries(names.map(name => [kebab(name), { type: 'string' as const }]));
  let values: Record<string, unknown>;
  try {
    values = parseArgs({ args: [...argv], options, strict: true, allowPositionals: false }).values;
  } catch (error) {
    throw new CodedError('config/invalid', 'unknown flag', {
      userMessage: `${error instanceof Error ? error.message : error}\nFlags: ${names.map(name => `--${kebab(name)}`).join(' ')}`,
    });
  }
  const given = Object.fromEntries(
    names.filter(name => values[kebab(name)] !== undefined).map(name => [name, values[kebab(name)]]),
  );
  return parseOrExplain(Knobs, given, 'The flags', 'config/invalid') as Knobs;
}
