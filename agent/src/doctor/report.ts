/** What the doctor says, for people: by check, the worst marked, each with what to do. */
import { CHECKS } from './doctor';
import { type Finding, type Severity, worstOf } from './finding';

const MARKS: Record<Severity, string> = { ok: '✓', note: '·', warning: '!', failure: '✗' };

export function reportOf(findings: readonly Finding[]): string {
  const parts = CHECKS.flatMap(({ name, title }) => {
    const mine = findings.filter(one => one.check === name);
    if (mine.length === 0) return [];
    return [title, ...mine.map(linesOf), ''];
  });
  return [...parts, summaryOf(findings)].join('\n');
}

function linesOf({ severity, message, remedy }: Finding): string {
  return `  ${MARKS[severity]} ${message}${remedy === '' ? '' : `\n      → ${remedy}`}`;
}

function summaryOf(findings: readonly Finding[]): string {
  const count = (severity: Severity) => findings.filter(one => one.severity === severity).length;
  const [failures, warnings] = [count('failure'), count('warning')];
  switch (worstOf(findings)) {
    case 'failure':
      return `${plural(failures, 'failure')}, ${plural(warnings, 'warning')}: something does not work.`;
    case 'warning':
      return `${plural(warnings, 'warning')}: it works, and something may stop working.`;
    default:
      return 'All is well.';
  }
}

const plural = (count: number, word: string) => `${count} ${word}${count === 1 ? '' : 's'}`;
