/** Every wait has a deadline: this is how a promise gets one. */
import { type Clock, systemClock } from './clock';
import { CodedError } from './coded-error';

/** Settles as `work` does, or rejects with `deadline/exceeded` after `ms`. The work itself is not cancelled. */
export function withDeadline<T>(
  work: Promise<T>,
  ms: number,
  what: string,
  clock: Clock = systemClock,
): Promise<T> {
  return new Promise<T>((resolve, reject) => {
    const timer = clock.after(ms, () =>
      reject(new CodedError('deadline/exceeded', `${what} took longer than ${ms} ms`, { retryable: true })),
    );
    work.then(
      value => {
        timer.cancel();
        resolve(value);
      },
      error => {
        timer.cancel();
        reject(error);
      },
    );
  });
}
