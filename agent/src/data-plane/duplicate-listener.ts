/**
 * A second handle on a listening socket of this process, for another thread. It is a duplicate of the descriptor, not
 * the number: two threads that both `listen({ fd: 7 })` both close 7 in the end, and the second close hits whatever got
 * that number meanwhile. Node can neither dup(2) nor set SO_REUSEPORT (from 23.1 on it can), and a thread cannot be
 * sent a handle. What it can do is let a child process inherit a descriptor and get it back over the child's IPC
 * channel, where the kernel makes a new one on each step (SCM_RIGHTS). The child lives for a fraction of a second and
 * accepts nothing. Used once for each new port and further thread; the first thread listens as usual.
 */
import { spawn } from 'node:child_process';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';

/** Start of a Node process on a slow Pi, with room to spare. */
const DEADLINE_MS = 15_000;
/** Descriptors for one child; more ports take more children. */
const MAX_AT_ONCE = 64;

/**
 * What the child runs. A descriptor wrapped by a Socket that neither reads nor writes is only a handle; sent without
 * the Socket it arrives as one. Descriptors begin at 4: 0 to 2 are the standard ones, 3 is the channel.
 */
const CHILD = `
const { Socket } = require('node:net');
// Listening keeps the process until the parent has all and disconnects, or is gone: a child that hung up by itself
// could lose what it has just sent.
process.on('message', () => {});
for (let at = 0; at < Number(process.argv[1]); at += 1) {
  const socket = new Socket({ fd: 4 + at, readable: false, writable: false, manualStart: true });
  process.send(at, socket._handle);
}`;

/** A handle that `server.listen(handle)` takes. Whoever has it closes it. */
export type ListenHandle = object;

/**
 * Duplicates of the listening sockets `fds` of this process, in their order. They stay open in the caller's thread
 * until closed. Throws `listener/not-duplicated` when the child fails or takes too long.
 */
export async function duplicateListeners(fds: readonly number[], clock: Clock): Promise<ListenHandle[]> {
  const handles: ListenHandle[] = [];
  for (let from = 0; from < fds.length; from += MAX_AT_ONCE)
    handles.push(...(await throughChild(fds.slice(from, from + MAX_AT_ONCE), clock)));
  return handles;
}

function throughChild(fds: readonly number[], clock: Clock): Promise<ListenHandle[]> {
  return new Promise((resolve, reject) => {
    const handles: ListenHandle[] = [];
    const child = spawn(process.execPath, ['-e', CHILD, String(fds.length)], {
      stdio: ['ignore', 'ignore', 'ignore', 'ipc', ...fds],
      env: {},
    });
    const deadline = clock.after(DEADLINE_MS, () => fail(`no answer within ${DEADLINE_MS} ms`));
    const fail = (why: string) => {
      deadline.cancel();
      child.kill('SIGKILL');
      for (const handle of handles) if (handle) closeHandle(handle);
      reject(
        new CodedError('listener/not-duplicated', `a port could not be shared with another thread: ${why}`),
      );
    };
    const whole = () => fds.every((_, at) => handles[at]);
    child.on('error', error => fail(messageOf(error)));
    child.on('message', (at, handle) => {
      if (typeof at === 'number' && typeof handle === 'object' && handle !== null) handles[at] = handle;
      if (whole() && child.connected) child.disconnect();
    });
    // Only now are the child's own duplicates gone, which would keep a port taken after we have closed it.
    child.once('exit', code => {
      deadline.cancel();
      if (whole()) resolve(handles);
      else fail(`the helper process ended with code ${code}`);
    });
  });
}

/** Closes a handle that no server has taken. */
export function closeHandle(handle: ListenHandle): void {
  if ('close' in handle && typeof handle.close === 'function') handle.close();
}
