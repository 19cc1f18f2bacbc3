/**
 * What the agent does for one slot's SIM: enters its PIN, and counts what it has used against its cap. Which PIN was
 * tried before is pin-keeper.ts, what was used is kept by health/data-use.ts, both for all slots.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { Log } from '../observe/log';
import type { SlotTraffic } from '../ports';
import type { ModemStatus } from './driver';
import { DataGauge, type DataUse, simKey } from './health/data-use';
import type { ModemWatch } from './modem-watch';
import type { PinKeeper } from './pin-keeper';
import { type SimSettings, settingsOf } from './sim-settings';

/** Between two looks at the modem's byte counters, where the SIM has a cap. */
const GAUGE_EVERY_MS = 60_000;

export interface SlotSimOptions {
  settings: readonly SimSettings[];
  pins: PinKeeper;
  dataUse: DataUse;
  clock: Clock;
  log: Log;
  place: () => { slot: number; iccid: string | null };
  /** Of now; null while the modem is not looked after. */
  watch: () => ModemWatch | null;
  /** What is known of the SIM has changed. */
  onChange: () => void;
}

export class SlotSim {
  readonly #options: SlotSimOptions;
  #pinTried = false;
  #pinRefused = false;
  #gauge = new DataGauge();
  #traffic: SlotTraffic | null = null;
  readonly #timer: Timer | undefined;

  constructor(options: SlotSimOptions) {
    this.#options = options;
    if (options.settings.some(one => one.dataCap !== undefined))
      this.#timer = options.clock.every(GAUGE_EVERY_MS, () => void this.#readGauge());
  }

  /** The configured PIN is not this SIM's. */
  pinRefused(): boolean {
    return this.#pinRefused;
  }

  /** Why the SIM may carry no more until its next billing day; null while it may. */
  dataCap(): string | null {
    const { settings, dataUse, place } = this.#options;
    const cap = settingsOf(settings, place())?.dataCap;
    return cap === undefined ? null : dataUse.refusal(simKey(place()), cap);
  }

  noteTraffic(traffic: SlotTraffic): void {
    this.#traffic = traffic;
  }

  /** The modem is met anew: its counters begin anew, too. */
  metAnew(): void {
    this.#pinTried = false;
    this.#gauge = new DataGauge();
  }

  /** Enters the configured PIN, once for each time that the modem is met anew. Never rejects. */
  async keepPin(watch: ModemWatch, { sim, data }: ModemStatus): Promise<void> {
    const { log, settings, pins, place: placeOf, onChange } = this.#options;
    const place = placeOf();
    try {
      if (sim.state !== 'pin-needed') {
        if (sim.state !== 'ready' || data.state !== 'up') return;
        this.#pinTried = false;
        this.#pinRefused = false;
        return await pins.forget(place);
      }
      const pin = settingsOf(settings, place)?.pin;
      if (pin === undefined || this.#pinTried) return;
      this.#pinTried = true;
      const outcome = await pins.enter(watch.driver, pin, { ...place, triesLeft: sim.triesLeft });
      this.#pinRefused = outcome.kind === 'refused';
      if (outcome.kind === 'accepted') {
        log.info('the SIM took its PIN');
        watch.beEager();
      } else log.warn('the SIM stays locked', { why: outcome.message });
    } catch (error) {
      log.error('the PIN could not be entered', { error });
    }
    onChange();
  }

  close(): void {
    this.#timer?.cancel();
  }

  async #readGauge(): Promise<void> {
    const { settings, dataUse, log, place: placeOf, watch: watchNow, onChange } = this.#options;
    const place = placeOf();
    const cap = settingsOf(settings, place)?.dataCap;
    const watch = watchNow();
    if (cap === undefined || watch === null) return;
    try {
      const counters = await watch.driver.counters();
      if (watchNow() !== watch) return;
      const carried = this.#traffic === null ? null : this.#traffic.upBytes + this.#traffic.downBytes;
      const moved = this.#gauge.moved(counters.ok ? counters.value : null, carried);
      dataUse.add(simKey(place), moved, cap.billingDay);
      onChange();
    } catch (error) {
      log.error('the data counters could not be read', { error });
    }
  }
}
