/** Programs of others around the data plane: started when a test wants them, ended when it is over. */
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { promisify } from 'node:util';

const run = promisify(execFile);

export interface Peers {
  /** Starts a program and waits until it says `ready` on either output. */
  start(command: string, args: string[], ready: RegExp): Promise<ChildProcess>;
  /** Ends all of them. */
  stop(): Promise<void>;
}

export function startPeers(): Peers {
  const children: ChildProcess[] = [];
  return {
    async start(command, args, ready) {
      const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
      children.push(child);
      let said = '';
      await new Promise<void>((resolve, reject) => {
        const take = (bytes: Buffer) => {
          said += bytes.toString('utf8');
          if (ready.test(said)) resolve();
        };
        child.stdout.on('data', take);
        child.stderr.on('data', take);
        child.once('error', reject);
        child.once('exit', code => reject(new Error(`${command} ended with ${code}: ${said}`)));
      });
      return child;
    },
    async stop() {
      for (const child of children) {
        if (child.exitCode !== null || child.signalCode !== null) continue;
        child.kill('SIGKILL');
        await once(child, 'exit');
      }
    },
  };
}

export interface CurlAnswer {
  code: number;
  out: string;
  err: string;
}

/** Runs curl; a failure is an answer too. */
export async function curl(...args: string[]): Promise<CurlAnswer> {
  try {
    const { stdout, stderr } = await run('curl', ['-sS', '--max-time', '20', '--noproxy', '', ...args], {
      maxBuffer: 1 << 26,
      encoding: 'latin1',
    });
    return { code: 0, out: stdout, err: stderr };
  } catch (error) {
    const failed = error as { code: number; stdout: string; stderr: string };
    return { code: failed.code, out: failed.stdout, err: failed.stderr };
  }
}

export const digest = (bytes: Buffer | string) =>
  createHash('sha256')
    .update(typeof bytes === 'string' ? Buffer.from(bytes, 'latin1') : bytes)
    .digest('hex');

export interface WebOrigin {
  port: number;
  /** What GET answers. */
  body: Buffer;
  /** Requests that came. */
  requests: number;
  close(): Promise<void>;
}

/** GET gives a body of random bytes (with ranges), other methods answer the SHA-256 of what was sent. */
export async function webOrigin(bytes = 3_000_000): Promise<WebOrigin> {
  const body = randomBytes(bytes);
  const server = createServer((request, response) => {
    web.requests += 1;
    if (request.method === 'GET') {
      const from = /^bytes=(\d+)-$/.exec(request.headers.range ?? '')?.[1];
      if (from === undefined) return void response.setHeader('accept-ranges', 'bytes').end(body);
      const rest = body.subarray(Number(from));
      response.writeHead(206, {
        'content-range': `bytes ${from}-${body.length - 1}/${body.length}`,
        'content-length': rest.length,
      });
      return void response.end(rest);
    }
    const hash = createHash('sha256');
    request.on('data', chunk => hash.update(chunk)).on('end', () => response.end(hash.digest('hex')));
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const web: WebOrigin = {
    port: (server.address() as AddressInfo).port,
    body,
    requests: 0,
    async close() {
      server.closeAllConnections();
      server.close();
      await once(server, 'close');
    },
  };
  return web;
}
