/** What the world is told of one slot: to the cloud as a report, to the data plane as a way out. Pure. */
import type { RecoveryReport, SlotReport } from '@mastline/shared/domain/modem';
import type { Egress } from '../ports';
import type { ModemIdentity, Registration } from './driver';
import { countryOf } from './mobile-countries';
import { guardedOf, type SlotConfig } from './slot-config';
import type { SlotVerdict } from './slot-state';

const MAX_REASON_CHARS = 300;

export interface ShownSlot {
  config: SlotConfig;
  verdict: SlotVerdict;
  identity: ModemIdentity;
  registration: Registration | null;
  sourceAddress: string | null;
  /** Of IPv6, beside one of IPv4. */
  sourceAddress6: string | null;
  dnsServers: string[];
  /** As an echo service saw it. */
  exitAddress: string | null;
  /** What a person should know beside the reason while it is not connected. */
  note: string;
  lastRecovery: RecoveryReport | null;
}

export function reportOf(shown: ShownSlot): SlotReport {
  const { config, identity } = shown;
  const { state, reason, cause } = shown.verdict;
  const said = [reason, state === 'connected' ? '' : shown.note].filter(part => part !== '').join('; ');
  return {
    slot: config.slot,
    usbPath: config.usbPath,
    interface: 'interface' in config ? config.interface : null,
    sourceAddress: shown.sourceAddress,
    state,
    reason: said.length > MAX_REASON_CHARS ? `${said.slice(0, MAX_REASON_CHARS - 1)}…` : said,
    cause,
    recovery: shown.lastRecovery,
    exitAddress: state === 'connected' ? shown.exitAddress : null,
    // IPv6 leaves as it is: carriers give each modem a /64 of its own, and translate nothing.
    ...(state === 'connected' && shown.sourceAddress6 !== null ? { exitAddress6: shown.sourceAddress6 } : {}),
    imei: identity.imei,
    model: identity.model,
    firmware: identity.firmware,
    virtual: config.virtual,
  };
}

export function egressOf(shown: ShownSlot): Egress {
  const { config, registration } = shown;
  return {
    slot: config.slot,
    sourceAddress: shown.sourceAddress,
    ...(shown.sourceAddress6 === null ? {} : { sourceAddress6: shown.sourceAddress6 }),
    dnsServers: shown.dnsServers,
    ready: shown.verdict.ready,
    imei: shown.identity.imei,
    carrier: registration?.carrier ?? null,
    country: countryOf(registration?.plmn ?? null),
    guarded: guardedOf(config),
  };
}
