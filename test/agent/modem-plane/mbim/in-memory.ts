/**
 * A driver or session and a simulated modem joined in memory, with a clock that moves when told: what deadlines and
 * misbehaviour are tested on. The ways over real devices and sockets are `transports.test.ts`.
 */
import type { ModemDriver } from '@mastline/agent/modem-plane/driver';
import { openMbimDriver } from '@mastline/agent/modem-plane/drivers/mbim/driver';
import { MbimSession, type RawIndication } from '@mastline/agent/modem-plane/drivers/mbim/session';
import type {
  MbimTransport,
  TransportListener,
} from '@mastline/agent/modem-plane/drivers/mbim/transports/transport';
import type { Log, LogFields } from '@mastline/agent/observe/log';
import { CodedError } from '@mastline/shared/base/coded-error';
import { MbimConnection } from '../../../simulators/mbim/connection';
import type { MbimKnobs } from '../../../simulators/mbim/knobs';
import { MbimModem, type MbimModemOptions } from '../../../simulators/mbim/modem';
import { type FakeClock, fakeClock } from '../../../support/clock';

export interface Bench {
  clock: FakeClock;
  modem: MbimModem;
  transport: LoopTransport;
  /** Everything that was logged, as text. */
  logged: string[];
  log: Log;
}

export function bench(
  options: { knobs?: Partial<MbimKnobs> } & Partial<Omit<MbimModemOptions, 'knobs'>> = {},
): Bench {
  const clock = fakeClock();
  const modem = new MbimModem({ clock, seed: 7, ...options });
  const logged: string[] = [];
  return { clock, modem, transport: new LoopTransport(modem), logged, log: recordingLog(logged) };
}

/** Settles `work` while time is moved on in steps, up to `limitMs`. */
export async function passing<T>(clock: FakeClock, work: Promise<T>, limitMs = 400_000): Promise<T> {
  let settled = false;
  const noted = work.finally(() => {
    settled = true;
  });
  // Rejections are the caller's, once it awaits.
  noted.catch(() => undefined);
  for (let passed = 0; passed < limitMs && !settled; passed += 50) await clock.advance(50);
  if (!settled) throw new Error(`not settled after ${limitMs} ms of its time`);
  return noted;
}

export async function driverOn(on: Bench, options: { reattachDwellMs?: number } = {}): Promise<ModemDriver> {
  return passing(
    on.clock,
    openMbimDriver({ transport: on.transport, clock: on.clock, log: on.log, ...options }),
  );
}

export function sessionOn(on: Bench): {
  session: MbimSession;
  indications: RawIndication[];
  gone: string[];
} {
  const indications: RawIndication[] = [];
  const gone: string[] = [];
  const session = new MbimSession({
    transport: on.transport,
    clock: on.clock,
    log: on.log,
    onIndication: one => indications.push(one),
    onGone: reason => gone.push(reason),
  });
  return { session, indications, gone };
}

/** Carries bytes to a simulated modem and back, each on a turn of its own. */
export class LoopTransport implements MbimTransport {
  readonly name = 'loop';
  /** Frames that the host sent. */
  readonly sent: Buffer[] = [];
  closed = false;
  /** Takes no more bytes, as a device that is stuck. */
  stuck = false;
  readonly #connection: MbimConnection;
  #listener: TransportListener | undefined;

  constructor(modem: MbimModem) {
    this.#connection = new MbimConnection({
      modem,
      proxy: false,
      write: bytes => this.inject(Buffer.from(bytes)),
    });
    modem.onVanish(() => this.lose('left the bus'));
  }

  listen(listener: TransportListener): void {
    this.#listener = listener;
  }

  async send(frame: Buffer): Promise<void> {
    if (this.closed) throw new CodedError('mbim/gone', 'loop: closed');
    if (this.stuck) throw new CodedError('mbim/write-stuck', 'loop: took no bytes');
    this.sent.push(frame);
    queueMicrotask(() => this.#connection.receive(frame));
  }

  expect(): void {}

  async close(): Promise<void> {
    this.closed = true;
    this.#connection.close();
  }

  /** Bytes as if the modem had sent them. */
  inject(bytes: Buffer): void {
    queueMicrotask(() => {
      if (!this.closed) this.#listener?.bytes(bytes);
    });
  }

  lose(reason: string): void {
    if (this.closed) return;
    this.closed = true;
    this.#connection.close();
    this.#listener?.gone(reason);
  }
}

function recordingLog(lines: string[]): Log {
  const say = (level: string) => (message: string, fields?: LogFields) =>
    void lines.push(`${level} ${message} ${JSON.stringify(fields ?? {})}`);
  const log: Log = {
    debug: say('debug'),
    info: say('info'),
    warn: say('warn'),
    error: say('error'),
    child: () => log,
  };
  return log;
}
