/**
 * Data connections of AT modems: the ways to bring one up, take it down and see its state, by the names the profiles
 * use. Each way knows only its commands; the order of things (APN first, then dial, then wait for an address) is the
 * same for all. The address is that inside the carrier's network; verifying the exit address is not done here.
 */
import { sleep } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { ConnectMethod } from '@mastline/shared/profile/schema';
import type { Apn, Bearer, Outcome } from '../../driver';
import type { Row } from './commands';
import * as commands from './commands';
import { type Addresses, NO_ADDRESSES } from './data-replies';
import { readRegistrations, restoreRadio, switchRadio, waitRegistered } from './radio';
import { type AtTalk, fault } from './session';

/** From the order to dial until there is an address; carriers answer in seconds or not at all. */
const CONNECT_DEADLINE_MS = 60_000;
const ATTACH_DEADLINE_MS = 90_000;
const DISCONNECT_DEADLINE_MS = 15_000;
const POLL_MS = 1000;

interface Way {
  up(context: number, apn: Apn | null): Row<true>;
  down(context: number): Row<true>;
  /** Whether the connection of the host is up, and its addresses as far as this way tells them. */
  state(talk: AtTalk): Promise<Outcome<{ connected: boolean; addresses: Addresses }>>;
  /** Sets the APN with its own dialling command. */
  bringsApn?: boolean;
}

/** Every way the driver knows; a profile's method without an entry belongs to another driver. */
export const WAYS: Partial<Record<ConnectMethod, Way>> = {
  cgact: {
    up: context => commands.activate(context, true),
    down: context => commands.activate(context, false),
    state: talk => contextState(talk, commands.contextActive(contextOf(talk))),
  },
  qcrmcall: {
    up: context => commands.qcrmcall(context, true),
    down: context => commands.qcrmcall(context, false),
    // The context itself is always up in LTE: it is the default bearer.
    state: talk => contextState(talk, commands.netDevStatus),
  },
  'qnetdevctl-cid-first': {
    up: context => commands.qnetdevctlCidFirst(context, true),
    down: context => commands.qnetdevctlCidFirst(context, false),
    state: talk => contextState(talk, commands.netDevStatus),
  },
  'qnetdevctl-operation-first': {
    up: context => commands.qnetdevctlOperationFirst(context, true),
    down: context => commands.qnetdevctlOperationFirst(context, false),
    state: talk => contextState(talk, commands.netDevStatus),
  },
  qmapwac: {
    up: () => commands.qmapwac(true),
    down: () => commands.qmapwac(false),
    state: async talk => {
      const wwan = await talk.ask(commands.qmapWwan);
      if (!wwan.ok) return wwan;
      const { connected, ...addresses } = wwan.value;
      if (!connected) return { ok: true, value: { connected, addresses } };
      const details = await talk.ask(commands.contextDetails(contextOf(talk)));
      const dnsServers = details.ok ? details.value.dnsServers : [];
      return { ok: true, value: { connected, addresses: { ...addresses, dnsServers } } };
    },
  },
  ndisdup: {
    bringsApn: true,
    up: (context, apn) => commands.ndisUp(context, apn),
    down: context => commands.ndisDown(context),
    state: async talk => {
      const state = await talk.ask(commands.ndisState);
      if (!state.ok) return state;
      const none = { connected: false, addresses: NO_ADDRESSES };
      if (state.value !== 'up') return { ok: true, value: none };
      const lease = await talk.ask(commands.huaweiDhcp);
      // Up, and the lease not there yet: no address means not usable yet.
      if (!lease.ok) return lease.fault.kind === 'unreachable' ? lease : { ok: true, value: none };
      return { ok: true, value: { connected: true, addresses: lease.value } };
    },
  },
};

export class DataCall {
  readonly #talk: AtTalk;
  readonly #way: Way;
  /** What was last set, so that a password, which cannot be read back, is not set again and again. */
  #applied: string | null = null;

  constructor(talk: AtTalk, way: Way) {
    this.#talk = talk;
    this.#way = way;
  }

  async bearer(): Promise<Outcome<Bearer>> {
    const state = await this.#way.state(this.#talk);
    if (!state.ok) return state;
    const { connected, addresses } = state.value;
    const shown = connected ? addresses : NO_ADDRESSES;
    return { ok: true, value: { connected, ...shown, dnsServers: [...shown.dnsServers], mtu: null } };
  }

  async connect(apn: Apn | null): Promise<Outcome<Bearer>> {
    const talk = this.#talk;
    const prepared = apn === null || this.#way.bringsApn ? null : await this.#useApn(apn);
    if (prepared && !prepared.ok) return prepared;
    const row = rowOrFault(() => this.#way.up(contextOf(talk), apn));
    if (!row.ok) return row;
    const dialled = await talk.ask(row.value);
    if (!dialled.ok) return this.#explain(dialled);
    return this.#waitFor(true, CONNECT_DEADLINE_MS);
  }

  async disconnect(): Promise<Outcome<true>> {
    const done = await this.#talk.ask(this.#way.down(contextOf(this.#talk)));
    if (!done.ok) return done;
    const gone = await this.#waitFor(false, DISCONNECT_DEADLINE_MS);
    return gone.ok ? { ok: true, value: true } : gone;
  }

  async #waitFor(connected: boolean, withinMs: number): Promise<Outcome<Bearer>> {
    const { clock } = this.#talk;
    const begun = clock.monotonicMs();
    for (;;) {
      const bearer = await this.bearer();
      if (!bearer.ok && bearer.fault.kind === 'unreachable') return bearer;
      const hasAddress = bearer.ok && (bearer.value.address ?? bearer.value.address6) !== null;
      if (bearer.ok && bearer.value.connected === connected && (!connected || hasAddress)) return bearer;
      if (clock.monotonicMs() - begun >= withinMs) {
        if (!bearer.ok) return bearer;
        return connected
          ? fault('failed', 'no-address', `no address ${withinMs / 1000} s after dialling`)
          : fault(
              'failed',
              'still-connected',
              `still connected ${withinMs / 1000} s after hanging up; switch the radio off`,
            );
      }
      await sleep(clock, POLL_MS);
    }
  }

  /** A refusal before registration says nothing of the APN: then the modem only needs time. */
  async #explain(refused: Outcome<never>): Promise<Outcome<Bearer>> {
    if (refused.ok || refused.fault.kind !== 'failed') return refused;
    const registered = await readRegistrations(this.#talk);
    const { state } = registered.ok ? registered.value : { state: 'unknown' };
    if (!registered.ok || state === 'registered' || state === 'roaming') return refused;
    return fault(
      'busy',
      'not-registered',
      `dialling was refused (${refused.fault.message}) because the modem is ${state}`,
    );
  }

  async #useApn(apn: Apn): Promise<Outcome<true>> {
    const talk = this.#talk;
    const context = contextOf(talk);
    const wanted = JSON.stringify(apn);
    const rows = rowOrFault(() => [commands.defineContext(context, apn), ...authenticationRows(talk, apn)]);
    if (!rows.ok) return rows;
    const now = await talk.ask(commands.contexts);
    if (!now.ok) return now;
    const set = now.value.find(one => one.context === context);
    const same = set?.apn.toLowerCase() === apn.name.toLowerCase() && set.ipType === commands.pdpType(apn);
    if (same && (apn.authentication === 'none' || this.#applied === wanted)) return { ok: true, value: true };

    // The context is in use as long as the modem is attached, and a new one is used only by attaching.
    const attachAnew = talk.profile.connect.apnNeedsAttach;
    if (attachAnew) {
      const off = await switchRadio(talk, false);
      if (!off.ok) return off;
    }
    let outcome: Outcome<true> = { ok: true, value: true };
    for (const row of rows.value) if (outcome.ok) outcome = await talk.ask(row);
    if (attachAnew) {
      const on = await restoreRadio(talk);
      if (!on.ok) return on;
    }
    if (!outcome.ok) return outcome;
    this.#applied = wanted;
    return attachAnew ? waitRegistered(talk, ATTACH_DEADLINE_MS) : outcome;
  }
}

/** The first of the profile's methods that AT has a way for. */
export function createDataCall(talk: AtTalk): DataCall | null {
  for (const method of talk.profile.connect.methods) {
    const way = WAYS[method];
    if (way) return new DataCall(talk, way);
  }
  return null;
}

function authenticationRows(talk: AtTalk, apn: Apn): Row<true>[] {
  if (apn.authentication === 'none') return [];
  const by =
    talk.profile.at.dialect === 'quectel' ? commands.authenticate.quectel : commands.authenticate['3gpp'];
  return [by(contextOf(talk), apn)];
}

async function contextState(
  talk: AtTalk,
  isUp: Row<boolean>,
): Promise<Outcome<{ connected: boolean; addresses: Addresses }>> {
  const up = await talk.ask(isUp);
  if (!up.ok) return up;
  if (!up.value) return { ok: true, value: { connected: false, addresses: NO_ADDRESSES } };
  const details = await talk.ask(commands.contextDetails(contextOf(talk)));
  if (details.ok && details.value.address !== null)
    return { ok: true, value: { connected: true, addresses: details.value } };
  const plain = await talk.ask(commands.contextAddress(contextOf(talk)));
  if (!plain.ok) return plain;
  const dnsServers = details.ok ? details.value.dnsServers : [];
  return { ok: true, value: { connected: true, addresses: { ...plain.value, dnsServers } } };
}

function rowOrFault<T>(make: () => T): Outcome<T> {
  try {
    return { ok: true, value: make() };
  } catch (error) {
    if (error instanceof CodedError && error.code === 'at/bad-value')
      return fault('failed', 'bad-apn', error.message);
    throw error;
  }
}

function contextOf(talk: AtTalk): number {
  return talk.profile.connect.context;
}
