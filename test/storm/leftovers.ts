/** What a storm has left: processes and files that programs hold on to, rules, routes and names in the network. */
import { readdirSync } from 'node:fs';
import { JOURNAL_NAME } from '@mastline/agent/modem-plane/network-journal';
import { runIp } from '@mastline/agent/modem-plane/run-ip';
import type { Holdings } from './programs';

/** Of the agent's thread for events: events.db with its log and index, and what Node opens for a thread (two pipes, an eventfd, an epoll). */
const JOURNAL_FILES = 7;

/** What each program holds beyond what it held before, in words; none when all is as it was. */
export function heldBeyond(before: Map<string, Holdings>, now: Map<string, Holdings>): string[] {
  const problems: string[] = [];
  for (const [name, { processes, files }] of now) {
    const was = before.get(name) ?? { processes: [], files: [] };
    if (processes.length > was.processes.length)
      problems.push(`the ${name} has ${processes.length} processes, before it had ${was.processes.length}`);
    // The journal of events has a thread and a file from its first write on, whenever that is.
    const spare = hasJournal(files) && !hasJournal(was.files) ? JOURNAL_FILES : 0;
    if (files.length > was.files.length + spare)
      problems.push(
        `the ${name} holds ${files.length} files, before it held ${was.files.length}: ${more(files, was.files)}`,
      );
  }
  return problems;
}

/** What an agent and virtual modems that have ended left on this machine. `instance`: null without namespaces. */
export async function leftInNetwork(run: {
  /** The agent's data directory. */
  agentData: string;
  instance: number | null;
  /** Source addresses that slots had. */
  sources: Iterable<string>;
}): Promise<string[]> {
  const left: string[] = [];
  if (readdirSync(run.agentData).includes(JOURNAL_NAME)) left.push('the network journal');
  if (run.instance === null) return left;
  const rules = await runIp(['rule']);
  for (const source of run.sources) if (rules.includes(` ${source} `)) left.push(`a rule from ${source}`);
  const named = new RegExp(`\\bml${run.instance}-`);
  if (named.test(await runIp(['route', 'show', 'table', 'all']))) left.push('a route');
  const names = `${await runIp(['netns', 'list'])}${await runIp(['-o', 'link'])}`;
  if (named.test(names)) left.push('a namespace or an interface');
  return left;
}

const hasJournal = (files: readonly string[]) => files.some(file => file.endsWith('/events.db'));

/** What is there oftener than before, without the numbers of sockets and pipes. */
function more(now: readonly string[], before: readonly string[]): string {
  const count = (files: readonly string[]) => {
    const counts = new Map<string, number>();
    for (const file of files) {
      const name = file.replace(/:\[\d+\]$/, '');
      counts.set(name, (counts.get(name) ?? 0) + 1);
    }
    return counts;
  };
  const was = count(before);
  return [...count(now)]
    .filter(([name, n]) => n > (was.get(name) ?? 0))
    .map(([name, n]) => `${name} ${n} (${was.get(name) ?? 0})`)
    .join(', ');
}
