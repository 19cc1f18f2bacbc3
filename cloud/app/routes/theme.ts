/** Keeps the chosen look in a cookie; without a script the form comes back to its page. */
import { type ActionFunctionArgs, data, redirect } from '@remix-run/node';
import { safeDestination } from '../login-redirect';
import { LOOKS, lookCookie } from '../look.server';

export async function action({ request }: ActionFunctionArgs) {
  const form = await request.formData();
  const look = LOOKS.find(known => known === form.get('look'));
  if (look === undefined)
    throw data(
      { code: 'look/unknown', message: `look: must be one of ${LOOKS.join(', ')}.`, requestId: '' },
      { status: 400 },
    );
  const headers = { 'set-cookie': lookCookie(look) };
  const back = form.get('back');
  // A script's request wants data, a bare form wants its page again.
  if (!request.headers.get('accept')?.includes('text/html') || typeof back !== 'string')
    return data({ look }, { headers });
  return redirect(safeDestination(back), { headers });
}

export const loader = () => redirect('/dashboard');
