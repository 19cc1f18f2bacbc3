/**
 * One virtual modem with its carrier, put where the kind of network says (`Place`): a HiLink stick behind its web
 * server, or an AT or MBIM modem behind a pty. The simulators of each speak for it; here they are joined to the
 * carrier, which gives its traffic a public address.
 */
import type { Server } from 'node:net';
import { join } from 'node:path';
import type { SlotApi } from '@mastline/agent/modem-plane/slot-config';
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import { systemClock } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import type { DriverKind, Profile } from '@mastline/shared/profile/schema';
import { startAtModemOnPty } from './at/at-modem-on-pty';
import { READY_SIM } from './at/knobs';
import { MODELS } from './at/models';
import { type CarrierLink, VirtualCarrier } from './carrier';
import { CARRIERS } from './carrier-presets';
import { type ApiMode, startHilinkModem } from './hilink-modem';
import { identityOf } from './hilink-replies';
import { DEFAULT_KNOBS } from './mbim/knobs';
import { MbimModem } from './mbim/modem';
import { servePty } from './mbim/ports';
import type { ModemSpec, NetworkOptions, VirtualModem } from './virtual-slot';

/** 3GPP TS 24.008 10.5.6.6: requested service option not subscribed. */
const NOT_SUBSCRIBED = 33;
const NO_CAUSE = 0;

/** Before there was any data connection. */
const NOTHING_YET: CarrierLink = {
  ...{ address: null, carries: true, credit: true },
  ...{ address6: null, carries6: true },
};

/** Where a modem stands in its kind of network. */
export interface Place {
  /** Public addresses of its traffic. */
  pool: readonly string[];
  /** What the carrier gives the modem itself, behind its NAT. */
  innerPool: readonly string[];
  dnsServers: readonly string[];
  /** The same of IPv6; left out where this kind of network has none. */
  six?: { pool: readonly string[]; dnsServers: readonly string[] };
  apply: (link: CarrierLink) => Promise<void>;
  /** Opens the port of a stick's web API. */
  listen: () => Promise<Server>;
  /** The API's base; asked once `listen` has run. */
  url: () => string;
  bytes: () => Promise<{ up: number; down: number }>;
}

export interface RunningModem {
  modem: VirtualModem;
  carrier: VirtualCarrier;
  api: SlotApi;
}

/** Fills in what was left open and checks the rest; throws `simulator/no-such-model` with what there is. */
export function completeSpec(wish: {
  slot: number;
  profile: string;
  name: string | null;
  driver: DriverKind | undefined;
  carrier: ModemSpec['carrier'];
  addressesOf?: number | undefined;
  apart?: true | undefined;
  ipType?: ModemSpec['ipType'];
}): ModemSpec {
  const profiles = loadCatalogue();
  const profile = profiles.find(one => one.id === wish.profile);
  if (!profile)
    throw new CodedError(
      'simulator/no-such-model',
      `profile: there is no "${wish.profile}"; there are ${profiles.map(one => one.id).join(', ')}`,
    );
  const able = driversOf(profile);
  const driver = wish.driver ?? able[0];
  if (driver === undefined || !able.includes(driver))
    throw new CodedError(
      'simulator/no-such-model',
      `driver: ${profile.id} is simulated as ${able.join(' or ') || 'nothing'}${driver === undefined ? '' : `, not as ${driver}`}`,
    );
  const { slot, name, carrier, addressesOf, apart, ipType } = wish;
  if (ipType !== undefined && ipType !== 'ipv4' && driver !== 'mbim')
    throw new CodedError(
      'simulator/no-ipv6',
      `ipType: only MBIM modems are simulated with IPv6, not ${driver}`,
    );
  return {
    ...{ slot, name, profile: profile.id, driver, carrier },
    ...(addressesOf === undefined ? {} : { addressesOf }),
    ...(ipType === undefined ? {} : { ipType }),
    ...(apart === undefined ? {} : { apart }),
  };
}

/** What a model is simulated as, best first. */
function driversOf(profile: Profile): DriverKind[] {
  return profile.drivers
    .map(one => one.kind)
    .filter(kind => kind !== 'at' || MODELS[profile.id] !== undefined);
}

/** Starts it and powers it on. */
export async function startVirtualModem(
  spec: ModemSpec,
  place: Place,
  options: NetworkOptions,
): Promise<RunningModem> {
  const delays = {
    registrationDelayMs: options.registrationDelayMs,
    connectDelayMs: options.connectDelayMs,
    ...CARRIERS[spec.carrier].knobs,
  };
  const { ipType = 'ipv4' } = spec;
  if (ipType !== 'ipv4' && place.six === undefined)
    throw new CodedError(
      'simulator/no-ipv6',
      'ipType: IPv6 is to be had of real networks only (--kind namespaces), on a kernel that has it',
    );
  const carrier = new VirtualCarrier({
    pool: place.pool,
    ...(ipType === 'ipv4' ? {} : { pool6: place.six?.pool ?? [] }),
    clock: systemClock,
    apply: place.apply,
    onFailure: options.onFailure,
    registrationDelayMs: delays.registrationDelayMs,
    connectDelayMs: delays.connectDelayMs,
  });
  carrier.set(CARRIERS[spec.carrier].knobs);
  const parts = { spec, place, options, carrier, delays };
  switch (spec.driver) {
    case 'hilink':
      return startHilink(parts);
    case 'at':
      return startAt(parts);
    case 'mbim':
      return startMbim(parts);
  }
}

interface Parts {
  spec: ModemSpec;
  place: Place;
  options: NetworkOptions;
  carrier: VirtualCarrier;
  delays: { registrationDelayMs: number; connectDelayMs: number };
}

async function startHilink({ spec, place, options, carrier }: Parts): Promise<RunningModem> {
  const stick = await startHilinkModem({
    identity: identityOf(options.instance, spec.slot),
    carrier,
    wanAddress: session => place.innerPool[session % place.innerPool.length] ?? '10.0.0.1',
    dnsServers: place.dnsServers,
    listen: place.listen,
    bytes: place.bytes,
  });
  await carrier.powerOn();
  return {
    carrier,
    api: { kind: 'hilink', url: place.url() },
    modem: {
      mode: () => stick.mode(),
      setMode: mode => stick.setMode(mode),
      faults: () => stick.faults(),
      registered: () => carrier.status().registered,
      loseNetwork: async () => {
        await carrier.hangUp();
        carrier.register();
      },
      setData: up => carrier.switchData(up),
      setSim: () => {
        throw new CodedError('simulator/no-such-knob', 'sim: this knob is of AT and MBIM modems only');
      },
      pinTries: () => null,
      setDelays: delays => carrier.set(delays),
      close: () => stick.close(),
    },
  };
}

async function startAt({ spec, place, options, carrier, delays }: Parts): Promise<RunningModem> {
  const path = devicePath(options.stateDir, spec);
  await place.apply(NOTHING_YET);
  const { imei, iccid } = identityOf(options.instance, spec.slot);
  const port = await startAtModemOnPty({
    model: spec.profile,
    path,
    imei,
    iccid,
    network: {
      registrationDelayMs: delays.registrationDelayMs,
      dialDelayMs: delays.connectDelayMs,
      addresses: place.innerPool,
      dnsServers: place.dnsServers,
    },
    onBearer: address => (address === null ? carrier.hangUp() : carrier.attach()),
    onFailure: reason => options.onFailure(new Error(reason)),
  });
  const { modem } = port;
  const switches = modes({
    hang: on => {
      modem.knobs.hang = on;
    },
    unplug: () => port.vanish(),
    plug: () => port.appear(),
  });
  return {
    carrier,
    api: { kind: 'at', port: path, profile: spec.profile },
    modem: {
      ...switches,
      faults: () => modem.faults().map(({ command, why }) => ({ method: 'AT', path: command, why })),
      registered: () => modem.state.registered,
      loseNetwork: async () => modem.state.reregister(),
      setData: async up => {
        modem.state.network.credit = up ? 'good' : 'refused';
        if (!up) modem.state.hangUp();
        else if (modem.state.autoCall && modem.state.registered) modem.state.dial();
      },
      setSim: state => {
        modem.state.sim.state = state;
        // Whoever opens a SIM gives it its tries back.
        if (state === 'ready') modem.state.sim.pinTries = READY_SIM.pinTries;
        modem.state.review();
      },
      pinTries: () => modem.state.sim.pinTries,
      setDelays: ({ registrationDelayMs, connectDelayMs }) => {
        if (registrationDelayMs !== undefined) modem.state.network.registrationDelayMs = registrationDelayMs;
        if (connectDelayMs !== undefined) modem.state.network.dialDelayMs = connectDelayMs;
      },
      close: () => port.close(),
    },
  };
}

async function startMbim({ spec, place, options, carrier, delays }: Parts): Promise<RunningModem> {
  const path = devicePath(options.stateDir, spec);
  const { imei, imsi, iccid } = identityOf(options.instance, spec.slot);
  await place.apply(NOTHING_YET);
  const modem: MbimModem = new MbimModem({
    clock: systemClock,
    seed: options.instance * 100 + spec.slot,
    identity: { imei, imsi, iccid, ...modelOf(spec.profile) },
    carrier: {
      ...{ pool: place.innerPool, dnsServers: place.dnsServers },
      ...(place.six ? { dnsServers6: place.six.dnsServers } : {}),
    },
    knobs: { ...delays, ipType: spec.ipType ?? 'ipv4' },
    onBearer: async address => {
      await (address === null ? carrier.hangUp() : carrier.attach());
      modem.carrier.address6 = carrier.status().address6;
    },
  });
  const port = await servePty(modem, path);
  const switches = modes({
    hang: on => {
      modem.knobs.hung = on;
    },
    unplug: () => port.unplug(),
    plug: () => port.plug(),
  });
  return {
    carrier,
    api: { kind: 'mbim', device: path },
    modem: {
      ...switches,
      faults: () => modem.faults.map(why => ({ method: 'MBIM', path: '', why })),
      registered: () => modem.registered,
      loseNetwork: async () => modem.look(),
      setData: async up => {
        modem.knobs.connectCause = up ? NO_CAUSE : NOT_SUBSCRIBED;
        if (!up) await modem.deactivate();
      },
      setSim: sim => {
        if (sim === 'ready') modem.knobs.pinTriesLeft = DEFAULT_KNOBS.pinTriesLeft;
        modem.changeSim(sim);
      },
      pinTries: () => modem.knobs.pinTriesLeft,
      setDelays: given => void Object.assign(modem.knobs, given),
      close: () => port.close(),
    },
  };
}

/** The three modes of a modem on a port. */
function modes(switches: {
  hang: (on: boolean) => void;
  unplug: () => Promise<void>;
  plug: () => Promise<void>;
}): Pick<VirtualModem, 'mode' | 'setMode'> {
  let now: ApiMode = 'up';
  return {
    mode: () => now,
    setMode: async mode => {
      switches.hang(mode === 'hang');
      if (mode === 'dead' && now !== 'dead') await switches.unplug();
      if (mode !== 'dead' && now === 'dead') await switches.plug();
      now = mode;
    },
  };
}

/** The name and firmware that a model gives itself, where we know them. */
function modelOf(profile: string): { model: string; firmware: string } | undefined {
  const known = MODELS[profile];
  return known && { model: known.name, firmware: known.firmware };
}

function devicePath(stateDir: string, { driver, slot }: ModemSpec): string {
  return join(stateDir, driver === 'mbim' ? `cdc-wdm${slot}` : `ttyAT${slot}`);
}

/** A `messageOf` for the log of whoever closes what may have broken already. */
export async function closeModem({
  modem,
  carrier,
}: {
  modem: VirtualModem;
  carrier: VirtualCarrier;
}): Promise<void> {
  try {
    await modem.close();
  } catch (error) {
    throw new CodedError('simulator/close', `a virtual modem did not close: ${messageOf(error)}`, {
      cause: error,
    });
  } finally {
    await carrier.close();
  }
}
