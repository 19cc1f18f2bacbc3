/**
 * Requests to a HiLink stick's web API, one at a time, with what its error numbers ask for: a new session, a log-in, a
 * pause, once more, or never again. Knows no meaning of any reply; that is readings.ts and driver.ts.
 */
import { type Clock, sleep } from '@mastline/shared/base/clock';
import type { CountOwn } from '../../../ports';
import type { Outcome } from '../../driver';
import { failed, NEEDS_LOGIN, NO_SUCH_ENDPOINT, SESSION_LOST, WORTH_ONE_MORE } from './errors';
import { HilinkSession } from './session';
import { type Login, SignIn } from './sign-in';
import type { RequestElements } from './stick-text';
import type { XmlElement } from './xml';

/** Requests waiting behind one another; a supervisor asks three at a time. */
export const MAX_WAITING = 16;
/** A change that meets a busy stick is tried so often again; a question is not, it is asked again anyway. */
const BUSY_RETRIES = 3;
const BUSY_PAUSE_MS = 2000;

export interface HilinkClientOptions {
  /** `http://192.168.8.1` */
  url: string;
  localAddress: string | null;
  clock: Clock;
  /** Null for a stick without a password. */
  login?: Login | null;
  /** Told what requests move. */
  count?: CountOwn | undefined;
}

export class HilinkClient {
  readonly #clock: Clock;
  readonly #abort = new AbortController();
  readonly #session: HilinkSession;
  readonly #signIn: SignIn;
  /** What this firmware does not have. */
  readonly #absent = new Set<string>();
  #last: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  constructor(options: HilinkClientOptions) {
    const { clock, url, localAddress, count } = options;
    this.#clock = clock;
    this.#session = new HilinkSession({ url, localAddress, clock, signal: this.#abort.signal, count });
    this.#signIn = new SignIn(options.login ?? null, clock);
  }

  /** `get('monitoring/status')`: the reply's root element, or the fault in words. Never rejects. */
  get(path: string): Promise<Outcome<XmlElement>> {
    return this.#inTurn(() => this.#patiently(path, undefined));
  }

  /** The same for a change (and for the questions that are POSTs), with its elements in the stick's order. */
  post(path: string, elements: RequestElements): Promise<Outcome<XmlElement>> {
    return this.#inTurn(() => this.#patiently(path, elements));
  }

  /** Waits; false when the client was closed meanwhile. */
  async pause(ms: number): Promise<boolean> {
    try {
      await sleep(this.#clock, ms, this.#abort.signal);
      return true;
    } catch (error) {
      if (this.#abort.signal.aborted) return false;
      throw error;
    }
  }

  /** Gives up what is under way. */
  close(): void {
    this.#abort.abort();
  }

  #inTurn<T>(work: () => Promise<Outcome<T>>): Promise<Outcome<T>> {
    if (this.#waiting >= MAX_WAITING)
      return Promise.resolve(
        failed('busy', 'hilink/queue-full', `${MAX_WAITING} requests wait for the stick`),
      );
    this.#waiting += 1;
    const answer = this.#last.then(work);
    this.#last = answer.finally(() => {
      this.#waiting -= 1;
    });
    return answer;
  }

  async #patiently(path: string, elements: RequestElements | undefined): Promise<Outcome<XmlElement>> {
    if (this.#absent.has(path))
      return failed('unsupported', NO_SUCH_ENDPOINT, `${path}: not supported by this firmware`);
    let answer = await this.#withSession(path, elements);
    for (let tries = 0; elements !== undefined && tries < BUSY_RETRIES && isBusy(answer); tries += 1) {
      if (!(await this.pause(BUSY_PAUSE_MS))) break;
      answer = await this.#withSession(path, elements);
    }
    if (!answer.ok && WORTH_ONE_MORE.has(answer.fault.code)) answer = await this.#withSession(path, elements);
    if (!answer.ok && answer.fault.kind === 'unsupported' && /^10000[12]$/.test(answer.fault.code))
      this.#absent.add(path);
    return answer;
  }

  async #withSession(path: string, elements: RequestElements | undefined): Promise<Outcome<XmlElement>> {
    const answer = await this.#loggedIn(path, elements);
    if (answer.ok || !SESSION_LOST.has(answer.fault.code)) return answer;
    // Another client (a browser, a second tool) took the session: begin one and try once more.
    this.#session.drop();
    return this.#loggedIn(path, elements);
  }

  async #loggedIn(path: string, elements: RequestElements | undefined): Promise<Outcome<XmlElement>> {
    const answer = await this.#session.ask(path, elements);
    if (answer.ok || answer.fault.code !== NEEDS_LOGIN) return answer;
    const signedIn = await this.#signIn.attempt(this.#session);
    return signedIn.ok ? this.#session.ask(path, elements) : signedIn;
  }
}

function isBusy(answer: Outcome<unknown>): boolean {
  return !answer.ok && (answer.fault.code === '100004' || answer.fault.code === '-1');
}
