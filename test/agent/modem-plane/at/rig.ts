/** A driver and a simulated modem on one wire in this process, and time that moves when told. */
import { duplexPair } from 'node:stream';
import type { ModemDriver, Outcome } from '@mastline/agent/modem-plane/driver';
import { createAtDriver } from '@mastline/agent/modem-plane/drivers/at/driver';
import { quietLog } from '@mastline/agent/observe/log';
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import type { Profile } from '@mastline/shared/profile/schema';
import { AtModem, type AtModemOptions } from '../../../simulators/at/at-modem';
import { type FakeClock, fakeClock } from '../../../support/clock';

export const profiles = new Map(loadCatalogue().map(profile => [profile.id, profile]));

export interface Rig {
  clock: FakeClock;
  modem: AtModem;
  driver: ModemDriver;
  /** Moves time until the promise settles; fails when it does not within `withinMs`. */
  run<T>(work: Promise<T>, withinMs?: number): Promise<T>;
  /** The value of a good outcome. */
  good<T>(work: Promise<Outcome<T>>, withinMs?: number): Promise<T>;
  /** `kind code` of a bad one. */
  bad(work: Promise<Outcome<unknown>>, withinMs?: number): Promise<string>;
  close(): Promise<void>;
}

export function profileOf(id: string): Profile {
  const profile = profiles.get(id);
  if (!profile) throw new Error(`no profile ${id}`);
  return profile;
}

export function rig(model: string, options: Partial<AtModemOptions> & { profile?: Profile } = {}): Rig {
  const clock = fakeClock();
  const modem = new AtModem({ model, clock, ...options });
  const [host, device] = duplexPair();
  modem.attach(device);
  const driver = createAtDriver({
    port: host,
    profile: options.profile ?? profileOf(model),
    clock,
    log: quietLog,
  });
  const run: Rig['run'] = (work, withinMs = 400_000) => runUntil(clock, work, withinMs);
  return {
    clock,
    modem,
    driver,
    run,
    good: async (work, withinMs) => {
      const outcome = await run(work, withinMs);
      if (!outcome.ok)
        throw new Error(`${outcome.fault.kind} ${outcome.fault.code}: ${outcome.fault.message}`);
      return outcome.value;
    },
    bad: async (work, withinMs) => {
      const outcome = await run(work, withinMs);
      if (outcome.ok) throw new Error(`went well: ${JSON.stringify(outcome.value)}`);
      return `${outcome.fault.kind} ${outcome.fault.code}`;
    },
    close: async () => {
      modem.vanish();
      await driver.close();
    },
  };
}

export async function runUntil<T>(clock: FakeClock, work: Promise<T>, withinMs: number): Promise<T> {
  let settled = false;
  const done = work.finally(() => {
    settled = true;
  });
  // Its failure is looked at below.
  done.catch(() => undefined);
  const begun = clock.monotonicMs();
  while (!settled) {
    if (clock.monotonicMs() - begun > withinMs)
      throw new Error(`not settled after ${withinMs} ms of simulated time`);
    await clock.advance(50);
  }
  return done;
}
