/**
 * A HAProxy of a test's own in front of two clouds, by the very file that is shipped (installer/cloud/haproxy.cfg), with
 * what is this run's changed: where it listens, where the clouds are.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { type OwnServer, startOwnServer } from './own-server';

const SHIPPED = join(import.meta.dirname, '../../installer/cloud/haproxy.cfg');

export interface OwnHaproxy extends OwnServer {
  port: number;
  /** It answers what a stats socket answers. */
  statsSocket: string;
}

/** Started; `kill` is its end. `folder` holds its file and its socket. */
export async function startOwnHaproxy(of: {
  folder: string;
  port: number;
  clouds: readonly [number, number];
}): Promise<OwnHaproxy> {
  const { folder, port } = of;
  const statsSocket = join(folder, 'haproxy.sock');
  const file = join(folder, 'haproxy.cfg');
  writeFileSync(file, configuration(of, statsSocket));
  const server = await startOwnServer({ name: 'haproxy', args: ['-db', '-f', file], port });
  return { ...server, port, statsSocket };
}

/** The shipped text with each of these lines, which it must have once, as this run needs it. */
function configuration(of: { port: number; clouds: readonly [number, number] }, statsSocket: string): string {
  const changes: [string, string][] = [
    ['bind :443 ssl crt /etc/haproxy/mastline.pem alpn http/1.1', `bind 127.0.0.1:${of.port}`],
    ['server cloud-1 cloud-1:8480', `server cloud-1 127.0.0.1:${of.clouds[0]}`],
    ['server cloud-2 cloud-2:8480', `server cloud-2 127.0.0.1:${of.clouds[1]}`],
    // As many as any machine lets it have.
    ['maxconn 30000', 'maxconn 500'],
    ['\nglobal\n', `\nglobal\n    stats socket ${statsSocket} mode 600\n`],
  ];
  let text = readFileSync(SHIPPED, 'utf8');
  for (const [shipped, here] of changes) {
    if (text.split(shipped).length !== 2)
      throw new Error(`haproxy.cfg has not ${JSON.stringify(shipped)} once`);
    text = text.replace(shipped, here);
  }
  return text;
}
