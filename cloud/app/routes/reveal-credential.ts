/** Hands out one proxy secret, on request of the page's script. By POST only, audited by the server, never cached. */
import type { ActionFunctionArgs } from '@remix-run/node';
import { asMemberJson } from '../api.server';

export function action(args: ActionFunctionArgs): Promise<Response> {
  return asMemberJson(args, api => api.credentials.reveal({ id: args.params.credentialId ?? '' }));
}

export function loader(): Response {
  return Response.json(
    { code: 'METHOD_NOT_SUPPORTED', message: 'A secret is only handed out to a POST request.' },
    { status: 405, headers: { allow: 'POST' } },
  );
}
