/** A port whose queue of connections is full and whose program stands still: SYNs are dropped, dials hang. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';
import { freePort } from '../../support/free-port';

const listener = (host: string, port: number) =>
  `require('net').createServer().listen({ port: ${port}, host: '${host}', backlog: 1 }, () => console.log('listening'))`;

export interface DeafOrigin {
  port: number;
  close(): Promise<void>;
}

/** `port` is free on 127.0.0.1 as well, for a test that needs a twin there. */
export async function startDeafOrigin(host = '127.0.0.1'): Promise<DeafOrigin> {
  const port = await freePort();
  const child = spawn(process.execPath, ['-e', listener(host, port)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  await once(child.stdout, 'data');
  child.kill('SIGSTOP');
  const fillers = Array.from({ length: 8 }, () => connect({ port, host }).on('error', () => undefined));
  await once(fillers[1]!, 'connect');
  return {
    port,
    close: async () => {
      for (const filler of fillers) filler.destroy();
      child.kill('SIGKILL');
      await once(child, 'exit');
    },
  };
}
