/**
 * What state a slot is in, and why: pure, from the facts that its supervisor has gathered (slot-supervisor.ts). A
 * modem's word that it is connected is not enough: only a path that was proven from end to end (health/path-watch.ts)
 * makes it ready. What is done about a cause is recovery/plan.ts.
 */
import type { ModemCause, ModemState } from '@mastline/shared/domain/modem';
import { MODEM_CAUSES } from '@mastline/shared/domain/modem';
import type { DriverFault, ModemStatus } from './driver';

export type NetworkFacts =
  | { kind: 'unknown' }
  | { kind: 'absent'; reason: string; cause?: ModemCause }
  | { kind: 'failed'; reason: string }
  /** The modem's interface is there; the carrier's address comes with the data connection. `problem` keeps it away. */
  | { kind: 'linked'; problem: string }
  /** `note` is what a person should know although it works. */
  | { kind: 'up'; sourceAddress: string; sourceAddress6?: string; note: string };

export type ApiFacts =
  | { kind: 'unasked' }
  | { kind: 'answered'; status: ModemStatus }
  /** `last` is what the modem said before it fell silent. */
  | { kind: 'failing'; fault: DriverFault; failures: number; last: ModemStatus | null };

/** What probes and live traffic say of the way from this box through the modem to the Internet. */
export type Proof =
  /** Not asked since this connection came up. */
  | { kind: 'none' }
  /** There is nobody to ask. */
  | { kind: 'unaskable' }
  | { kind: 'carries' }
  | { kind: 'silent'; failures: number; problem: string; carriedBefore: boolean }
  /** Somebody else answered in the place of the one who was asked. */
  | { kind: 'captive'; problem: string; credit: boolean };

export interface PathFacts {
  proof: Proof;
  /** Address that the outside sees; null while unknown. */
  address: string | null;
  /** Why it is not known; empty when it is. */
  problem: string;
  /** It carried after the modem's API last failed. */
  provenSinceApiFailed: boolean;
}

export const NO_PATH: PathFacts = {
  proof: { kind: 'none' },
  address: null,
  problem: '',
  provenSinceApiFailed: false,
};

export interface SlotFacts {
  network: NetworkFacts;
  api: ApiFacts;
  path: PathFacts;
  /** The PIN that is configured was refused by this SIM: it is not tried again. */
  pinRefused?: boolean;
  /** Set when the SIM's data for this period is used up: until when, in words. */
  dataCap?: string | null;
}

export interface SlotVerdict {
  state: ModemState;
  reason: string;
  /** New flows may leave through it. */
  ready: boolean;
  /** Null while there is nothing to mend, or nothing known yet. */
  cause: ModemCause | null;
}

/** Failed polls in a row before an API counts as dead; one lost reply is no news. */
export const API_PATIENCE = 3;
/** Failed probes in a row before a path that carried counts as dead. */
export const PATH_PATIENCE = 2;

export function judgeSlot(facts: SlotFacts): SlotVerdict {
  const { network, api } = facts;
  switch (network.kind) {
    case 'unknown':
      return waiting('its network is being set up');
    case 'absent':
      return { state: 'absent', reason: network.reason, ready: false, cause: network.cause ?? null };
    case 'failed':
      return { state: 'failed', reason: network.reason, ready: false, cause: 'set-up' };
    case 'linked':
      return withoutAddress(judgeModem(api, facts), api, network.problem);
    case 'up': {
      const verdict = judgeModem(api, facts);
      return { ...verdict, reason: [verdict.reason, network.note].filter(part => part !== '').join('; ') };
    }
  }
}

/** Connected by the modem's word, and nothing can leave yet. */
function withoutAddress(verdict: SlotVerdict, api: ApiFacts, problem: string): SlotVerdict {
  const status = api.kind === 'answered' ? api.status : null;
  if (status?.data.state !== 'up') return verdict;
  if (problem !== '') return down('failed', 'set-up', problem);
  const reason =
    status.bearer.address === null && status.bearer.address6 !== null
      ? 'the carrier gave an IPv6 address only, which is used of MBIM modems: set "ipType" of the APN to "ipv4" or "ipv4v6"'
      : 'connected, its address is being set up';
  return down('registering', null, reason);
}

function judgeModem(api: ApiFacts, facts: SlotFacts): SlotVerdict {
  switch (api.kind) {
    case 'unasked':
      return waiting('the modem has not been asked yet');
    case 'answered':
      return judgeStatus(api.status, facts);
    case 'failing':
      return judgeSilence(api, facts);
  }
}

function judgeStatus(status: ModemStatus, facts: SlotFacts): SlotVerdict {
  const { sim, registration, data } = status;
  if (data.state === 'up') return judgePath(facts);
  if (sim.state === 'absent') return down('failed', 'no-sim', 'no SIM in the modem');
  if (sim.state === 'pin-needed')
    return facts.pinRefused
      ? down('locked', 'pin-refused', 'the SIM refused the PIN of the configuration; it is not tried again')
      : down('locked', 'pin-needed', `the SIM asks for its PIN${tries(sim.triesLeft)}`);
  if (sim.state === 'puk-needed')
    return down('locked', 'puk-needed', `the SIM asks for its PUK${tries(sim.triesLeft)}`);
  if (sim.state === 'failed') return down('failed', 'sim-failed', sim.reason);
  if (registration.state === 'denied')
    return down('failed', 'registration-denied', 'the network refuses to register it');
  if (data.state === 'changing') return down('registering', null, data.reason);
  if (data.state === 'refused') return down('failed', 'connection-refused', data.reason);
  return registration.state === 'searching' || registration.state === 'not-searching'
    ? down('registering', 'no-registration', 'looking for a network')
    : down('registering', 'no-data-connection', `registered, ${data.reason}`);
}

/** Connected by its own word: what comes through decides. */
function judgePath({ path, dataCap }: SlotFacts): SlotVerdict {
  const { proof } = path;
  if (typeof dataCap === 'string') return down('locked', 'data-cap', dataCap);
  const unknownExit =
    path.address === null && path.problem !== '' ? `exit address unknown: ${path.problem}` : '';
  const carries = { state: 'connected', reason: unknownExit, ready: true, cause: null } as const;
  switch (proof.kind) {
    case 'none':
      return waiting('connected by its own word, being probed');
    case 'unaskable':
    case 'carries':
      return carries;
    case 'silent':
      if (proof.failures >= PATH_PATIENCE) return down('failed', 'data-dead', proof.problem);
      return proof.carriedBefore ? carries : waiting(`no answer through it yet: ${proof.problem}`);
    case 'captive':
      return down('failed', proof.credit ? 'sim-out-of-credit' : 'captive-portal', proof.problem);
  }
}

/** Faults for a person that no log-in mends, by their code. */
const LOCKED_BY: Record<string, ModemCause> = {
  'port/in-use': 'port-taken',
  'mbim/device-busy': 'port-taken',
  'port/not-permitted': 'set-up',
  'mbim/not-permitted': 'set-up',
  'mbim/not-a-device': 'set-up',
  'modem/no-profile': 'set-up',
};

/** The web server of a stick can hang while its NAT works, and the reverse: traffic decides, not the API. */
function judgeSilence(api: ApiFacts & { kind: 'failing' }, facts: SlotFacts): SlotVerdict {
  const { path } = facts;
  const why = `its control interface does not serve: ${api.fault.message}`;
  const wasConnected = api.last?.data.state === 'up';
  const patient = api.failures < API_PATIENCE;
  if (wasConnected && (patient || path.provenSinceApiFailed)) {
    const verdict = judgePath(facts);
    // Dead data or a dead stick: what mends them differs, so it is waited until that is known.
    if (patient && verdict.cause === 'data-dead') return waiting(`nothing comes through, and ${why}`);
    if (patient || !verdict.ready) return verdict;
    return { state: 'connected', reason: `carries, but ${why}`, ready: true, cause: 'api-dead' };
  }
  if (api.fault.kind === 'locked')
    return down('locked', LOCKED_BY[api.fault.code] ?? 'log-in', `a person has to act: ${api.fault.message}`);
  if (patient || api.fault.kind === 'busy') return waiting(why);
  return down('failed', wasConnected ? 'stick-hung' : 'api-dead', why);
}

/** `Cause in words: detail`, so that whoever reads only the reason reads the cause, too. */
function down(state: ModemState, cause: ModemCause | null, detail: string): SlotVerdict {
  const reason = cause === null ? detail : `${MODEM_CAUSES[cause]}: ${detail}`;
  return { state, reason, ready: false, cause };
}

function waiting(reason: string): SlotVerdict {
  return { state: 'probing', reason, ready: false, cause: null };
}

function tries(left: number | null): string {
  return left === null ? '' : ` (${left} tries left)`;
}
