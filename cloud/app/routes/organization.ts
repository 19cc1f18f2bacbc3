/** Makes another of the viewer's organizations the one that the session looks at. */
import { type ActionFunctionArgs, redirect } from '@remix-run/node';
import { asMember } from '../api.server';
import { safeDestination } from '../login-redirect';

export async function action(args: ActionFunctionArgs) {
  const form = await args.request.formData();
  const id = form.get('id');
  const back = form.get('back');
  await asMember(args, api => api.viewer.switchOrganization({ id: typeof id === 'string' ? id : '' }));
  // Filters in a query name things of the organization that was left: only the path is kept.
  const path = safeDestination(typeof back === 'string' ? back : null).split('?')[0] ?? '/dashboard';
  return redirect(path);
}

export const loader = () => redirect('/dashboard');
