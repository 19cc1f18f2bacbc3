/**
 * Makes events of what happens on the node: looks at the modems when they change, hears of rotations and of the disk,
 * and takes over what the data plane noted. What becomes of them is event-journal.ts.
 */
import type { FlowSummary } from '@mastline/shared/domain/flow-summary';
import type { ModemState, SlotReport } from '@mastline/shared/domain/modem';
import type { EventSeverity, NodeEvent } from '@mastline/shared/domain/node-event';
import type { RotationRecord } from '@mastline/shared/domain/rotation';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import type { FlowNote, LaneNotes, ModemPlane, RefusalNote, Rotations, SourceNote } from '../ports';
import type { NodeSpool } from '../spool/usage-spool';
import type { SpoolHealth } from '../spool/worker-messages';
import type { EventJournal } from './event-journal';

const MAX_DETAIL = 300;
const MAX_HOST = 255;
/** Refusals of one source, or for one credential, in a few seconds that are no accident. */
const MANY = 20;
/** `rotating` is told when it has ended, and what comes between two states of moment says nothing. */
const PASSING: readonly ModemState[] = ['rotating', 'registering', 'probing'];
const CHAIN_REASONS: readonly RefusalReason[] = [
  'hop-unreachable',
  'hop-refused',
  'hop-credentials',
  'hop-protocol',
  'hop-timeout',
  'chain-invalid',
];

export interface NodeWatchOptions {
  journal: Pick<EventJournal, 'event' | 'flow' | 'lost' | 'hold'>;
  modems: Pick<ModemPlane, 'slots' | 'onChange'>;
  rotations: Pick<Rotations, 'onEnd'>;
  spool: Pick<NodeSpool, 'health' | 'onHealth'>;
}

/** Begins to watch; what it gives takes the data plane's notes. */
export function watchNode(options: NodeWatchOptions): (notes: LaneNotes) => void {
  const { journal, modems, rotations, spool } = options;
  let slots = byNumber(modems.slots());
  modems.onChange(() => {
    const before = slots;
    slots = byNumber(modems.slots());
    for (const slot of slots.values())
      for (const event of slotEvents(before.get(slot.slot), slot)) journal.event(event);
  });
  rotations.onEnd(record => journal.event(rotationEvent(record)));
  let health = spool.health();
  journal.hold(isShort(health));
  spool.onHealth(next => {
    for (const event of spoolEvents(health, next)) journal.event(event);
    health = next;
    journal.hold(isShort(next));
  });
  return notes => {
    for (const note of notes.flows) journal.flow(flowOf(note), note.agoMs);
    for (const note of notes.refusals) {
      journal.flow(refusalOf(note), note.agoMs);
      const event = refusalEvent(note);
      if (event) journal.event(event, note.agoMs);
    }
    for (const note of notes.sources) journal.event(sourceEvent(note));
    if (notes.dropped > 0) journal.lost('flows', notes.dropped);
  };
}

type Happened = Omit<NodeEvent, 'at'>;
type Flow = Omit<FlowSummary, 'endedAt'>;

/** What is worth remembering of a slot that was `before` and is `now`. */
export function slotEvents(before: SlotReport | undefined, now: SlotReport): Happened[] {
  const events: Happened[] = [];
  const { slot, state, cause, reason, recovery } = now;
  const isOther = before?.state !== state || (before.cause ?? null) !== (cause ?? null);
  if (before && isOther && !PASSING.includes(state)) {
    const why = [cause ?? '', reason].filter(text => text !== '').join(', ');
    events.push({
      kind: 'modem-state',
      severity: severityOf(state),
      slot,
      detail: why === '' ? state : cut(`${state}: ${why}`),
    });
  }
  if (recovery && before && recovery.at !== before.recovery?.at) {
    const rungs = recovery.rungs.map(({ rung, outcome }) => `${rung} ${outcome}`).join(', ');
    events.push({
      kind: 'recovery',
      severity: recovery.outcome === 'mended' ? 'info' : 'warning',
      slot,
      tookMs: recovery.tookMs,
      detail: cut(`${recovery.cause}: ${recovery.outcome}${rungs === '' ? '' : ` (${rungs})`}`),
    });
  }
  return events;
}

function severityOf(state: ModemState): EventSeverity {
  if (state === 'connected') return 'info';
  return state === 'recovering' ? 'warning' : 'alarm';
}

function rotationEvent(record: RotationRecord): Happened {
  const { slot, outcome, reason, oldAddress, newAddress, tookMs, connected } = record;
  const moved = `${oldAddress ?? '?'} → ${newAddress ?? '?'}`;
  const came = outcome === 'rotated' ? [moved, reason].filter(text => text !== '').join(', ') : reason;
  return {
    kind: 'rotation',
    severity: outcome === 'rotated' ? 'info' : connected ? 'warning' : 'alarm',
    slot,
    tookMs,
    detail: cut(`${outcome}: ${came}`),
  };
}

function spoolEvents(before: SpoolHealth, now: SpoolHealth): Happened[] {
  const alarm = (detail: string): Happened => ({ kind: 'spool', severity: 'alarm', detail: cut(detail) });
  const events: Happened[] = [];
  if (now.broken && now.broken.movedTo !== before.broken?.movedTo)
    events.push(alarm(`the spool was broken and moved aside: ${now.broken.reason}`));
  if (now.problem && now.problem.code !== before.problem?.code)
    events.push(alarm(`${now.problem.code}: ${now.problem.message}`));
  if (now.reserve === 'used' && before.reserve === 'whole')
    events.push(alarm('the disk is full: usage goes into its reserve'));
  if (!now.problem && before.problem)
    events.push({ kind: 'spool', severity: 'info', detail: 'the spool can be written again' });
  return events;
}

/** Usage is short of room, or about to be. */
const isShort = ({ problem, reserve }: SpoolHealth) => problem?.code === 'spool/full' || reserve === 'used';

function flowOf({ agoMs: _, imei, sourcePort, ...note }: FlowNote): Flow {
  return {
    ...named(note),
    ...(imei === null ? {} : { imei }),
    ...(sourcePort === 0 ? {} : { sourcePort }),
  };
}

function refusalOf({ agoMs: _, reason, times, ...note }: RefusalNote): Flow {
  return {
    ...named(note),
    outcome: reason,
    tookMs: 0,
    upBytes: 0,
    downBytes: 0,
    ...(times === 1 ? {} : { times }),
  };
}

/** SOCKS5 names may be longer than any name is. */
function named<Note extends { host?: string }>(note: Note): Note {
  return note.host !== undefined && note.host.length > MAX_HOST
    ? { ...note, host: note.host.slice(0, MAX_HOST) }
    : note;
}

function refusalEvent(note: RefusalNote): Happened | undefined {
  const { reason, times, credentialId, endpointId, host, port } = note;
  const common = { credentialId, endpointId, ...(times === 1 ? {} : { times }) };
  // Its target is on the host's side of the modem: the host may know it.
  if (reason === 'private-target')
    return {
      kind: 'private-target',
      severity: times >= MANY ? 'warning' : 'info',
      ...common,
      detail: host === undefined ? '' : cut(port === undefined ? host : `${host} port ${port}`),
    };
  if (CHAIN_REASONS.includes(reason))
    return { kind: 'chain-failed', severity: 'warning', ...common, detail: reason };
  return undefined;
}

function sourceEvent({ kind, source, times }: SourceNote): Happened {
  const what =
    kind === 'flood' ? 'connects held off before they cost anything' : 'wrong user name or password';
  return {
    kind,
    severity: times >= MANY ? 'warning' : 'info',
    ...(source === null ? {} : { source: source.slice(0, 64) }),
    ...(times === 1 ? {} : { times }),
    detail: source === null ? `${what}, from many addresses` : what,
  };
}

const byNumber = (slots: readonly SlotReport[]) => new Map(slots.map(slot => [slot.slot, slot]));
const cut = (text: string) => text.slice(0, MAX_DETAIL);
