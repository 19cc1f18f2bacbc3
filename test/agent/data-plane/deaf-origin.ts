/** A port whose queue of connections is full and whose program stands still: SYNs are dropped, dials hang. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { connect } from 'node:net';

const listener = (host: string) =>
  `const s = require('net').createServer().listen({ port: 0, host: '${host}', backlog: 1 }, () => console.log(s.address().port))`;

export interface DeafOrigin {
  port: number;
  close(): Promise<void>;
}

export async function startDeafOrigin(host = '127.0.0.1'): Promise<DeafOrigin> {
  const child = spawn(process.execPath, ['-e', listener(host)], { stdio: ['ignore', 'pipe', 'inherit'] });
  const [line] = await once(child.stdout, 'data');
  const port = Number(String(line));
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
