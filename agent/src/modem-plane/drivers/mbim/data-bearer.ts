/**
 * The data connection of an MBIM modem: attach, activate, read the IP configuration; and back. A modem may answer
 * "activating" and tell the rest by an indication, which is waited for with a deadline.
 */
import { CodedError } from '@mastline/shared/base/coded-error';
import type { Apn, Bearer, DriverFault, Outcome } from '../../driver';
import { type Ask, done, failed, rawReply } from './ask';
import type { Command } from './command';
import {
  type ConnectRequest,
  type ConnectState,
  connectState,
  DEACTIVATE,
  ipConfiguration,
  type PacketService,
  packetService,
  readConnectState,
  readPacketService,
  setConnect,
  setPacketService,
} from './data-connection';
import type { IndicationHub } from './indication-hub';
import { InfoReader } from './layout';
import { bearerOf, NO_BEARER } from './readings';
import type { MbimSession } from './session';
import { causeFault, STATUS, statusFault } from './status';

const ATTACH_DEADLINE_MS = 30_000;
const ACTIVATE_DEADLINE_MS = 60_000;
const SESSION = 0;

export interface DataBearerOptions {
  session: MbimSession;
  ask: Ask;
  hub: IndicationHub;
  /** What this driver itself brought about. */
  onKnown: (connected: boolean) => void;
}

export class DataBearer {
  readonly #options: DataBearerOptions;
  /** What the running connection was asked with by this driver; undefined when somebody else made it. */
  #apn: Apn | null | undefined;

  constructor(options: DataBearerOptions) {
    this.#options = options;
  }

  async read(): Promise<Outcome<Bearer>> {
    const state = await this.#options.ask(connectState, undefined);
    // Some firmware answers the question with "not activated" as an error.
    if (!state.ok) return isNotActivated(state.fault) ? done(NO_BEARER) : state;
    return state.value.state === 'activated' ? this.#configuration() : done(NO_BEARER);
  }

  /** A running connection with the same APN is kept; with another one it is taken down first. */
  async connect(apn: Apn | null): Promise<Outcome<Bearer>> {
    const now = await this.read();
    if (!now.ok) return now;
    if (now.value.connected) {
      if (this.#apn !== undefined && sameApn(this.#apn, apn)) return now;
      const down = await this.disconnect();
      if (!down.ok) return down;
    }
    const attached = await this.#attach();
    if (!attached.ok) return attached;
    const activated = await this.#activate(requestOf(apn));
    if (!activated.ok) return activated;
    this.#apn = apn;
    this.#options.onKnown(true);
    return this.#configuration();
  }

  async disconnect(): Promise<Outcome<void>> {
    const down = await this.#deactivate();
    if (down.ok) this.#options.onKnown(false);
    return down;
  }

  async #deactivate(): Promise<Outcome<void>> {
    this.#apn = undefined;
    const down = await this.#options.ask(setConnect, DEACTIVATE);
    if (!down.ok) return isNotActivated(down.fault) ? done(undefined) : down;
    if (down.value.state !== 'deactivating') return done(undefined);
    const wait = this.#awaitConnect('deactivation');
    // It may have ended between the two messages.
    const now = await this.#options.ask(connectState, undefined);
    if (now.ok && now.value.state === 'deactivated') wait.cancel();
    else {
      const end = await wait.result;
      if (!end.ok) return end;
    }
    return done(undefined);
  }

  async #configuration(): Promise<Outcome<Bearer>> {
    const configuration = await this.#options.ask(ipConfiguration, undefined);
    if (!configuration.ok)
      // The connection went down between the two questions.
      return isNotActivated(configuration.fault) ? done(NO_BEARER) : configuration;
    return done(bearerOf(configuration.value));
  }

  async #attach(): Promise<Outcome<void>> {
    const { ask, hub } = this.#options;
    const now = await ask(packetService, undefined);
    if (!now.ok) return now;
    if (now.value.state === 'attached') return done(undefined);
    const settled = hub.await({
      what: 'attach',
      deadlineMs: ATTACH_DEADLINE_MS,
      pick: one =>
        one.kind === 'packet-service' && one.packetService.state !== 'attaching'
          ? one.packetService
          : undefined,
    });
    const reply = await this.#tellingCause(setPacketService, 'attach', readPacketService);
    const waits = reply.ok && reply.value.state === 'attaching';
    if (!waits) settled.cancel();
    const end: Outcome<PacketService> = waits ? await settled.result : reply;
    if (!end.ok) return end;
    return end.value.state === 'attached'
      ? done(undefined)
      : failed(notBrought('attach', end.value.networkError));
  }

  async #activate(request: ConnectRequest): Promise<Outcome<void>> {
    const settled = this.#awaitConnect('connect');
    const reply = await this.#tellingCause(setConnect, request, readConnectState);
    const waits = reply.ok && reply.value.state === 'activating';
    if (!waits) settled.cancel();
    const end: Outcome<ConnectState> = waits ? await settled.result : reply;
    if (!end.ok) return end;
    return end.value.state === 'activated'
      ? done(undefined)
      : failed(notBrought('connect', end.value.networkError));
  }

  #awaitConnect(what: string) {
    return this.#options.hub.await({
      what,
      deadlineMs: ACTIVATE_DEADLINE_MS,
      pick: one =>
        one.kind === 'connect' &&
        one.connect.session === SESSION &&
        (one.connect.state === 'activated' || one.connect.state === 'deactivated')
          ? one.connect
          : undefined,
    });
  }

  /** A refusal may carry the reply's layout with the network's cause in it, which says more than the status. */
  async #tellingCause<Q, R extends { networkError: number }>(
    command: Command<Q, R>,
    input: Q,
    read: (reader: InfoReader) => R,
  ): Promise<Outcome<R>> {
    const reply = await rawReply(this.#options.session, command, input);
    if (!reply.ok) return reply;
    if (reply.value.state === 'done') return done(reply.value.value);
    const { status, info } = reply.value;
    const cause = causeIn(info, command.name, read);
    return failed(cause === 0 ? statusFault(command.name, status) : causeFault(command.name, cause));
  }
}

/** 0 when the refusal carries none; most carry nothing at all. */
function causeIn(info: Buffer, what: string, read: (reader: InfoReader) => { networkError: number }): number {
  if (info.length === 0) return 0;
  try {
    return read(new InfoReader(info, what)).networkError;
  } catch (error) {
    // What stands behind a refusal is not promised to be the reply's layout; the status is enough.
    if (error instanceof CodedError) return 0;
    throw error;
  }
}

function notBrought(what: string, cause: number): DriverFault {
  return cause === 0
    ? { kind: 'failed', code: 'mbim/not-activated', message: `${what}: it did not come up, without a reason` }
    : causeFault(what, cause);
}

function isNotActivated(fault: DriverFault): boolean {
  return fault.code === `mbim/status-${STATUS.contextNotActivated}`;
}

function requestOf(apn: Apn | null): ConnectRequest {
  // Without an APN the carrier's own default is used.
  if (apn === null) return { ...DEACTIVATE, activate: true };
  return {
    activate: true,
    accessString: apn.name,
    username: apn.username,
    password: apn.password,
    authentication: apn.authentication,
    ipType: apn.ipType,
  };
}

function sameApn(a: Apn | null, b: Apn | null): boolean {
  if (a === null || b === null) return a === b;
  return (
    a.name === b.name &&
    a.username === b.username &&
    a.password === b.password &&
    a.authentication === b.authentication &&
    a.ipType === b.ipType
  );
}
