/**
 * Certificates of a thread's TLS endpoints, from files. Looked at once in a few seconds, by what the file system says
 * of them: that works where files are replaced, linked anew or lie on odd file systems, and needs no watcher. New
 * connections get the new certificate, running ones keep theirs. A file that cannot be used leaves the last good
 * certificate in place, and the log says so once. The wrapping of connections is secure-wire.ts.
 */
import { readFileSync, statSync } from 'node:fs';
import { stat } from 'node:fs/promises';
import { createSecureContext, type SecureContext } from 'node:tls';
import { codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { Endpoint, EndpointTls } from '@mastline/shared/domain/endpoint';
import type { Log } from '../observe/log';
import type { ListenerOutcome } from '../ports';

/** Ticks (seconds) between two looks at the files. */
const LOOK_EVERY_TICKS = 5;

interface Held {
  tls: EndpointTls;
  context: SecureContext;
  /** What the files looked like when they were read. */
  seen: string;
  /** What they looked like when they could not be used: not tried again before they change. */
  bad: string | null;
}

export class Certificates {
  readonly #log: Log;
  readonly #held = new Map<string, Held>();
  readonly #problems = new Map<string, NonNullable<ListenerOutcome['problem']>>();
  #looking = false;

  constructor(log: Log) {
    this.#log = log;
  }

  /** Serves these endpoints from now on. Files are read here and now: they are small, and plans are rare. */
  adopt(endpoints: Iterable<Endpoint>): void {
    const wanted = new Map<string, EndpointTls>();
    for (const { id, tls } of endpoints) if (tls) wanted.set(id, tls);
    for (const id of this.#held.keys()) if (!wanted.has(id)) this.#held.delete(id);
    this.#problems.clear();
    for (const [id, tls] of wanted) {
      const known = this.#held.get(id);
      if (known && known.tls.certFile === tls.certFile && known.tls.keyFile === tls.keyFile) {
        known.tls = tls;
        continue;
      }
      try {
        const seen = look(tls, statSync);
        this.#held.set(id, { tls, context: load(tls), seen, bad: null });
      } catch (error) {
        this.#held.delete(id);
        this.#problems.set(id, { code: 'listener/bad-certificate', message: sentenceOf(tls, error) });
      }
    }
  }

  /** What new connections of the endpoint are secured with; null when it has no TLS. */
  context(endpointId: string): SecureContext | null {
    return this.#held.get(endpointId)?.context ?? null;
  }

  /** Why the endpoint cannot be served; null when it can. */
  problem(endpointId: string): NonNullable<ListenerOutcome['problem']> | null {
    return this.#problems.get(endpointId) ?? null;
  }

  /** Called once a tick; looks at the files now and then. */
  onTick(tick: number): void {
    if (tick % LOOK_EVERY_TICKS !== 0 || this.#looking || this.#held.size === 0) return;
    void this.look();
  }

  /** Looks at all files and reads those that changed. Never rejects. */
  async look(): Promise<void> {
    this.#looking = true;
    for (const [endpointId, held] of this.#held) {
      let now = 'unreadable';
      try {
        now = lookOf(await Promise.all([stat(held.tls.certFile), stat(held.tls.keyFile)]));
        if (now === held.seen || now === held.bad) continue;
        held.context = load(held.tls);
        held.seen = now;
        held.bad = null;
        this.#log.info('a new certificate is used from now on', { endpointId });
      } catch (error) {
        // Two files are seldom replaced at one instant: the next look may find both.
        if (held.bad !== now)
          this.#log.warn(`${sentenceOf(held.tls, error)} The last good certificate stays in use.`, {
            code: 'listener/bad-certificate',
            endpointId,
          });
        held.bad = now;
      }
    }
    this.#looking = false;
  }
}

/** Why the files cannot be used now, for people; null when they can. */
export function certificateProblem(tls: EndpointTls): string | null {
  try {
    load(tls);
    return null;
  } catch (error) {
    return sentenceOf(tls, error);
  }
}

interface FileLook {
  mtimeMs: number;
  size: number;
  ino: number;
}

function look(tls: EndpointTls, statOf: (path: string) => FileLook): string {
  return lookOf([statOf(tls.certFile), statOf(tls.keyFile)]);
}

const lookOf = (files: readonly FileLook[]): string =>
  files.map(({ mtimeMs, size, ino }) => `${mtimeMs} ${size} ${ino}`).join(', ');

function load(tls: EndpointTls): SecureContext {
  return createSecureContext({ cert: readFileSync(tls.certFile), key: readFileSync(tls.keyFile) });
}

/** For people; says nothing of what is in the files. */
function sentenceOf(tls: EndpointTls, error: unknown): string {
  const files = `${tls.certFile} and ${tls.keyFile}`;
  switch (codeOf(error)) {
    case 'ENOENT':
      return `One of ${files} does not exist: put the certificate (PEM, with its chain) and its key there.`;
    case 'EACCES':
      return `One of ${files} may not be read by the agent: give it the right to.`;
    case 'ERR_OSSL_X509_KEY_VALUES_MISMATCH':
      return `The key in ${tls.keyFile} does not belong to the certificate in ${tls.certFile}.`;
    default:
      return `${files} cannot be used as certificate and key (PEM): ${messageOf(error)}.`;
  }
}
