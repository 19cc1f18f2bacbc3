/** Hands out one Shadowsocks link, on request of the page's script. By POST only, audited by the server, never cached. */
import type { ActionFunctionArgs } from '@remix-run/node';
import { asMemberJson } from '../api.server';

export async function action(args: ActionFunctionArgs): Promise<Response> {
  const credentialId = (await args.request.formData()).get('credential');
  return asMemberJson(args, api =>
    api.endpoints.shadowsocksAccess({
      id: args.params.endpointId ?? '',
      credentialId: typeof credentialId === 'string' ? credentialId : '',
    }),
  );
}

export function loader(): Response {
  return Response.json(
    { code: 'METHOD_NOT_SUPPORTED', message: 'A secret is only handed out to a POST request.' },
    { status: 405, headers: { allow: 'POST' } },
  );
}
