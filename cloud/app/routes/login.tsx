/** Log-in. A plain form that works without a script and with password managers. */
import { type ActionFunctionArgs, data, type LoaderFunctionArgs, redirect } from '@remix-run/node';
import { Form, useActionData, useNavigation, useSearchParams } from '@remix-run/react';
import { useEffect, useRef, useState } from 'react';
import { authOf, viewerOf } from '../api.server';
import { ErrorView } from '../components/error-view';
import { Icon, Logo } from '../components/icons';
import { safeDestination } from '../login-redirect';
import { pageTitle } from '../page-title';

export const meta = pageTitle('Log in');

const MAX_EMAIL = 254;
const MAX_PASSWORD = 1024;

export function loader(args: LoaderFunctionArgs) {
  const to = new URL(args.request.url).searchParams.get('to');
  if (viewerOf(args) !== null) throw redirect(safeDestination(to));
  return null;
}

interface Refused {
  email: string;
  problem?: string;
  emailProblem?: string;
  passwordProblem?: string;
}

export async function action(args: ActionFunctionArgs) {
  const form = await args.request.formData();
  const email = textOf(form, 'email').trim();
  const password = textOf(form, 'password');

  const refused: Refused = { email };
  if (email === '') refused.emailProblem = 'Enter your e-mail address.';
  else if (!email.includes('@') || email.length > MAX_EMAIL)
    refused.emailProblem = 'Enter a whole e-mail address, such as ana@example.com.';
  if (password === '') refused.passwordProblem = 'Enter your password.';
  else if (password.length > MAX_PASSWORD)
    refused.passwordProblem = `A password has at most ${MAX_PASSWORD} characters.`;
  if (refused.emailProblem ?? refused.passwordProblem) return data(refused, { status: 400 });

  const outcome = await authOf(args).logIn({ email, password });
  if (outcome.ok)
    return redirect(safeDestination(textOf(form, 'to')), { headers: { 'set-cookie': outcome.setCookie } });
  if (outcome.reason === 'throttled')
    return data(
      { ...refused, problem: `Too many attempts. Try again ${waitOf(outcome.retryAfterSeconds)}.` },
      { status: 429, headers: { 'retry-after': String(outcome.retryAfterSeconds) } },
    );
  return data(
    { ...refused, problem: 'E-mail address or password is wrong. Check both, then try again.' },
    { status: 401 },
  );
}

export default function LogIn() {
  const refused = useActionData<typeof action>();
  const [query] = useSearchParams();
  const busy = useNavigation().state !== 'idle';
  const [shown, setShown] = useState(false);
  const form = useRef<HTMLFormElement>(null);

  useEffect(() => {
    if (refused === undefined) return;
    // The first field to mend; after a wrong pair that is the password, which people mistype more often.
    const first = refused.emailProblem === undefined ? 'password' : 'email';
    form.current?.querySelector<HTMLInputElement>(`[name=${first}]`)?.focus();
  }, [refused]);

  return (
    <div className="gate">
      <main className="gate-box">
        <header>
          <Logo size={44} />
          <h1>Log in to Mastline</h1>
        </header>
        <Form ref={form} method="post" className="card card-pad form" noValidate>
          <input type="hidden" name="to" value={safeDestination(query.get('to'))} />
          {refused?.problem !== undefined && (
            <p className="note note-bad" role="alert">
              <Icon name="alert" size={18} />
              <span>{refused.problem}</span>
            </p>
          )}
          <div className="field">
            <label htmlFor="email">E-mail</label>
            <input
              className="input"
              id="email"
              name="email"
              type="email"
              autoComplete="username"
              autoCapitalize="none"
              spellCheck={false}
              required
              maxLength={MAX_EMAIL}
              defaultValue={refused?.email}
              aria-invalid={refused?.emailProblem !== undefined}
              aria-describedby={refused?.emailProblem === undefined ? undefined : 'email-problem'}
            />
            {refused?.emailProblem !== undefined && (
              <p className="field-error" id="email-problem">
                {refused.emailProblem}
              </p>
            )}
          </div>
          <div className="field">
            <label htmlFor="password">Password</label>
            <div className="input-row">
              <input
                className="input"
                id="password"
                name="password"
                type={shown ? 'text' : 'password'}
                autoComplete="current-password"
                required
                maxLength={MAX_PASSWORD}
                aria-invalid={refused?.passwordProblem !== undefined}
                aria-describedby={refused?.passwordProblem === undefined ? undefined : 'password-problem'}
              />
              <button
                type="button"
                className="icon-button"
                aria-pressed={shown}
                aria-label="Show password"
                title={shown ? 'Hide password' : 'Show password'}
                onClick={() => setShown(!shown)}
              >
                <Icon name={shown ? 'eye-off' : 'eye'} size={18} />
              </button>
            </div>
            {refused?.passwordProblem !== undefined && (
              <p className="field-error" id="password-problem">
                {refused.passwordProblem}
              </p>
            )}
          </div>
          <button type="submit" className="button button-main button-wide" aria-disabled={busy}>
            <span className="swap">
              <span data-on={!busy}>Log in</span>
              <span data-on={busy}>Logging in…</span>
            </span>
          </button>
        </Form>
      </main>
      <p className="gate-foot">Managed proxy endpoints on real mobile modems</p>
    </div>
  );
}

export function ErrorBoundary() {
  return (
    <main className="content">
      <ErrorView />
    </main>
  );
}

function textOf(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === 'string' ? value : '';
}

function waitOf(seconds: number): string {
  if (seconds < 90) return `in ${Math.max(1, Math.ceil(seconds))} seconds`;
  return `in ${Math.ceil(seconds / 60)} minutes`;
}
