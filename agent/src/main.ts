/**
 * The agent's command line: reads a command, loads only what it needs, and says faults in sentences. What a node is
 * made of stands in node.ts, what serves without a cloud in standalone.ts.
 */
import './young-garbage';
import { parseArgs } from 'node:util';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { AGENT_VERSION } from './version';

interface Command {
  name: string;
  usage: string;
  summary: string;
  run(args: string[]): Promise<void>;
}

const SPEEDTEST_MB = 10;

const commands: Command[] = [
  {
    name: 'run',
    usage: 'run --config FILE [--claim CODE --consent-by NAME]',
    summary: 'serve: with a cloud when the file names one, else alone (agent/README.md documents the file)',
    async run(args) {
      const { values } = parseArgs({
        args,
        options: { config: { type: 'string' }, claim: { type: 'string' }, 'consent-by': { type: 'string' } },
      });
      if (values.config === undefined) throw usage('run needs --config FILE');
      const { readAgentConfig } = await import('./config');
      const config = readAgentConfig(values.config);
      if (config.kind === 'standalone') {
        const { runStandalone } = await import('./standalone');
        return runStandalone(config, values.config);
      }
      const { runNode } = await import('./node');
      return runNode(config, claimOf(values.claim, values['consent-by']));
    },
  },
  {
    name: 'example',
    usage: 'example',
    summary: 'print a configuration that serves alone on 127.0.0.1:1080, with a secret made for you',
    async run() {
      const { exampleConfig } = await import('./example-config');
      console.log(exampleConfig());
    },
  },
  {
    name: 'enrol',
    usage: 'enrol --cloud URL --claim CODE --consent-by NAME --data-dir DIR',
    summary:
      'make this box a node, once, with a one-time code from the portal; NAME agrees to the consent text',
    async run(args) {
      const { values } = parseArgs({
        args,
        options: {
          cloud: { type: 'string' },
          claim: { type: 'string' },
          'consent-by': { type: 'string' },
          'data-dir': { type: 'string' },
        },
      });
      const claim = claimOf(values.claim, values['consent-by']);
      if (values.cloud === undefined || values['data-dir'] === undefined || claim === undefined)
        throw usage('enrol needs --cloud, --claim, --consent-by and --data-dir');
      const { enrolNode } = await import('./node');
      const nodeId = await enrolNode({ cloudUrl: values.cloud, dataDir: values['data-dir'], claim });
      console.log(`This box is node ${nodeId}.`);
    },
  },
  {
    name: 'status',
    usage: 'status --data-dir DIR',
    summary: 'what the agent that runs on this data directory thinks right now, as JSON',
    async run(args) {
      const { values } = parseArgs({ args, options: { 'data-dir': { type: 'string' } } });
      if (values['data-dir'] === undefined) throw usage('status needs --data-dir DIR');
      const { askStatus } = await import('./observe/status-page');
      console.log(JSON.stringify(await askStatus(values['data-dir']), null, 2));
    },
  },
  {
    name: 'doctor',
    usage: 'doctor [--config FILE] [--json]',
    summary:
      'examine this box, its modems and the way through each; exit code 0: well, 1: warnings, 2: failures',
    async run(args) {
      const { runDoctorCommand } = await import('./doctor/doctor-command');
      await runDoctorCommand(args);
    },
  },
  {
    name: 'virtual',
    usage:
      'virtual add --profile VENDOR/MODEL [--carrier fair|sticky|lingering|slow] [--driver hilink|at|mbim] [--name NAME] [--ip-type ipv4|ipv6|ipv4v6]\n  virtual list | virtual remove SLOT|NAME   [--data-dir DIR] [--json] [--no-wait]',
    summary:
      'plug virtual modems into a running Mastline or pull them out; DIR is what npm start uses (default .mastline) or a node’s dataDir',
    async run(args) {
      const { runVirtualCommand } = await import('./virtual-command');
      await runVirtualCommand(args);
    },
  },
  {
    name: 'rotate',
    usage: 'rotate SLOT --data-dir DIR [--json]',
    summary:
      'give the modem in a slot another address now, and say what came of it; ends with 0 only when the address that the outside sees has changed',
    async run(args) {
      const { values, positionals } = parseArgs({
        args,
        allowPositionals: true,
        options: { 'data-dir': { type: 'string' }, json: { type: 'boolean', default: false } },
      });
      const [slot, ...more] = positionals;
      if (
        values['data-dir'] === undefined ||
        slot === undefined ||
        !/^\d{1,5}$/.test(slot) ||
        more.length > 0
      )
        throw usage('rotate needs the number of one slot and --data-dir DIR');
      const { askRotation, inWords } = await import('./rotate-command');
      const record = await askRotation(values['data-dir'], Number(slot));
      console.log(values.json ? JSON.stringify(record) : inWords(record));
      if (record.outcome !== 'rotated') process.exitCode = 1;
    },
  },
  {
    name: 'speedtest',
    usage: 'speedtest SLOT --data-dir DIR [--max-mb N] [--json]',
    summary: `measure how fast the modem in a slot is, for at most N MB of its SIM's data (${SPEEDTEST_MB} when left out)`,
    async run(args) {
      const { values, positionals } = parseArgs({
        args,
        allowPositionals: true,
        options: {
          'data-dir': { type: 'string' },
          'max-mb': { type: 'string', default: String(SPEEDTEST_MB) },
          json: { type: 'boolean', default: false },
        },
      });
      const [slot, ...more] = positionals;
      if (values['data-dir'] === undefined || !/^\d{1,5}$/.test(slot ?? '') || more.length > 0)
        throw usage('speedtest needs the number of one slot and --data-dir DIR');
      const { askSpeedTest, inWords } = await import('./speedtest-command');
      const result = await askSpeedTest(values['data-dir'], Number(slot), Number(values['max-mb']));
      console.log(values.json ? JSON.stringify(result) : inWords(Number(slot), result));
    },
  },
];

const HELP = `Mastline agent ${AGENT_VERSION}

Usage: npm run agent -- COMMAND [options]

${commands.map(command => `  ${command.usage}\n      ${command.summary}`).join('\n')}
  --help, --version

LOG_LEVEL=debug|info|warn|error sets how much is logged on standard error (default info).
MASTLINE_TRACE_RATIO=0.01 begins traces for that share of usage batches, for a cloud that collects them (default 0).
`;

const usage = (sentence: string) =>
  new CodedError('agent/usage', sentence, { userMessage: `${sentence}. See npm run agent -- --help.` });

function claimOf(code: string | undefined, acceptedBy: string | undefined) {
  if (code === undefined) return undefined;
  if (acceptedBy === undefined || acceptedBy.trim() === '')
    throw usage('--claim needs --consent-by NAME: a person agrees to what will leave this SIM');
  return { code, acceptedBy };
}

async function main(args: string[]): Promise<void> {
  const [name, ...rest] = args;
  if (name === '--version' || name === '-v') return void console.log(AGENT_VERSION);
  if (name === undefined || name === '--help' || name === '-h' || name === 'help')
    return void process.stdout.write(HELP);
  const command = commands.find(one => one.name === name);
  if (!command) throw usage(`there is no command "${name}"`);
  if (rest.includes('--help')) return void console.log(`Usage: ${command.usage}\n  ${command.summary}`);
  await command.run(rest);
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const badOption =
    error instanceof TypeError && 'code' in error && String(error.code).startsWith('ERR_PARSE_ARGS');
  console.error(
    error instanceof CodedError
      ? error.userMessage
      : badOption
        ? `${messageOf(error)}. See npm run agent -- --help.`
        : error,
  );
  process.exit(error instanceof CodedError && error.code === 'agent/usage' ? 2 : 1);
}
