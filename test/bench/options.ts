/** The command line of the proxy bench. */
import { parseArgs } from 'node:util';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { PROTOCOLS, PROXIES, type Protocol, type ProxyName, SCENARIOS, type ScenarioName } from './measures';

export interface BenchOptions {
  quick: boolean;
  json: string | null;
  threads: number;
  /** null: as many as the form has. */
  repeats: number | null;
  install: boolean;
  proxies: ProxyName[];
  protocols: Protocol[];
  scenarios: ScenarioName[];
}

const MOST_THREADS = 64;
const MOST_REPEATS = 1_000;

export const BENCH_HELP = `Measures the agent beside other proxies, on loopback, and says how it compares.

Usage: npm run bench:proxy -- [options]

  --quick          within a minute; ratios are rough
  --json FILE      write every run to FILE
  --only LIST      only these, separated by commas: scenarios (${SCENARIOS.join(', ')}),
                   proxies (${PROXIES.join(', ')}), protocols (${PROTOCOLS.join(', ')})
  --threads N      threads of the agent that carry bytes (default 1); with more, connect is run with one as well
  --repeats N      rounds in which every proxy has its turn (default 5)
  --no-install     do not install missing proxies, not even as root

The agent runs with a password, policy and metering to disk. Peers that are missing are installed with apt-get when
root runs this. Close other programs: what counts are ratios within a round, but a busy machine blurs them too.
`;

const usage = (sentence: string) =>
  new CodedError('bench/usage', sentence, { userMessage: `${sentence}. See npm run bench:proxy -- --help.` });

/** Throws `bench/usage`. The string 'help' when help is asked for. */
export function parseOptions(args: string[]): BenchOptions | 'help' {
  const values = (() => {
    try {
      return parseArgs({
        args,
        options: {
          quick: { type: 'boolean', default: false },
          json: { type: 'string' },
          only: { type: 'string' },
          threads: { type: 'string' },
          repeats: { type: 'string' },
          'no-install': { type: 'boolean', default: false },
          help: { type: 'boolean', short: 'h', default: false },
        },
      }).values;
    } catch (error) {
      if (codeOf(error)?.startsWith('ERR_PARSE_ARGS')) throw usage(messageOf(error));
      throw error;
    }
  })();
  if (values.help) return 'help';
  return {
    quick: values.quick,
    json: values.json ?? null,
    threads: values.threads === undefined ? 1 : wholeNumber('--threads', values.threads, MOST_THREADS),
    repeats: values.repeats === undefined ? null : wholeNumber('--repeats', values.repeats, MOST_REPEATS),
    install: !values['no-install'],
    ...selection(values.only),
  };
}

function wholeNumber(option: string, text: string, most: number): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= 1 && value <= most) return value;
  throw usage(`${option} must be a whole number from 1 to ${most}, not "${text}"`);
}

/** Of each kind those that are named, or all when none of the kind is. */
function selection(only: string | undefined): Pick<BenchOptions, 'proxies' | 'protocols' | 'scenarios'> {
  const names = only === undefined ? [] : only.split(',').map(name => name.trim());
  const known: readonly string[] = [...PROXIES, ...PROTOCOLS, ...SCENARIOS];
  for (const name of names)
    if (!known.includes(name)) throw usage(`--only does not know "${name}"; it knows ${known.join(', ')}`);
  const chosen = <Name extends string>(all: readonly Name[]): Name[] => {
    const named = all.filter(name => names.includes(name));
    return named.length > 0 ? named : [...all];
  };
  return { proxies: chosen(PROXIES), protocols: chosen(PROTOCOLS), scenarios: chosen(SCENARIOS) };
}
