/**
 * Where indications go: to those who wait for one (a connection that is coming up, a USSD text), each with a deadline,
 * and then to the driver's listener. Owns the waits; `end` frees them all.
 */
import type { Clock, Timer } from '@mastline/shared/base/clock';
import type { DriverFault, Outcome } from '../../driver';
import { done, failed } from './ask';
import type { Indication } from './indications';

interface Wait {
  take: (indication: Indication) => void;
  fail: (fault: DriverFault) => void;
}

export class IndicationHub {
  readonly #clock: Clock;
  readonly #onWaiting: (waiting: boolean) => void;
  readonly #waits = new Set<Wait>();
  #ended: DriverFault | undefined;

  /** `onWaiting` is told when the first wait begins and when the last one ends. */
  constructor(clock: Clock, onWaiting: (waiting: boolean) => void) {
    this.#clock = clock;
    this.#onWaiting = onWaiting;
  }

  /**
   * Begins to wait at once, so that an indication which overtakes the reply is not missed. `pick` gives the awaited
   * value, or undefined for an indication that is not the one. `cancel` when the wait is not needed after all.
   */
  await<T>(options: { what: string; deadlineMs: number; pick: (indication: Indication) => T | undefined }): {
    result: Promise<Outcome<T>>;
    cancel: () => void;
  } {
    let timer: Timer | undefined;
    let cancel = () => {};
    const result = new Promise<Outcome<T>>(resolve => {
      const finish = (outcome: Outcome<T>) => {
        timer?.cancel();
        if (this.#waits.delete(wait) && this.#waits.size === 0) this.#onWaiting(false);
        resolve(outcome);
      };
      const wait: Wait = {
        take: indication => {
          const value = options.pick(indication);
          if (value !== undefined) finish(done(value));
        },
        fail: fault => finish(failed(fault)),
      };
      if (this.#ended !== undefined) return resolve(failed(this.#ended));
      if (this.#waits.size === 0) this.#onWaiting(true);
      this.#waits.add(wait);
      timer = this.#clock.after(options.deadlineMs, () =>
        finish(
          failed({
            kind: 'unreachable',
            code: 'mbim/timeout',
            message: `${options.what}: nothing came in ${options.deadlineMs} ms`,
          }),
        ),
      );
      cancel = () =>
        finish(
          failed({ kind: 'failed', code: 'mbim/not-awaited', message: `${options.what}: not waited for` }),
        );
    });
    return { result, cancel };
  }

  take(indication: Indication): void {
    for (const wait of [...this.#waits]) wait.take(indication);
  }

  /** The modem is gone or was let go. */
  end(fault: DriverFault): void {
    this.#ended = fault;
    for (const wait of [...this.#waits]) wait.fail(fault);
  }
}
