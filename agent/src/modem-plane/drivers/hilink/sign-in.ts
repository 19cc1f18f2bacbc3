/**
 * Logging in to a stick that has a password: classic or SCRAM, as the stick says. A password that was refused is
 * never sent again, since sticks lock themselves after a few; where a wait is imposed, it is kept.
 */
import { randomBytes } from 'node:crypto';
import type { Clock } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import type { DriverFault, Outcome } from '../../driver';
import { failed, OPAQUE_LOGIN } from './errors';
import { hashedProof, plainProof, scramProof } from './login-proof';
import type { HilinkSession } from './session';
import { textOf, type XmlElement } from './xml';

/** After "somebody else is logged in", or after a failure that says nothing. */
const PAUSE_MS = 30_000;
const REFUSALS: ReadonlySet<string> = new Set(['108001', '108002', OPAQUE_LOGIN, '115002']);

export interface Login {
  username: string;
  password: string;
}

export class SignIn {
  readonly #login: Login | null;
  readonly #clock: Clock;
  #refused: DriverFault | null = null;
  #notBefore = Number.NEGATIVE_INFINITY;
  #waiting: DriverFault | null = null;

  constructor(login: Login | null, clock: Clock) {
    this.#login = login;
    this.#clock = clock;
  }

  /** Logs the session in. `locked` faults need a person; `busy` ones pass with time. */
  async attempt(session: HilinkSession): Promise<Outcome<null>> {
    const login = this.#login;
    if (login === null)
      return failed(
        'locked',
        '100003',
        'the stick wants a log-in: give the slot its web password (api.password)',
      );
    if (this.#refused) return { ok: false, fault: this.#refused };
    if (this.#waiting && this.#clock.monotonicMs() < this.#notBefore)
      return { ok: false, fault: this.#waiting };
    const state = await session.ask('user/state-login');
    if (!state.ok) return state;
    if (textOf(state.value, 'State') === '0') return { ok: true, value: null };
    const wait = Number(textOf(state.value, 'remainwaittime') ?? 0);
    if (Number.isFinite(wait) && wait > 0) return this.#pause(wait * 60_000, lockedOut(wait));
    let done = await this.#send(session, login, state.value);
    if (!done.ok && done.fault.code === OPAQUE_LOGIN && !wantsScram(state.value)) {
      // The same number says "wrong password" and "I want SCRAM".
      const scram = await this.#scram(session, login);
      if (scram.ok || scram.fault.kind !== 'unsupported') done = scram;
    }
    if (done.ok) return done;
    const { code } = done.fault;
    if (REFUSALS.has(code)) this.#refused = done.fault;
    else if (code === '108007') return this.#pause(await this.#waitOf(session), done.fault);
    else if (done.fault.kind !== 'unreachable') return this.#pause(PAUSE_MS, done.fault);
    return done;
  }

  #pause(ms: number, fault: DriverFault): Outcome<null> {
    this.#waiting = fault;
    this.#notBefore = this.#clock.monotonicMs() + ms;
    return { ok: false, fault };
  }

  async #waitOf(session: HilinkSession): Promise<number> {
    const state = await session.ask('user/state-login');
    const minutes = state.ok ? Number(textOf(state.value, 'remainwaittime') ?? 1) : 1;
    return (Number.isFinite(minutes) && minutes > 0 ? minutes : 1) * 60_000;
  }

  #send(session: HilinkSession, login: Login, state: XmlElement): Promise<Outcome<null>> {
    if (wantsScram(state)) return this.#scram(session, login);
    const type = textOf(state, 'password_type') ?? '4';
    return okOf(
      session.askWithToken('user/login', token => [
        ['Username', login.username],
        ['Password', type === '4' ? hashedProof({ ...login, token }) : plainProof(login.password)],
        ['password_type', type],
      ]),
    );
  }

  async #scram(session: HilinkSession, login: Login): Promise<Outcome<null>> {
    const firstNonce = randomBytes(32).toString('hex');
    const challenge = await session.ask('user/challenge_login', [
      ['username', login.username],
      ['firstnonce', firstNonce],
      ['mode', 1],
    ]);
    if (!challenge.ok) return challenge;
    const serverNonce = textOf(challenge.value, 'servernonce') ?? '';
    let proof: string;
    try {
      proof = scramProof({
        password: login.password,
        saltHex: textOf(challenge.value, 'salt') ?? '',
        iterations: Number(textOf(challenge.value, 'iterations') ?? 0),
        firstNonce,
        serverNonce,
      });
    } catch (error) {
      return failed('failed', 'hilink/bad-challenge', `the stick's log-in challenge: ${messageOf(error)}`);
    }
    return okOf(
      session.ask('user/authentication_login', [
        ['clientproof', proof],
        ['finalnonce', serverNonce],
      ]),
    );
  }
}

function wantsScram(state: XmlElement): boolean {
  return textOf(state, 'extern_password_type') === '1';
}

function lockedOut(minutes: number): DriverFault {
  return {
    kind: 'locked',
    code: '108007',
    message: `too many wrong attempts to log in: the stick takes none for ${minutes} minutes`,
  };
}

async function okOf(asked: Promise<Outcome<XmlElement>>): Promise<Outcome<null>> {
  const answer = await asked;
  return answer.ok ? { ok: true, value: null } : answer;
}
