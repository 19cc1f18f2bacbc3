/**
 * What to do when a link has ended or could not be opened. Pure: how it ended goes in, when to dial again comes out.
 * The socket is link-session.ts, the loop is link.ts.
 */
import { CLOSE } from '@mastline/shared/wire/close-codes';
import { REFUSAL } from '@mastline/shared/wire/enrolment';

/** How a try or a session ended. */
export type LinkEnd =
  /** The other side closed, or the connection broke (1006). */
  | { why: 'closed'; code: number; detail: string }
  /** No connection, no answer, or no answer that makes sense. */
  | { why: 'unreachable'; detail: string }
  /** The cloud said no before the upgrade, and perhaps for how long. */
  | { why: 'refused'; status: number; code: string; detail: string; retryAfterMs?: number | undefined }
  /** We gave it up: silence, or a message that does not fit. */
  | { why: 'given-up'; code: number; detail: string }
  /** The cloud asked us to come back after so long. */
  | { why: 'moving'; afterMs: number };

export type NextDial =
  | { is: 'dial'; afterMs: number; problem: string | undefined }
  | { is: 'stop'; problem: string };

export interface DialRules {
  /** Next step of the back-off, milliseconds. */
  backoffMs(): number;
  /** The longest step. */
  longestMs: number;
  random(): number;
}

/** Spread for nodes that are asked to move at once, milliseconds. */
const MOVE_SPREAD_MS = 5_000;
/** Added by chance to what the cloud asks for: it spreads nodes over whole seconds, this within them. */
const JITTER_MS = 1_000;
/** No answer keeps a node away for longer, milliseconds. */
export const LONGEST_RETRY_AFTER_MS = 600_000;

/** Milliseconds that a `Retry-After` header asks for (RFC 9110 section 10.2.3); undefined for none, or for a date. Pure. */
export function retryAfterOf(header: string | undefined): number | undefined {
  if (header === undefined || !/^\d{1,9}$/.test(header.trim())) return undefined;
  // Never a loop without a pause, whatever the answer says.
  return Math.min(LONGEST_RETRY_AFTER_MS, Math.max(1_000, Number(header) * 1_000));
}

export function nextDial(end: LinkEnd, rules: DialRules): NextDial {
  const again = (problem: string | undefined): NextDial => ({
    is: 'dial',
    afterMs: rules.backoffMs(),
    problem,
  });
  // Half to whole of the longest step: never two nodes in a duel, never all nodes in one second.
  const seldom = (problem: string): NextDial => ({
    is: 'dial',
    afterMs: Math.round(rules.longestMs * (0.5 + rules.random() / 2)),
    problem,
  });
  switch (end.why) {
    case 'moving':
      return {
        is: 'dial',
        afterMs: Math.round(end.afterMs + rules.random() * JITTER_MS),
        problem: undefined,
      };
    case 'unreachable':
      return again(`cannot reach the cloud: ${end.detail}`);
    case 'refused':
      if (end.code === REFUSAL.nodeRetired || end.status === 410)
        return { is: 'stop', problem: `this node was retired: ${end.detail}` };
      if (end.code === REFUSAL.nodeUnknown) return seldom(`the cloud does not know this node: ${end.detail}`);
      return refusedForNow(end, again, rules);
    case 'given-up':
      if (end.code === CLOSE.version) return seldom(`the protocols are too far apart: ${end.detail}`);
      return again(`gave the link up (${end.code}): ${end.detail}`);
    case 'closed':
      return afterClose(end.code, end.detail, { again, seldom, rules });
  }
}

/** A cloud that says when, knows how many others come: its word counts, the back-off does not grow meanwhile. */
function refusedForNow(
  end: Extract<LinkEnd, { why: 'refused' }>,
  again: (problem: string) => NextDial,
  rules: DialRules,
): NextDial {
  const problem = `the cloud refused the link (${end.status} ${end.code}): ${end.detail}`;
  if (end.retryAfterMs === undefined) return again(problem);
  return { is: 'dial', afterMs: Math.round(end.retryAfterMs + rules.random() * JITTER_MS), problem };
}

function afterClose(
  code: number,
  detail: string,
  how: {
    again: (problem: string) => NextDial;
    seldom: (problem: string) => NextDial;
    rules: DialRules;
  },
): NextDial {
  switch (code) {
    case CLOSE.replaced:
      return how.seldom(
        'another session of this node took over: is its data directory copied to a second box?',
      );
    case CLOSE.moveAway:
      return { is: 'dial', afterMs: Math.round(how.rules.random() * MOVE_SPREAD_MS), problem: undefined };
    case CLOSE.version:
      return how.seldom('the cloud does not speak the protocol of this agent: update the agent');
    case CLOSE.retired:
      return { is: 'stop', problem: 'this node was retired' };
    default:
      return how.again(`the link closed (${code})${detail === '' ? '' : `: ${detail}`}`);
  }
}
