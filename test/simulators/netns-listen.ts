/**
 * A listening socket in another network namespace, used from this process. Node cannot enter a namespace, but a
 * short-lived child can listen there and hand the socket over: a socket stays in the namespace it was made in.
 */
import { spawn } from 'node:child_process';
import { Server } from 'node:net';
import { CodedError } from '@mastline/shared/base/coded-error';

const DEADLINE_MS = 10_000;

/** Plain JavaScript, since it runs without a loader. It ends when its parent lets go of it, or dies. */
const LISTENER = `
const server = require('node:net').createServer();
process.once('disconnect', () => process.exit(0));
server.once('error', error => process.send({ error: error.message }, () => process.exit(1)));
server.listen({ host: process.argv[1], port: Number(process.argv[2]) }, () =>
  process.send({ listening: true }, server));
`;

/** Listens on `host:port` inside `namespace`. Rejects with `simulator/listen`. */
export function listenIn(namespace: string, host: string, port: number): Promise<Server> {
  return new Promise((resolve, reject) => {
    const child = spawn(
      'ip',
      ['netns', 'exec', namespace, process.execPath, '-e', LISTENER, host, String(port)],
      {
        stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
        env: { ...process.env, NODE_OPTIONS: '' },
      },
    );
    const fail = (why: string) =>
      reject(new CodedError('simulator/listen', `${host}:${port} in ${namespace}: ${why}`));
    const timer = setTimeout(() => {
      child.kill('SIGKILL');
      fail(`not listening after ${DEADLINE_MS} ms`);
    }, DEADLINE_MS);
    child.once('error', error => fail(error.message));
    child.once('exit', code => {
      clearTimeout(timer);
      fail(`its helper ended with code ${code}`);
    });
    child.on('message', (message: { error?: string }, handle) => {
      if (handle instanceof Server) resolve(handle);
      else fail(message.error ?? 'no socket came');
      // Now that the socket is here the helper has to end: as long as it lives, it takes connections, too.
      if (child.connected) child.disconnect();
    });
  });
}
