/** The command line of virtual modems: words in, tables out. The asking is virtual-client.ts. */
import { parseArgs } from 'node:util';
import { CodedError } from '@mastline/shared/base/coded-error';
import { VirtualClient } from './virtual-client';

const DEFAULT_DATA_DIR = '.mastline';

/** Throws `agent/usage` with a sentence for what it does not understand. */
export async function runVirtualCommand(args: readonly string[]): Promise<void> {
  const [verb, ...rest] = args;
  const { values, positionals } = parseArgs({
    args: rest,
    allowPositionals: true,
    options: {
      'data-dir': { type: 'string', default: DEFAULT_DATA_DIR },
      profile: { type: 'string' },
      carrier: { type: 'string' },
      driver: { type: 'string' },
      name: { type: 'string' },
      'ip-type': { type: 'string' },
      json: { type: 'boolean', default: false },
      'no-wait': { type: 'boolean', default: false },
    },
  });
  const say = (value: unknown, text: string) => console.log(values.json ? JSON.stringify(value) : text);
  switch (verb) {
    case 'add': {
      if (values.profile === undefined || positionals.length > 0)
        throw usage(
          'virtual add needs --profile VENDOR/MODEL, and takes --carrier, --driver, --name and --ip-type',
        );
      const client = new VirtualClient(values['data-dir']);
      const { profile, carrier, driver, name } = values;
      const made = await client.add({ profile, carrier, driver, name, ipType: values['ip-type'] });
      const slot = values['no-wait'] ? null : await client.untilSettled(made.slot);
      say(
        { modem: made, slot },
        `Virtual modem ${made.name} in slot ${made.slot}: ${made.profile}, driven by ${made.driver}, carrier ${made.preset}.` +
          (slot === null
            ? ''
            : `\nThe agent says: ${slot.state}${slot.exitAddress === null ? '' : `, exit address ${slot.exitAddress}`}${slot.reason === '' ? '' : ` (${slot.reason})`}.`),
      );
      if (slot !== null && slot.state !== 'connected') process.exitCode = 1;
      return;
    }
    case 'list': {
      if (positionals.length > 0) throw usage('virtual list takes no names');
      const client = new VirtualClient(values['data-dir']);
      const [modems, slots] = [await client.list(), await client.slots()];
      const rows = modems.map(modem => ({
        modem,
        slot: slots?.find(one => one.slot === modem.slot) ?? null,
      }));
      say(rows, rows.length === 0 ? 'No virtual modems.' : table(rows));
      return;
    }
    case 'remove': {
      const [which, ...more] = positionals;
      if (which === undefined || more.length > 0) throw usage('virtual remove needs one SLOT or NAME');
      const gone = await new VirtualClient(values['data-dir']).remove(which);
      say({ removed: gone }, `Virtual modem ${gone.name} is pulled out of slot ${gone.slot}.`);
      return;
    }
    default:
      throw usage(`virtual needs add, list or remove${verb === undefined ? '' : `, not "${verb}"`}`);
  }
}

type Row = {
  modem: Awaited<ReturnType<VirtualClient['list']>>[number];
  slot: { state: string; exitAddress: string | null } | null;
};

function table(rows: readonly Row[]): string {
  const lines = [
    ['slot', 'name', 'profile', 'driver', 'carrier', 'agent says', 'exit address'],
    ...rows.map(({ modem, slot }) => [
      String(modem.slot),
      modem.name,
      modem.profile,
      modem.driver,
      modem.preset,
      slot?.state ?? '-',
      slot?.exitAddress ?? '-',
    ]),
  ];
  const widths =
    lines[0]?.map((_, column) => Math.max(...lines.map(line => line[column]?.length ?? 0))) ?? [];
  return lines
    .map(line =>
      line
        .map((cell, i) => cell.padEnd(widths[i] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

const usage = (sentence: string) =>
  new CodedError('agent/usage', sentence, { userMessage: `${sentence}. See npm run agent -- --help.` });
