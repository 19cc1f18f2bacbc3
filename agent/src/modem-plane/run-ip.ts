/**
 * Runs `ip` of iproute2 with a deadline and turns its failures into codes. Every change to addresses, rules and
 * routes goes through here; what to change is decided elsewhere (`slot-network.ts`). Several commands are one run of
 * `ip -batch`, wherever they can be.
 */
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { NOT_FOUND, type ToolEnd, toolShell } from '../tool-shell';

/** A healthy `ip` takes milliseconds; a stuck rtnl lock must not stop the agent. */
const IP_DEADLINE_MS = 10_000;

/** What callers need of `ip`, so that tests can hand in a recording one. `input` is what it reads. */
export type RunIp = (args: readonly string[], input?: string) => Promise<string>;

/** `network/ip-missing`, `network/not-permitted`, `network/gone`, `network/exists` or `network/ip-failed`. */
export const runIp: RunIp = async (args, input) => {
  let end: ToolEnd;
  try {
    end = await toolShell.run({ program: 'ip', args, input, deadlineMs: IP_DEADLINE_MS });
  } catch (error) {
    throw new CodedError('network/ip-failed', `ip ${args.join(' ')}: ${messageOf(error)}`, {
      retryable: true,
      cause: error,
    });
  }
  if (end.exitCode === 0) return end.stdout;
  throw failure(args, end);
};

function failure(args: readonly string[], { exitCode, stderr }: ToolEnd): CodedError {
  const command = `ip ${args.join(' ')}`;
  const said = stderr.trim();
  if (exitCode === NOT_FOUND && !args.includes('exec'))
    return new CodedError('network/ip-missing', `${command}: ip is not installed`, {
      userMessage: 'The program "ip" is missing. Install it: apt-get install -y iproute2',
    });
  const code = /Operation not permitted/.test(said)
    ? 'network/not-permitted'
    : /File exists/.test(said)
      ? 'network/exists'
      : /No such process|No such file|No such device|Cannot find device|Cannot assign requested address|[Aa]ddress not found|does not exist/.test(
            said,
          )
        ? 'network/gone'
        : 'network/ip-failed';
  return new CodedError(code, `${command}: ${said === '' ? `exit code ${exitCode}` : said}`);
}

/** Words that mean in a batch what they mean as arguments, and objects that a batch knows. */
const PLAIN = /^[\w.:/@+-]+$/;
const BATCHED = ['address', 'link', 'route', 'rule'];

/**
 * Runs commands in their order, neighbours of one family in one batch. What fails is handed to `failed` with its place, which
 * throws when the rest is not to be run.
 */
export async function runInOrder(
  run: RunIp,
  commands: readonly (readonly string[])[],
  failed: (at: number, error: unknown) => void,
): Promise<void> {
  let at = 0;
  while (at < commands.length) {
    const batch = batchFrom(commands, at);
    try {
      if (batch.length > 1) await run([familyOf(commands[at]), '-batch', '-'], `${batch.join('\n')}\n`);
      else await run(commands[at] ?? []);
      at += Math.max(1, batch.length);
    } catch (error) {
      at += batch.length > 1 ? failedLine(error, batch.length) - 1 : 0;
      failed(at, error);
      at += 1;
    }
  }
}

/** Commands of IPv6 say that they are. */
function familyOf(command: readonly string[] = []): '-4' | '-6' {
  return command[0] === '-6' ? '-6' : '-4';
}

/** The lines of a batch that begins with this command; none when it cannot be in one. */
function batchFrom(commands: readonly (readonly string[])[], from: number): string[] {
  const lines: string[] = [];
  for (const command of commands.slice(from)) {
    const words = command[0]?.startsWith('-') ? command.slice(1) : command;
    if (familyOf(command) !== familyOf(commands[from])) break;
    if (!BATCHED.includes(words[0] ?? '') || !words.every(word => PLAIN.test(word))) break;
    lines.push(words.join(' '));
  }
  return lines;
}

/** Which line `ip` stopped at; throws the error itself when it does not say, since then nobody knows what was done. */
function failedLine(error: unknown, lines: number): number {
  const line = Number(/Command failed -:(\d+)/.exec(messageOf(error))?.[1]);
  if (codeOf(error)?.startsWith('network/') && line >= 1 && line <= lines) return line;
  throw error;
}

/** Asks several things in one batch; gives what each answered, as JSON text. */
export async function askIp(run: RunIp, questions: readonly string[], family: 4 | 6 = 4): Promise<string[]> {
  const answers = (await run(['-N', '-j', `-${family}`, '-batch', '-'], `${questions.join('\n')}\n`))
    .trim()
    .split('\n');
  if (answers.length === questions.length) return answers;
  // An `ip` that writes nothing for an empty list: whose answer is which is not known then.
  const single: string[] = [];
  for (const question of questions)
    single.push((await run(['-N', '-j', `-${family}`, ...question.split(' ')])).trim() || '[]');
  return single;
}
