/**
 * What a modem says that it can do, asked when the session opens, or by the first verb that depends on it when the modem
 * was busy then; with the answer its events are subscribed to.
 */
import type { Log } from '../../../observe/log';
import type { Outcome } from '../../driver';
import { type Ask, done, unsupported } from './ask';
import { deviceServices, type ServiceSupport, subscribeList } from './basic-connect';
import { wantedIndications } from './indications';
import { CIDS, SERVICES } from './services';

/** A command that a verb depends on. */
export interface Needed {
  name: string;
  service: string;
  cid: number;
}
export const CELL_REPORT: Needed = {
  name: 'cell report',
  service: SERVICES.msBasicConnectExtensions,
  cid: CIDS.baseStations,
};
export const RESET: Needed = {
  name: 'reset by MBIM',
  service: SERVICES.msBasicConnectExtensions,
  cid: CIDS.deviceReset,
};
export const SMS_READ: Needed = { name: 'SMS', service: SERVICES.sms, cid: CIDS.smsRead };
export const SMS_DELETE: Needed = { name: 'deletion of SMS', service: SERVICES.sms, cid: CIDS.smsDelete };
export const USSD: Needed = { name: 'USSD', service: SERVICES.ussd, cid: CIDS.ussd };

export class DeviceServices {
  readonly #ask: Ask;
  readonly #log: Log;
  /** Undefined until the modem has said. */
  #supported: ServiceSupport[] | undefined;

  constructor(ask: Ask, log: Log) {
    this.#ask = ask;
    this.#log = log;
  }

  /** Does `verb` where the modem says that it knows the command. */
  async where<T>(needed: Needed, verb: () => Promise<Outcome<T>>): Promise<Outcome<T>> {
    const supported = this.#supported === undefined ? await this.learn() : done(this.#supported);
    if (!supported.ok) return supported;
    const known = supported.value.some(
      one => one.service === needed.service && one.cids.includes(needed.cid),
    );
    return known ? verb() : unsupported(needed.name);
  }

  async learn(): Promise<Outcome<ServiceSupport[]>> {
    const services = await this.#ask(deviceServices, undefined);
    if (!services.ok) return services;
    this.#supported = services.value;
    await this.subscribeAgain();
    return services;
  }

  /** A modem forgets its subscriptions with the session. */
  async subscribeAgain(): Promise<void> {
    const wanted = wantedIndications(this.#supported ?? []);
    if (wanted.length === 0) return;
    const subscribed = await this.#ask(subscribeList, wanted);
    // It then sends those that it sends by default, which are most of them.
    if (!subscribed.ok) this.#log.warn('the modem takes no subscription of events', { ...subscribed.fault });
  }
}
