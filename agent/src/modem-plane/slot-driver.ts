/**
 * The driver of one slot, whatever its modem speaks: chosen by the slot's configuration, and with one verb more than
 * the contract, `status`, which tells in one go all that the supervisor judges by. What a HiLink stick does by itself
 * (dial, come back after a restart) dialled-driver.ts does for modems on a port.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import type { Profile } from '@mastline/shared/profile/schema';
import type { Log } from '../observe/log';
import type { CountOwn } from '../ports';
import { DialledDriver } from './dialled-driver';
import type { Bearer, ModemDriver, ModemStatus, Outcome } from './driver';
import { createAtDriver } from './drivers/at/driver';
import { hilinkDriver } from './drivers/hilink/driver';
import { connectMbim } from './drivers/mbim/connect';
import type { SlotApi } from './slot-config';
import { openSerialPort } from './transports/serial-port';

export interface SlotDriver extends ModemDriver {
  /** Everything that one poll tells. A modem that has to be dialled is dialled on the way. */
  status(): Promise<Outcome<ModemStatus>>;
}

export interface SlotDriverOptions {
  api: SlotApi;
  /** From which a web API is asked. */
  localAddress: string | null;
  clock: Clock;
  log: Log;
  /** Read when an AT modem's is needed. */
  profiles: () => readonly Profile[];
  /** The data connection has changed, by whatever; `bearer` is what it is now. */
  onBearer: (bearer: Bearer) => void;
  /** Told what a web API's requests move over the slot's interface. */
  count?: CountOwn | undefined;
}

/** Opens nothing yet: ports are opened by the first verb, and again after the modem was away. */
export function slotDriver(options: SlotDriverOptions): SlotDriver {
  const { api, clock, log, profiles, onBearer } = options;
  switch (api.kind) {
    case 'hilink': {
      const { url, username = 'admin', password } = api;
      return hilinkDriver({
        url,
        localAddress: options.localAddress,
        count: options.count,
        clock,
        login: password === undefined ? null : { username, password },
      });
    }
    case 'at':
      return new DialledDriver({
        kind: 'at',
        apn: api.apn ?? null,
        dials: api.identifying !== true,
        clock,
        log,
        onBearer,
        open: async () => {
          const profile = profileNamed(api.profile, profiles());
          return createAtDriver({ port: await openSerialPort(api.port, clock), profile, clock, log });
        },
      });
    case 'mbim':
      return new DialledDriver({
        kind: 'mbim',
        apn: api.apn ?? null,
        dials: true,
        clock,
        log,
        onBearer,
        open: () =>
          connectMbim({
            way: { kind: api.proxy === true ? 'proxy' : 'device', path: api.device },
            clock,
            log,
          }),
      });
  }
}

/** Throws `modem/no-profile`, naming those that there are. */
export function profileNamed(id: string, profiles: readonly Profile[]): Profile {
  const profile = profiles.find(one => one.id === id);
  if (profile?.at) return profile;
  const able = profiles.filter(one => one.at).map(one => one.id);
  throw new CodedError(
    'modem/no-profile',
    profile
      ? `profile ${id} does not say how to speak AT`
      : `there is no profile ${id}; with AT there are ${able.join(', ')}`,
  );
}
