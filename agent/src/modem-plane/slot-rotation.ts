/**
 * Rotations of one slot: whether it may be now (rotation-desk.ts and the machine), with which methods in which order,
 * and what came of it. The rotation itself is rotation.ts; those of all slots meet in rotation-office.ts.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../observe/log';
import type { CountOwn } from '../ports';
import type { ModemDriver, ModemIdentity, Registration } from './driver';
import type { MachineEvent } from './machine';
import { ROTATION_TIMES, type RotationEnd, type RotationTimes, rotate } from './rotation';
import { ROTATION_LIMITS, RotationDesk, type RotationLimits, type RotationReport } from './rotation-desk';
import { seenAddresses } from './rotation-proof';
import type { RotationStatistics, RotationStep } from './rotation-statistics';

export interface RotationChoices {
  /** What the modem's profile says may be tried; throws CodedError when there are no profiles. */
  ladder: (identity: ModemIdentity) => readonly RotationStep[];
  /** Of all modems of the node. */
  statistics: RotationStatistics;
  /** Flows that run through the slot now; rejects when nobody can tell. */
  openFlows: () => Promise<number>;
  times?: Partial<RotationTimes>;
  limits?: Partial<RotationLimits>;
  /** Ends of earlier rotations of the slot, epoch milliseconds, in order. */
  past?: readonly number[];
  /** Echo services beside the slot's that are asked only for rotations. */
  moreEchoUrls?: readonly string[];
}

/** The modem as a rotation needs it; all of now. */
export interface RotatedSlot {
  slot: number;
  echoUrls: readonly string[];
  /** Told what questions for the exit address move. */
  count: CountOwn;
  identity: () => ModemIdentity;
  registration: () => Registration | null;
  driver: () => ModemDriver | null;
  /** Why only a person can make it connect now; null when it may connect. */
  hopeless: () => string | null;
  way: () => { localAddress: string | null; dnsServers: readonly string[] };
  /** Asks the machine: null when it may begin, else why not. */
  mayBegin: () => string | null;
  /** The machine is told that it begins, how far it is, and that it is over. */
  tell: (event: MachineEvent) => void;
  /** A driver that hangs is left behind, and another one made. */
  letGo: () => void;
  /** The modem is looked at once more: the last look may be of the time before it was connected again. */
  look: () => Promise<void>;
  /** An echo service saw it leave by this address. */
  proven: (address: string | null) => void;
}

export interface SlotRotationOptions {
  choices: RotationChoices;
  modem: RotatedSlot;
  clock: Clock;
  log: Log;
  /** Aborted when the agent stops. */
  signal: AbortSignal;
}

export class SlotRotation {
  readonly #options: SlotRotationOptions;
  readonly #desk: RotationDesk;

  constructor(options: SlotRotationOptions) {
    this.#options = options;
    const { limits, past } = options.choices;
    this.#desk = new RotationDesk(options.clock, { ...ROTATION_LIMITS, ...limits }, past);
  }

  /** Gives the modem another address, if it may be done now. Never rejects; has deadlines of its own. */
  async rotate(askedFor: string, deadlineMs?: number): Promise<RotationReport> {
    const { log, choices, modem } = this.#options;
    const about = { slot: modem.slot, askedFor, carrier: modem.registration()?.carrier ?? null };
    const refused = (reason: string, retryAfterMs: number | null = null): RotationReport => {
      log.info('rotation refused', { askedFor, reason });
      return { ...about, kind: 'unavailable', reason, retryAfterMs };
    };
    const unfit = modem.mayBegin();
    if (unfit !== null) return refused(unfit);
    const obstacle = this.#desk.obstacle();
    if (obstacle) return refused(obstacle.reason, obstacle.retryAfterMs);
    let ladder: readonly RotationStep[];
    try {
      ladder = choices.ladder(modem.identity());
    } catch (error) {
      return refused(error instanceof CodedError ? error.userMessage : messageOf(error));
    }
    modem.tell({ kind: 'rotation-asked' });
    const report: RotationReport = { ...about, ...(await this.#perform(ladder, deadlineMs)) };
    this.#desk.end();
    log.info('rotation', { ...report });
    modem.tell({ kind: 'rotation-ended' });
    return report;
  }

  async #perform(
    ladder: readonly RotationStep[],
    deadlineMs = Number.POSITIVE_INFINITY,
  ): Promise<RotationEnd> {
    const { clock, log, choices, modem, signal } = this.#options;
    const { statistics, openFlows } = choices;
    const begun = clock.monotonicMs();
    const times = { ...ROTATION_TIMES, ...choices.times };
    try {
      const registration = modem.registration();
      const carrier = registration?.plmn ?? registration?.carrier;
      const key = { modem: modem.identity().imei ?? 'unknown', carrier: carrier ?? 'unknown' };
      const end = await rotate({
        steps: statistics.order(ladder, key.modem, key.carrier),
        driver: modem.driver,
        hopeless: modem.hopeless,
        clock,
        askExit: over => this.#exitNow(over),
        openFlows,
        onPhase: (phase, detail) => modem.tell({ kind: 'rotation-phase', phase, detail }),
        onStuck: modem.letGo,
        signal,
        times: { ...times, deadlineMs: Math.min(times.deadlineMs, deadlineMs) },
      });
      for (const { method, outcome, tookMs } of end.attempts)
        statistics.add({ ...key, method, outcome, tookMs });
      await modem.look();
      if (end.kind === 'rotated') modem.proven(end.newAddress);
      return end;
    } catch (error) {
      log.error('a rotation broke', { error });
      const tookMs = clock.monotonicMs() - begun;
      const nothing = { method: null, oldAddress: null, newAddress: null, attempts: [], drain: null };
      return { kind: 'failed', reason: messageOf(error), tookMs, connected: false, ...nothing };
    }
  }

  #exitNow(signal: AbortSignal): Promise<string[]> {
    const { clock, choices, modem } = this.#options;
    const echoUrls = [...modem.echoUrls, ...(choices.moreEchoUrls ?? [])];
    const { localAddress, dnsServers } = modem.way();
    if (localAddress === null)
      return Promise.reject(new CodedError('modem/exit-unknown', 'the slot has no network'));
    return seenAddresses({ echoUrls, localAddress, dnsServers, clock, signal, count: modem.count });
  }
}
