/** Finds out whether ports are free before a program stumbles over them. */
import { createServer } from 'node:net';
import { CodedError, codeOf } from '@mastline/shared/base/coded-error';

/** `free`, or the system's code for why one cannot listen there. */
export function probePort(port: number, host = '127.0.0.1'): Promise<'free' | string> {
  return new Promise(resolve => {
    const server = createServer();
    server.once('error', error => resolve(codeOf(error) ?? 'unknown'));
    server.listen({ port, host, exclusive: true }, () => server.close(() => resolve('free')));
  });
}

/** Throws a sentence that names the port and the remedy when one cannot listen on it. */
export async function mustBeFree(port: number, what: string, remedy: string): Promise<void> {
  const found = await probePort(port);
  if (found === 'free') return;
  const why =
    found === 'EADDRINUSE'
      ? 'is taken by another program'
      : found === 'EACCES'
        ? 'needs rights that you do not have'
        : `cannot be used (${found})`;
  throw new CodedError('start/port', `port ${port} for ${what}: ${found}`, {
    userMessage: `Port ${port} (${what}) ${why}.\n${remedy}`,
  });
}

/** `count` different free ports, chosen by the system. */
export async function freePorts(count: number): Promise<number[]> {
  const servers = await Promise.all(
    Array.from(
      { length: count },
      () =>
        new Promise<ReturnType<typeof createServer>>((resolve, reject) => {
          const server = createServer();
          server.once('error', reject);
          server.listen({ port: 0, host: '127.0.0.1' }, () => resolve(server));
        }),
    ),
  );
  const ports = servers.map(server => {
    const address = server.address();
    if (typeof address !== 'object' || address === null) throw new CodedError('start/port', 'no address');
    return address.port;
  });
  await Promise.all(servers.map(server => new Promise(resolve => server.close(resolve))));
  return ports;
}
