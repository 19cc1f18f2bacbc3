/** What `npm start -- …` understands. Parsing only; start.ts does it. */
import { parseArgs } from 'node:util';
import { CodedError } from '@mastline/shared/base/coded-error';

export interface StartOptions {
  once: boolean;
  help: boolean;
  dataDir: string;
  /** The portal's port; endpoints take the ports after it. 0 picks free ones; undefined, those of the last start. */
  port: number | undefined;
  kind: 'auto' | 'namespaces' | 'rootless';
  modems: number;
  allowTargets: string[];
}

export const HELP = `Usage: npm start [-- options]

Starts a cloud, an agent and virtual modems on this machine, and says how to use them.

  --once                 make one request through every endpoint, compare the counts, and end
  --allow-target A:PORT  let customers reach this private address too (repeatable), e.g. 127.0.0.1:8000
  --port N               portal port (default 4080, later that of the last start); endpoints take the ports after it; 0 picks free ones
  --modems N             virtual modems (default 2, at most 8)
  --kind KIND            virtual modems as: auto (default), namespaces (needs root), rootless
  --data-dir DIR         where everything is kept (default .mastline in the checkout)
  --help                 this text

Environment: DATABASE_URL uses a PostgreSQL server (15 or newer) instead of the embedded database.
`;

/** Parses the arguments; throws `start/usage` with a sentence that names the option. */
export function parseStartOptions(args: string[], defaultDataDir: string): StartOptions {
  let values: Record<string, unknown>;
  try {
    ({ values } = parseArgs({
      args,
      strict: true,
      options: {
        once: { type: 'boolean', default: false },
        help: { type: 'boolean', default: false },
        'allow-target': { type: 'string', multiple: true, default: [] },
        port: { type: 'string' },
        modems: { type: 'string', default: '2' },
        kind: { type: 'string', default: 'auto' },
        'data-dir': { type: 'string', default: defaultDataDir },
      },
    }));
  } catch (error) {
    throw usage(error instanceof Error ? error.message : String(error));
  }
  const kind = String(values.kind);
  if (kind !== 'auto' && kind !== 'namespaces' && kind !== 'rootless')
    throw usage(`--kind must be auto, namespaces or rootless, not "${kind}"`);
  const modems = wholeNumber('--modems', values.modems, { min: 1, max: 8 });
  return {
    once: values.once === true,
    help: values.help === true,
    dataDir: String(values['data-dir']),
    port:
      values.port === undefined
        ? undefined
        : wholeNumber('--port', values.port, { min: 0, max: 65_535 - 2 * modems }),
    kind,
    modems,
    allowTargets: (values['allow-target'] as string[]).map(checkedTarget),
  };
}

function wholeNumber(option: string, value: unknown, range: { min: number; max: number }): number {
  const text = String(value);
  const number = Number(text);
  if (!/^\d+$/.test(text) || number < range.min || number > range.max)
    throw usage(`${option} must be a whole number from ${range.min} to ${range.max}, not "${text}"`);
  return number;
}

/** `127.0.0.1:8000`, `[::1]:8000`, `10.0.0.0/8`, `10.1.2.3`: the forms of the agent's allowTargets. */
function checkedTarget(text: string): string {
  if (!/^(\[[0-9a-f:.]+(\/\d{1,3})?\]|\d{1,3}(\.\d{1,3}){3}(\/\d{1,2})?)(:\d{1,5})?$/i.test(text))
    throw usage(
      `--allow-target must be an address with an optional port, such as 127.0.0.1:8000, not "${text}"`,
    );
  return text;
}

const usage = (sentence: string) =>
  new CodedError('start/usage', sentence, { userMessage: `${sentence}. See npm start -- --help.` });
