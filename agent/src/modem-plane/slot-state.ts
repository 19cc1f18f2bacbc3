/** What state a slot is in, and why: pure, from the facts that its supervisor has gathered (slot-supervisor.ts). */
import type { ModemState } from '@mastline/shared/domain/modem';
import type { DriverFault, ModemStatus } from './driver';

export type NetworkFacts =
  | { kind: 'unknown' }
  | { kind: 'absent'; reason: string }
  | { kind: 'failed'; reason: string }
  /**
   * The modem's interface is there; the carrier's address comes with the data connection. `problem`: why it cannot be
   * set up although it has come; else empty.
   */
  | { kind: 'linked'; problem: string }
  /** `note` is what a person should know although it works. */
  | { kind: 'up'; sourceAddress: string; note: string };

export type ApiFacts =
  | { kind: 'unasked' }
  | { kind: 'answered'; status: ModemStatus }
  /** `last` is what the modem said before it fell silent. */
  | { kind: 'failing'; fault: DriverFault; failures: number; last: ModemStatus | null };

export interface ExitFacts {
  address: string | null;
  /** Why it is not known; empty when it is. */
  problem: string;
  /** The address was confirmed through the modem after its API last failed. */
  confirmedSinceApiFailed: boolean;
}

export interface SlotFacts {
  network: NetworkFacts;
  api: ApiFacts;
  exit: ExitFacts;
}

export interface SlotVerdict {
  state: ModemState;
  reason: string;
  /** New flows may leave through it. */
  ready: boolean;
}

/** Failed polls in a row before an API counts as dead; one lost reply is no news. */
export const API_PATIENCE = 3;

export function judgeSlot(facts: SlotFacts): SlotVerdict {
  const { network, api } = facts;
  switch (network.kind) {
    case 'unknown':
      return { state: 'probing', reason: 'its network is being set up', ready: false };
    case 'absent':
      return { state: 'absent', reason: network.reason, ready: false };
    case 'failed':
      return { state: 'failed', reason: network.reason, ready: false };
    case 'linked':
    case 'up':
      break;
  }
  const noted = (verdict: SlotVerdict): SlotVerdict =>
    network.kind === 'linked'
      ? withoutAddress(verdict, api, network.problem)
      : {
          ...verdict,
          reason: [verdict.reason, network.note].filter(part => part !== '').join('; '),
        };
  switch (api.kind) {
    case 'unasked':
      return noted({ state: 'probing', reason: 'the modem has not been asked yet', ready: false });
    case 'answered':
      return noted(judgeStatus(api.status, facts.exit));
    case 'failing':
      return noted(judgeSilence(api, facts.exit));
  }
}

/** Connected by the modem's word, and nothing can leave yet. */
function withoutAddress(verdict: SlotVerdict, api: ApiFacts, problem: string): SlotVerdict {
  if (verdict.state !== 'connected') return verdict;
  if (problem !== '') return { state: 'failed', reason: problem, ready: false };
  const status = api.kind === 'answered' ? api.status : null;
  const reason =
    status !== null && status.bearer.address === null && status.bearer.address6 !== null
      ? 'the carrier gave an IPv6 address only: set "ipType" of the APN to "ipv4" or "ipv4v6"'
      : 'connected, its address is being set up';
  return { state: 'registering', reason, ready: false };
}

function judgeStatus(status: ModemStatus, exit: ExitFacts): SlotVerdict {
  if (status.bearer.connected)
    return {
      state: 'connected',
      reason: exit.address === null && exit.problem !== '' ? `exit address unknown: ${exit.problem}` : '',
      ready: true,
    };
  const down = (state: ModemState, reason: string): SlotVerdict => ({ state, reason, ready: false });
  if (status.sim.state === 'absent') return down('failed', 'no SIM in the modem');
  if (status.sim.state === 'failed') return down('failed', status.sim.reason);
  if (status.sim.state === 'pin-needed')
    return down('locked', 'a person has to act: the SIM asks for its PIN');
  if (status.sim.state === 'puk-needed')
    return down('locked', 'a person has to act: the SIM asks for its PUK');
  const { data, registration } = status;
  if (data.state === 'refused') return down('failed', data.reason);
  if (data.state === 'changing') return down('registering', data.reason);
  if (registration.state === 'denied') return down('failed', 'the network refuses this SIM');
  return down(
    'registering',
    registration.state === 'searching' ? 'looking for a network' : `registered, ${data.reason}`,
  );
}

/** The web server of a stick can hang while its NAT works, and the reverse: traffic decides, not the API. */
function judgeSilence(api: ApiFacts & { kind: 'failing' }, exit: ExitFacts): SlotVerdict {
  const why = `its control interface does not serve: ${api.fault.message}`;
  const wasConnected = api.last?.bearer.connected === true;
  if (wasConnected && (api.failures < API_PATIENCE || exit.confirmedSinceApiFailed))
    return {
      state: 'connected',
      reason: api.failures < API_PATIENCE ? '' : `carries, but ${why}`,
      ready: true,
    };
  if (api.fault.kind === 'locked')
    return { state: 'locked', reason: `a person has to act: ${api.fault.message}`, ready: false };
  if (api.failures < API_PATIENCE || api.fault.kind === 'busy')
    return { state: 'probing', reason: why, ready: false };
  return { state: 'failed', reason: why, ready: false };
}
