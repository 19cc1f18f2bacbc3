/**
 * One holder at a time among all processes that share this network namespace, for the moment in which somebody picks
 * a free address or table and takes it. The lock is a bound loopback UDP port: its reach is exactly that of the
 * things it protects, and the kernel frees it when its holder dies. Not for long work.
 */
import { createSocket, type Socket } from 'node:dgram';
import { type Clock, sleep } from '@mastline/shared/base/clock';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';

/** Nothing ever answers there; it only has to be the same for everyone. */
const LOCK_ADDRESS = '127.77.97.115';
const LOCK_PORT = 17_741;
const RETRY_MS = 40;
/** Longest wait for the other holder; setting a slot up takes well under a second. */
export const LOCK_DEADLINE_MS = 20_000;

/** Runs `work` while holding the lock. Rejects with `modem/network-busy` when it is not free within the deadline. */
export async function withMachineLock<T>(clock: Clock, work: () => Promise<T>): Promise<T> {
  const begun = clock.monotonicMs();
  let held = await tryLock();
  while (held === undefined) {
    if (clock.monotonicMs() - begun > LOCK_DEADLINE_MS)
      throw new CodedError(
        'modem/network-busy',
        `another process has held ${LOCK_ADDRESS}:${LOCK_PORT}/udp for ${LOCK_DEADLINE_MS} ms`,
        {
          userMessage: `Another Mastline process has been changing this machine's routes for over ${LOCK_DEADLINE_MS / 1000} s. Find it with "ss -ulpn 'sport = ${LOCK_PORT}'" and end it.`,
          retryable: true,
        },
      );
    await sleep(clock, RETRY_MS);
    held = await tryLock();
  }
  const socket = held;
  try {
    return await work();
  } finally {
    await new Promise<void>(resolve => socket.close(() => resolve()));
  }
}

function tryLock(): Promise<Socket | undefined> {
  return new Promise((resolve, reject) => {
    const socket = createSocket('udp4');
    socket.once('error', error => {
      socket.close();
      if (codeOf(error) === 'EADDRINUSE') resolve(undefined);
      else reject(error);
    });
    socket.bind({ address: LOCK_ADDRESS, port: LOCK_PORT, exclusive: true }, () => resolve(socket));
  });
}
