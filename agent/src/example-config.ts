/**
 * A file to begin with: SOCKS5 and HTTP on one local port, straight out of this machine. The secret is made anew each
 * time, 160 bits, since a secret that stands in a repository is everybody's.
 */
import { randomBytes } from 'node:crypto';

/** The text of a valid configuration file; agent/README.md documents every field. */
export function exampleConfig(): string {
  const example = {
    listeners: [
      { name: 'local', protocols: ['socks5', 'http'], host: '127.0.0.1', port: 1080, egress: 'direct' },
    ],
    credentials: [{ username: 'me', secret: randomBytes(20).toString('base64url') }],
    allowTargets: [],
  };
  return JSON.stringify(example, null, 2);
}
