/** An authority and a certificate of a server, made by openssl for one test run. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Certificates {
  /** PEM of the authority, and where it lies. */
  ca: string;
  caPath: string;
  /** The server's. */
  key: string;
  cert: string;
  keyPath: string;
  certPath: string;
}

/** True when this machine has openssl. */
export function canMakeCertificates(): boolean {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return true;
  } catch {
    return false;
  }
}

/**
 * Makes both in `folder`. The authority signs the server's certificate, so that trust has to be given. `names` is what
 * the certificate is for, as openssl's subjectAltName.
 */
export function makeCertificates(folder: string, names = 'DNS:localhost,IP:127.0.0.1'): Certificates {
  const at = (name: string) => join(folder, name);
  const openssl = (...args: string[]) => execFileSync('openssl', args, { stdio: 'ignore', cwd: folder });
  const newKey = ['-newkey', 'ec', '-pkeyopt', 'ec_paramgen_curve:P-256', '-nodes'];
  openssl(
    ...['req', '-x509', ...newKey, '-keyout', 'ca.key', '-out', 'ca.pem', '-days', '2'],
    ...['-subj', '/CN=Mastline test authority'],
  );
  openssl('req', ...newKey, '-keyout', 'server.key', '-out', 'server.csr', '-subj', '/CN=localhost');
  writeFileSync(at('server.ext'), `subjectAltName=${names}\n`);
  openssl(
    ...['x509', '-req', '-in', 'server.csr', '-CA', 'ca.pem', '-CAkey', 'ca.key', '-CAcreateserial'],
    ...['-out', 'server.pem', '-days', '2', '-extfile', 'server.ext'],
  );
  const read = (name: string) => readFileSync(at(name), 'utf8');
  return {
    ca: read('ca.pem'),
    caPath: at('ca.pem'),
    key: read('server.key'),
    cert: read('server.pem'),
    keyPath: at('server.key'),
    certPath: at('server.pem'),
  };
}
