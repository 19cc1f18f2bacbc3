/**
 * A HiLink driver before a virtual stick, with real sockets and a clock that moves by itself: only while no request is
 * under way, unless the stick keeps silent on purpose. So waits cost nothing and deadlines are never a race.
 */
import { createServer } from 'node:net';
import type { Outcome } from '@mastline/agent/modem-plane/driver';
import {
  type HilinkDriver,
  type HilinkDriverOptions,
  hilinkDriver,
} from '@mastline/agent/modem-plane/drivers/hilink/driver';
import { API_DEADLINE_MS } from '@mastline/agent/modem-plane/drivers/hilink/session';
import type { Clock } from '@mastline/shared/base/clock';
import * as assert from 'uvu/assert';
import { VirtualCarrier } from '../../../simulators/carrier';
import type { HilinkKnobs } from '../../../simulators/hilink-knobs';
import { type HilinkModem, startHilinkModem } from '../../../simulators/hilink-modem';
import { identityOf } from '../../../simulators/hilink-replies';
import { fakeClock } from '../../../support/clock';

const STEP_MS = 100;

export interface Rig {
  carrier: VirtualCarrier;
  modem: HilinkModem;
  driver: HilinkDriver;
  clock: Clock;
  /** The same time for what is no request to the stick: waits on it are never taken for one. */
  time: Clock;
  url: string;
  /** A second driver of the same stick, wherever it is now. */
  another(options?: Partial<HilinkDriverOptions>): HilinkDriver;
  /** Lets time pass until it settles. */
  until<T>(work: Promise<T>): Promise<T>;
  /** The same, and it went well. */
  well<T>(work: Promise<Outcome<T>>): Promise<T>;
  /** The same, and it failed: the fault. */
  fault(work: Promise<Outcome<unknown>>): Promise<{ kind: string; code: string; message: string }>;
  advance(ms: number): Promise<void>;
  close(): Promise<void>;
}

export async function rig(
  knobs: Partial<HilinkKnobs> = {},
  options: Partial<HilinkDriverOptions> = {},
): Promise<Rig> {
  const base = fakeClock();
  let asking = 0;
  const clock: Clock = {
    ...base,
    after: (ms, run) => {
      if (ms !== API_DEADLINE_MS) return base.after(ms, run);
      asking += 1;
      let done = false;
      const end = () => {
        if (!done) asking -= 1;
        done = true;
      };
      const timer = base.after(ms, () => {
        end();
        run();
      });
      return {
        cancel: () => {
          end();
          timer.cancel();
        },
      };
    },
  };
  const carrier = new VirtualCarrier({
    pool: ['198.18.9.10', '198.18.9.11', '198.18.9.12'],
    clock: base,
    apply: async () => undefined,
    onFailure: error => {
      throw error;
    },
    registrationDelayMs: 3000,
    connectDelayMs: 2000,
  });
  let host = '127.0.0.1';
  let port = 0;
  const modem = await startHilinkModem({
    identity: identityOf(9, 1),
    carrier,
    wanAddress: session => `10.9.1.${session}`,
    dnsServers: ['198.18.9.2'],
    bytes: async () => ({ up: 11, down: 22 }),
    knobs,
    clock: base,
    relocate: address => {
      host = `127.0.${address.split('.')[2]}.1`;
    },
    listen: () =>
      new Promise((resolve, reject) => {
        const server = createServer().once('error', reject);
        server.listen({ host, port }, () => {
          const bound = server.address();
          if (bound !== null && typeof bound === 'object') port = bound.port;
          resolve(server);
        });
      }),
  });
  const another = (more: Partial<HilinkDriverOptions> = {}) =>
    hilinkDriver({ url: `http://${host}:${port}`, localAddress: null, clock, ...options, ...more });
  const drivers: HilinkDriver[] = [];
  const made = (driver: HilinkDriver) => {
    drivers.push(driver);
    return driver;
  };
  const until = async <T>(work: Promise<T>): Promise<T> => {
    let settled = false;
    const end = () => {
      settled = true;
    };
    work.then(end, end);
    while (!settled)
      if (asking > 0 && modem.mode() !== 'hang') await new Promise(resolve => setTimeout(resolve, 1));
      else await base.advance(STEP_MS);
    return work;
  };
  await carrier.powerOn();
  await base.advance(5000);
  return {
    carrier,
    modem,
    clock,
    time: base,
    driver: made(another()),
    url: `http://${host}:${port}`,
    another: more => made(another(more)),
    until,
    well: async work => {
      const outcome = await until(work);
      assert.ok(outcome.ok, outcome.ok ? '' : outcome.fault.message);
      return (outcome as { ok: true; value: never }).value;
    },
    fault: async work => {
      const outcome = await until(work);
      if (outcome.ok) throw new Error('it went well, against expectation');
      return outcome.fault;
    },
    advance: ms => base.advance(ms),
    close: async () => {
      for (const driver of drivers) await driver.close();
      await modem.close();
      await carrier.close();
    },
  };
}
