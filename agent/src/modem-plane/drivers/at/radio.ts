/**
 * The radio side of an AT modem: registration, signal, cell, and the ways to drop a registration and take it up again.
 * Whatever is taken down here is brought up again, also when a step between fails. Data connections are data-call.ts.
 */
import { sleep } from '@mastline/shared/base/clock';
import type { RotationMethod, SignalMethod } from '@mastline/shared/profile/schema';
import type { Cell, Outcome, Registration, Signal } from '../../driver';
import type { Row } from './commands';
import * as commands from './commands';
import { bestRegistration, type RegistrationLine } from './replies';
import { type AtTalk, fault } from './session';
import {
  NO_CELL,
  readCesq,
  readCsq,
  readHcsq,
  readQcsq,
  readServingCell,
  type ServingCell,
} from './signal-replies';

const QUICK_MS = 3000;
/** How often a modem is asked to come back before its radio is given up for now. */
const RESTORE_TRIES = 3;
const RESTORE_PAUSE_MS = 2000;
const POLL_MS = 1000;

/** Out of every domain that answers; a fault only when none does. */
export async function readRegistrations(talk: AtTalk): Promise<Outcome<RegistrationLine>> {
  const { registrations } = commands;
  const rows = [
    registrations.lte,
    ...(talk.profile.at.nr ? [registrations.nr] : []),
    registrations.packet,
    registrations.circuit,
    ...(talk.profile.at.dialect === 'huawei-stick' ? [registrations.huawei] : []),
  ];
  const lines: RegistrationLine[] = [];
  let last: Outcome<RegistrationLine> = fault(
    'failed',
    'no-registration',
    'no domain tells its registration',
  );
  for (const row of rows) {
    last = await talk.ask(row);
    if (last.ok) lines.push(last.value);
    else if (last.fault.kind === 'unreachable') return last;
    // The first domain that is registered says all; the others cost time.
    if (last.ok && (last.value.state === 'registered' || last.value.state === 'roaming')) break;
  }
  const best = bestRegistration(lines);
  return best ? { ok: true, value: best } : last;
}

export async function readRegistrationOf(talk: AtTalk): Promise<Outcome<Registration>> {
  const registered = await readRegistrations(talk);
  if (!registered.ok) return registered;
  const { state } = registered.value;
  if (state !== 'registered' && state !== 'roaming')
    return { ok: true, value: { state, carrier: null, plmn: null, technology: null } };
  let operator = await talk.ask(commands.operator);
  if (!operator.ok && operator.fault.kind !== 'unreachable')
    operator = await talk.ask(commands.operatorPlain);
  if (!operator.ok && operator.fault.kind === 'unreachable') return operator;
  const { carrier, plmn, technology } = operator.ok
    ? operator.value
    : { carrier: null, plmn: null, technology: null };
  const known = technology ?? registered.value.technology;
  return { ok: true, value: { state, carrier, plmn, technology: await withNr(talk, known) } };
}

/** On EN-DC the modem is registered in LTE; only the network details tell of the NR leg. */
async function withNr(
  talk: AtTalk,
  technology: Registration['technology'],
): Promise<Registration['technology']> {
  if (technology !== '4g' || !talk.profile.at.nr) return technology;
  const details = await talk.ask(commands.networkTechnologies);
  return details.ok && details.value.some(name => name.startsWith('NR5G-NSA')) ? '5g-nsa' : technology;
}

const question = <T>(text: string, prefix: string, read: (lines: string[]) => T | null): Row<T> => ({
  text,
  name: text,
  deadlineMs: QUICK_MS,
  prefixes: [prefix],
  repeatable: true,
  optional: true,
  read,
});

function servingCell(talk: AtTalk): Row<ServingCell> {
  const unit = talk.profile.signal.qengLteSinr;
  return question('AT+QENG="servingcell"', '+QENG', lines => (unit ? readServingCell(lines, unit) : null));
}

/** How the driver asks for each of the profile's signal methods. Those of other drivers are theirs. */
export const SIGNAL_ROWS: Partial<Record<SignalMethod, (talk: AtTalk) => Row<Signal>>> = {
  qeng: talk => {
    const row = servingCell(talk);
    return { ...row, read: lines => row.read(lines)?.signal ?? null };
  },
  qcsq: ({ profile }) => {
    const unit = profile.signal.qcsqLteSinr;
    return question('AT+QCSQ', '+QCSQ', lines => (unit ? readQcsq(lines, unit) : null));
  },
  hcsq: () => question('AT^HCSQ?', '^HCSQ', readHcsq),
  cesq: () => question('AT+CESQ', '+CESQ', readCesq),
  csq: () => question('AT+CSQ', '+CSQ', readCsq),
};

/** The first method that says anything, filled up by the later ones where it says nothing. */
export async function readSignal(talk: AtTalk): Promise<Outcome<Signal>> {
  let signal: Signal | null = null;
  let last: Outcome<Signal> = fault(
    'unsupported',
    'no-signal-method',
    'the profile names no signal method for AT',
  );
  for (const method of talk.profile.signal.methods) {
    const row = SIGNAL_ROWS[method]?.(talk);
    if (!row) continue;
    last = await talk.ask(row);
    if (!last.ok && last.fault.kind === 'unreachable') return last;
    if (last.ok) signal = signal === null ? last.value : fillUp(signal, last.value);
    if (signal?.rsrpDbm != null) break;
  }
  return signal === null ? last : { ok: true, value: signal };
}

function fillUp(first: Signal, second: Signal): Signal {
  return {
    rssiDbm: first.rssiDbm ?? second.rssiDbm,
    rsrpDbm: first.rsrpDbm ?? second.rsrpDbm,
    rsrqDb: first.rsrqDb ?? second.rsrqDb,
    sinrDb: first.sinrDb ?? second.sinrDb,
  };
}

/** From the serving cell where the model has that, else the cell identity of the registration. */
export async function readCell(talk: AtTalk): Promise<Outcome<Cell>> {
  if (talk.profile.signal.methods.includes('qeng')) {
    const cell = await talk.ask(servingCell(talk));
    if (cell.ok) return { ok: true, value: cell.value.cell };
    if (cell.fault.kind === 'unreachable') return cell;
  }
  const registered = await readRegistrations(talk);
  if (!registered.ok) return registered;
  return { ok: true, value: { ...NO_CELL, cellId: registered.value.cellId } };
}

export async function switchRadio(talk: AtTalk, on: boolean): Promise<Outcome<true>> {
  const { at } = talk.profile;
  if (!on) return talk.ask(commands.setFunctionality(at.radioOff));
  if (at.freshAttach) {
    // Allowed only while the radio is off, and worth nothing when the firmware refuses it.
    const now = await talk.ask(commands.functionality);
    const forgotten = now.ok && now.value !== '1' ? await talk.ask(commands.forgetTemporaryIdentity) : null;
    if (forgotten && !forgotten.ok)
      talk.log.debug('the modem keeps its temporary identity', { fault: forgotten.fault.code });
  }
  return talk.ask(commands.setFunctionality(1));
}

/** Switches the radio on again after something that needed it off. */
export function restoreRadio(talk: AtTalk): Promise<Outcome<true>> {
  return restore(talk, commands.setFunctionality(1));
}

export async function deregister(talk: AtTalk): Promise<Outcome<true>> {
  const { at } = talk.profile;
  const left = await talk.ask(commands.leaveNetwork[at.deregister]);
  if (left.ok) await sleep(talk.clock, dwellMs(talk, 'deregister'));
  // Also after a refusal: some modems leave and say ERROR.
  const joined = await restore(talk, commands.joinNetwork[at.deregister]);
  return left.ok ? joined : left;
}

/** Visits another network mode and goes back to the one it was in. */
export async function toggleMode(talk: AtTalk): Promise<Outcome<true>> {
  const { at } = talk.profile;
  if (at.modes === 'none' || at.modeVisited === undefined)
    return fault('unsupported', 'no-modes', 'this model has no network modes to toggle');
  const mode = commands.modes[at.modes];
  const before = await talk.ask(mode.read);
  if (!before.ok) return before;
  if (mode.modeOf(before.value) === at.modeVisited)
    return fault(
      'failed',
      'mode-fixed',
      `the modem is set to mode ${at.modeVisited} already, so there is nothing to toggle`,
    );
  const visited = await talk.ask(mode.write(mode.visiting(before.value, at.modeVisited)));
  if (visited.ok) await sleep(talk.clock, dwellMs(talk, 'mode-toggle'));
  const restored = await restore(talk, mode.write(before.value));
  if (!restored.ok)
    return fault(
      restored.fault.kind,
      'mode-not-restored',
      `the network mode could not be set back: ${restored.fault.message}`,
    );
  return visited.ok ? restored : visited;
}

/** Asks until the modem does it: what was taken down must not stay down for one lost answer. */
async function restore(talk: AtTalk, row: Row<true>): Promise<Outcome<true>> {
  let outcome = await talk.ask(row);
  for (let tries = 1; !outcome.ok && tries < RESTORE_TRIES; tries += 1) {
    if (outcome.fault.code === 'port-gone') break;
    await sleep(talk.clock, RESTORE_PAUSE_MS);
    outcome = await talk.ask(row);
  }
  return outcome;
}

/** Waits until the modem is registered; a busy fault when it is not within `withinMs`. */
export async function waitRegistered(talk: AtTalk, withinMs: number): Promise<Outcome<true>> {
  const begun = talk.clock.monotonicMs();
  for (;;) {
    const now = await readRegistrations(talk);
    if (!now.ok && now.fault.kind === 'unreachable') return now;
    if (now.ok && (now.value.state === 'registered' || now.value.state === 'roaming'))
      return { ok: true, value: true };
    if (talk.clock.monotonicMs() - begun >= withinMs)
      return fault('busy', 'not-registered', `not registered ${withinMs / 1000} s after attaching began`);
    await sleep(talk.clock, POLL_MS);
  }
}

function dwellMs(talk: AtTalk, method: RotationMethod): number {
  return (talk.profile.rotation.find(entry => entry.method === method)?.dwellSeconds ?? 0) * 1000;
}
