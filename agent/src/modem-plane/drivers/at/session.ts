/**
 * One modem on one channel: brings it into a known state (no echo, numeric errors, the messages we want to hear), asks
 * rows of commands.ts and turns what comes of them into outcomes. Knows when the modem has restarted behind its port
 * and sets it up again. What to ask when is for the files beside.
 */
import type { Duplex } from 'node:stream';
import { type Clock, sleep } from '@mastline/shared/base/clock';
import { withDeadline } from '@mastline/shared/base/deadline';
import type { Profile } from '@mastline/shared/profile/schema';
import type { Log } from '../../../observe/log';
import type { DriverFault, Outcome } from '../../driver';
import { AtChannel } from './channel';
import type { Row } from './commands';
import * as commands from './commands';
import { faultOf } from './errors';
import type { Urc } from './urcs';

/** A modem that has just appeared on the bus may need this long before it answers. */
const BOOT_DEADLINE_MS = 30_000;
const BOOT_PAUSE_MS = 500;
const CLOSE_DEADLINE_MS = 5000;

export type AtProfile = Profile & { at: NonNullable<Profile['at']> };

type UrcListener = (urc: Urc, body: string | null) => void;

export interface AtTalk {
  readonly clock: Clock;
  readonly log: Log;
  readonly profile: AtProfile;
  /** Sends one row when its turn comes. The modem is set up first when it is not. */
  ask<T>(row: Row<T>, signal?: AbortSignal): Promise<Outcome<T>>;
  /** Calls `listener` for each unasked line until the returned function is called. */
  listen(listener: UrcListener): () => void;
}

export class AtSession implements AtTalk {
  readonly clock: Clock;
  readonly log: Log;
  readonly profile: AtProfile;
  readonly #channel: AtChannel;
  readonly #listeners = new Set<UrcListener>();
  #settingUp: Promise<Outcome<true>> | null = null;

  constructor(options: {
    port: Duplex;
    clock: Clock;
    log: Log;
    profile: AtProfile;
    onGone: (reason: string) => void;
  }) {
    this.clock = options.clock;
    this.log = options.log;
    this.profile = options.profile;
    this.#channel = new AtChannel({
      port: options.port,
      clock: options.clock,
      onUrc: (urc, body) => this.#hear(urc, body),
      onGone: options.onGone,
      onStray: line => this.log.debug('a line that belongs to nothing', { length: line.length }),
    });
  }

  async ask<T>(row: Row<T>, signal?: AbortSignal): Promise<Outcome<T>> {
    const ready = await this.#ready();
    return ready.ok ? this.#send(row, signal) : ready;
  }

  listen(listener: UrcListener): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  close(): Promise<void> {
    this.#listeners.clear();
    return withDeadline(this.#channel.close(), CLOSE_DEADLINE_MS, 'closing the AT port', this.clock);
  }

  #hear(urc: Urc, body: string | null): void {
    if (urc.name === 'RDY') {
      this.log.info('the modem has restarted behind its port');
      this.#settingUp = null;
    }
    for (const listener of [...this.#listeners]) listener(urc, body);
  }

  /** Sets the modem up once; after a failure the next caller tries again. */
  #ready(): Promise<Outcome<true>> {
    if (this.#settingUp) return this.#settingUp;
    const settingUp = this.#setUp();
    this.#settingUp = settingUp;
    void settingUp.then(outcome => {
      if (!outcome.ok && this.#settingUp === settingUp) this.#settingUp = null;
    });
    return settingUp;
  }

  async #setUp(): Promise<Outcome<true>> {
    const { at } = this.profile;
    const begun = this.clock.monotonicMs();
    for (
      let heard = await this.#send(commands.attention);
      !heard.ok;
      heard = await this.#send(commands.attention)
    ) {
      const portIsGone = heard.fault.code === 'port-gone';
      if (portIsGone || this.clock.monotonicMs() - begun >= BOOT_DEADLINE_MS) return heard;
      await sleep(this.clock, BOOT_PAUSE_MS);
    }
    const framed = await this.#send(commands.plainFraming);
    if (!framed.ok) return framed;
    const { settings } = commands;
    const wanted = ['AT+CMEE=1', ...settings[at.dialect], ...settings.all, ...(at.nr ? settings.nr : [])];
    for (const text of wanted) {
      const done = await this.#send(commands.setting(text));
      if (done.ok) continue;
      if (done.fault.kind === 'unreachable') return done;
      this.log.debug('the modem does not take a setting', { command: text, fault: done.fault.code });
    }
    return { ok: true, value: true };
  }

  async #send<T>(row: Row<T>, signal?: AbortSignal): Promise<Outcome<T>> {
    const first = await this.#sendOnce(row, signal);
    const worthAnother = !first.ok && (first.fault.code === 'no-answer' || first.fault.code === 'unreadable');
    return worthAnother && row.repeatable ? this.#sendOnce(row, signal) : first;
  }

  async #sendOnce<T>(row: Row<T>, signal?: AbortSignal): Promise<Outcome<T>> {
    const { name } = row;
    const answer = await this.#channel.run(row, signal);
    switch (answer.kind) {
      case 'ok': {
        const value = row.read(answer.lines);
        return value === null
          ? fault('failed', 'unreadable', `${name}: the modem's answer makes no sense`)
          : { ok: true, value };
      }
      case 'error':
        return row.optional && answer.error.family === 'plain'
          ? fault('unsupported', 'error', `${name}: this firmware does not know it`)
          : { ok: false, fault: faultOf(answer.error, name) };
      case 'silent':
        return fault('unreachable', 'no-answer', `${name}: no answer within ${row.deadlineMs / 1000} s`);
      case 'gone':
        return fault('unreachable', 'port-gone', `${name}: ${answer.reason}`);
      case 'cancelled':
        return fault('failed', 'cancelled', `${name}: given up before it was answered`);
      case 'crowded':
        return fault('busy', 'queue-full', `${name}: too many commands are waiting for this modem`);
    }
  }
}

export function fault(
  kind: DriverFault['kind'],
  code: string,
  message: string,
): { ok: false; fault: DriverFault } {
  return { ok: false, fault: { kind, code, message } };
}
