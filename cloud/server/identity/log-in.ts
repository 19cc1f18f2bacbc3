/** Password → session. Every answer of a wrong log-in is the same, whether the account exists or not. */
import type { Services } from '../rpc/context';
import type { LoginThrottle } from './login-throttle';
import { checkPassword } from './passwords';
import type { Sessions } from './sessions';
import { userByEmail } from './store';

export type LogInOutcome =
  | { ok: true; setCookie: string }
  | { ok: false; reason: 'wrong' }
  | { ok: false; reason: 'throttled'; retryAfterSeconds: number };

export async function logIn(
  services: Pick<Services, 'db' | 'log'> & { sessions: Sessions; throttle: LoginThrottle },
  input: { email: string; password: string; address: string; requestId: string },
): Promise<LogInOutcome> {
  const email = input.email.trim().toLowerCase().slice(0, 320);
  const admission = services.throttle.admit(email, input.address);
  if (admission.is === 'throttled') {
    services.log.warn({ address: input.address, requestId: input.requestId }, 'log-in throttled');
    return { ok: false, reason: 'throttled', retryAfterSeconds: admission.retryAfterSeconds };
  }
  const user = await userByEmail(services.db, email);
  if (!(await checkPassword(input.password, user?.passwordHash ?? null)) || user === null)
    return { ok: false, reason: 'wrong' };
  services.throttle.succeeded(email);
  return { ok: true, setCookie: await services.sessions.begin(user.id) };
}
