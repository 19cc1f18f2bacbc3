/** What an examination of a box has found: one sentence, how bad it is, and what to do. Types and their order only. */

/** `failure`: something does not work; `warning`: it may stop working; `note`: worth knowing; `ok`: looked at and well. */
export type Severity = 'ok' | 'note' | 'warning' | 'failure';

export interface Finding {
  /** Which check made it: `kernel`, `usb-power`. */
  check: string;
  severity: Severity;
  /** One sentence, for people. */
  message: string;
  /** What to do; empty when there is nothing to do. */
  remedy: string;
}

const ORDER: readonly Severity[] = ['ok', 'note', 'warning', 'failure'];

/** The worst of them; `ok` when there are none. */
export function worstOf(findings: readonly Finding[]): Severity {
  return ORDER[Math.max(0, ...findings.map(one => ORDER.indexOf(one.severity)))] ?? 'ok';
}

/** 0 when nothing is worse than a note, 1 with warnings, 2 with failures. */
export function exitCodeOf(findings: readonly Finding[]): 0 | 1 | 2 {
  const worst = worstOf(findings);
  if (worst === 'failure') return 2;
  return worst === 'warning' ? 1 : 0;
}

/** Makes findings of one check: `say.warning('…', 'do …')`. */
export function sayer(check: string) {
  const make =
    (severity: Severity) =>
    (message: string, remedy = ''): Finding => ({ check, severity, message, remedy });
  return { ok: make('ok'), note: make('note'), warning: make('warning'), failure: make('failure') };
}
