/** Ends the session. By POST only: a link on another site must not log anyone out. */
import { type ActionFunctionArgs, redirect } from '@remix-run/node';
import { authOf } from '../api.server';

export async function action(args: ActionFunctionArgs) {
  const { setCookie } = await authOf(args).logOut();
  return redirect('/login', { headers: { 'set-cookie': setCookie } });
}

export const loader = () => redirect('/dashboard');
