/**
 * Sessions and request tokens of a HiLink stick: a token is good for one POST, every POST brings the next, a second
 * client takes the session away, and a password gates what is not status. Error numbers are the stick's own; the
 * kinds of session and the two ways to log in are those that Salamek/huawei-lte-api speaks.
 */
import { createHash, createHmac, pbkdf2Sync } from 'node:crypto';
import type { HilinkKnobs } from './hilink-knobs';

export type Verdict = { ok: true } | { ok: false; code: number };

const NO_RIGHTS = 100_003;
const WRONG_PASSWORD = 108_006;
const TOO_MANY_TRIES = 108_007;
const WRONG_SESSION = 125_002;
const WRONG_TOKEN = 125_003;
const TOKEN_LENGTH = 32;
const SESSION_LENGTH = 128;
const MAX_TRIES = 3;
const ITERATIONS = 100;
export const USERNAME = 'admin';

/** Served to strangers, too. */
const OPEN = new Set([
  'monitoring/status',
  'device/basic_information',
  'user/state-login',
  'user/hilink_login',
  'user/login',
  'user/challenge_login',
  'user/authentication_login',
]);

export class HilinkSessions {
  readonly #random: (length: number) => string;
  readonly #knobs: HilinkKnobs;
  readonly #nowMs: () => number;
  /** Only the newest client's session is good. */
  #session = '';
  #tokens = new Set<string>();
  #loggedIn = false;
  #wrongTries = 0;
  #lockedUntilMs = Number.NEGATIVE_INFINITY;
  #challenge: { clientNonce: string; serverNonce: string; salt: string } | null = null;

  constructor(options: {
    random: (length: number) => string;
    knobs: HilinkKnobs;
    nowMs: () => number;
  }) {
    this.#random = options.random;
    this.#knobs = options.knobs;
    this.#nowMs = options.nowMs;
  }

  /** What `webserver/SesTokInfo` hands out; whoever else had a session before has lost it. */
  begin(cookie: string | undefined): { session: string; token: string } {
    if (!this.#hasSession(cookie)) this.steal();
    return { session: this.#session, token: this.issue() };
  }

  /** Another client comes: the session is its own now. */
  steal(): void {
    this.#session = this.#random(SESSION_LENGTH);
    this.#tokens = new Set();
    this.#loggedIn = false;
  }

  checkGet(path: string, cookie: string | undefined): Verdict {
    if (this.#knobs.session === 'session-token' && !this.#hasSession(cookie))
      return { ok: false, code: WRONG_SESSION };
    return this.#checkRights(path);
  }

  /** Uses the token up. */
  checkPost(path: string, cookie: string | undefined, token: string | undefined): Verdict {
    const { session } = this.#knobs;
    if (session === 'session-token' && !this.#hasSession(cookie)) return { ok: false, code: WRONG_SESSION };
    if (session !== 'none' && (token === undefined || !this.#tokens.delete(token)))
      return { ok: false, code: WRONG_TOKEN };
    return this.#checkRights(path);
  }

  issue(): string {
    const token = this.#random(TOKEN_LENGTH);
    this.#tokens.add(token);
    return token;
  }

  /** Failed log-ins that count; for tests of the lock-out. */
  wrongTries(): number {
    return this.#wrongTries;
  }

  loggedIn(): boolean {
    return this.#loggedIn;
  }

  /** Whole minutes, as the firmware counts them down. */
  remainingWait(): number {
    return Math.max(0, Math.ceil((this.#lockedUntilMs - this.#nowMs()) / 60_000));
  }

  /** 0, or the error number. `token` is the one that the request carried. */
  loginClassic(login: { username: string; password: string; type: string; token: string }): number {
    const { password } = this.#knobs;
    if (this.remainingWait() > 0) return TOO_MANY_TRIES;
    if (this.#knobs.login === 'scram') return WRONG_PASSWORD;
    const hex = (text: string) => createHash('sha256').update(text).digest('hex');
    const base64 = (text: string) => Buffer.from(text).toString('base64');
    const wanted =
      login.type === '4'
        ? base64(hex(USERNAME + base64(hex(password ?? '')) + login.token))
        : base64(password ?? '');
    return this.#judge(login.username === USERNAME && login.password === wanted);
  }

  beginScram(clientNonce: string): { salt: string; iterations: number; serverNonce: string } {
    const challenge = {
      clientNonce,
      serverNonce: clientNonce + Buffer.from(this.#random(24)).toString('hex'),
      salt: Buffer.from(this.#random(32)).toString('hex'),
    };
    this.#challenge = challenge;
    return { ...challenge, iterations: ITERATIONS };
  }

  endScram(proof: string, finalNonce: string): number {
    const challenge = this.#challenge;
    this.#challenge = null;
    if (this.remainingWait() > 0) return TOO_MANY_TRIES;
    if (!challenge || finalNonce !== challenge.serverNonce) return WRONG_PASSWORD;
    // The other way about than the client does it: recover the client key from the proof, and compare its digest.
    const salt = Buffer.from(challenge.salt, 'hex');
    const salted = pbkdf2Sync(this.#knobs.password ?? '', salt, ITERATIONS, 32, 'sha256');
    const stored = createHash('sha256')
      .update(createHmac('sha256', 'Client Key').update(salted).digest())
      .digest();
    const { clientNonce, serverNonce } = challenge;
    const signature = createHmac('sha256', `${clientNonce},${serverNonce},${serverNonce}`)
      .update(stored)
      .digest();
    const sent = Buffer.from(proof, 'hex');
    const key = Buffer.from(sent.map((byte, i) => byte ^ (signature[i] ?? 0)));
    return this.#judge(createHash('sha256').update(key).digest().equals(stored));
  }

  #judge(right: boolean): number {
    if (!right) this.#wrongTries += 1;
    else this.#wrongTries = 0;
    if (this.#wrongTries >= MAX_TRIES) {
      this.#lockedUntilMs = this.#nowMs() + this.#knobs.lockoutMinutes * 60_000;
      this.#wrongTries = 0;
    }
    this.#loggedIn = right;
    return right ? 0 : WRONG_PASSWORD;
  }

  #checkRights(path: string): Verdict {
    if (this.#knobs.password === null || this.#loggedIn || OPEN.has(path)) return { ok: true };
    return { ok: false, code: NO_RIGHTS };
  }

  #hasSession(cookie: string | undefined): boolean {
    const sent = /(?:^|;\s*)SessionID=([^;]+)/.exec(cookie ?? '')?.[1];
    return this.#session !== '' && sent === this.#session;
  }
}
