/** One endpoint: what it speaks, whom it serves without a login, what stands behind its modem. Three forms, saved apart. */
import { MAX_CHAIN_HOPS } from '@mastline/shared/domain/endpoint';
import { type ActionFunctionArgs, data, type LoaderFunctionArgs, redirect } from '@remix-run/node';
import { useActionData, useLoaderData } from '@remix-run/react';
import { asMember, notFound, refusedFields } from '../api.server';
import { BackLink } from '../components/back-link';
import { ChainForm } from '../components/chain-form';
import { ErrorView } from '../components/error-view';
import { OpenToForm } from '../components/open-to-form';
import { ProtocolForm } from '../components/protocol-form';
import { addressOf } from '../curl-command';
import {
  hopValues,
  openToValues,
  protocolValues,
  readChain,
  readOpenTo,
  readProtocols,
} from '../endpoint-form';
import { sentence } from '../limits-form';
import { pageTitle } from '../page-title';
import { maySetSettings } from '../settings';

export const meta = pageTitle('Endpoint');

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async (api, viewer) => {
    const [endpoints, credentials] = await Promise.all([api.endpoints.list(), api.credentials.list()]);
    const endpoint = endpoints.find(one => one.id === args.params.endpointId);
    if (!endpoint) throw notFound(args);
    return {
      endpoint: {
        name: endpoint.name,
        nodeName: endpoint.nodeName,
        address: addressOf(endpoint.host, endpoint.port),
        speaksShadowsocks: endpoint.protocols.includes('shadowsocks'),
        tlsPossible: endpoint.tlsPossible,
      },
      protocols: protocolValues(endpoint),
      openTo: openToValues(endpoint, credentials[0]?.id ?? ''),
      hops: hopValues(endpoint, MAX_CHAIN_HOPS),
      credentials: credentials.map(({ id, name }) => ({ id, name })),
      allowed: maySetSettings(viewer.active.role),
      saved: new URL(args.request.url).searchParams.get('saved'),
    };
  });

export async function action(args: ActionFunctionArgs) {
  const id = args.params.endpointId ?? '';
  const form = await args.request.formData();
  const intent = form.get('intent');
  const done = () => redirect(`/endpoints/${id}?saved=${intent}`);
  if (intent === 'protocols') {
    const { values, input } = readProtocols(form, id);
    const issues = await refusedFields(args, api => api.endpoints.setProtocols(input));
    return issues ? data({ protocols: { values, problems: byField(issues) } }, { status: 400 }) : done();
  }
  if (intent === 'open-to') {
    const { values, input } = readOpenTo(form, id);
    const issues = await refusedFields(args, api => api.endpoints.setOpenTo(input));
    if (!issues) return done();
    const problems = byField(issues, path => {
      const [, field = '', at] = path;
      const entry = input.openTo?.sourceAddresses[Number(at)];
      return [String(field), entry === undefined ? '' : `“${entry}” `];
    });
    return data({ openTo: { values, problems } }, { status: 400 });
  }
  if (intent === 'chain') {
    const known = await asMember(args, async api => {
      const found = (await api.endpoints.list()).find(one => one.id === id);
      if (!found) throw notFound(args);
      return found;
    });
    const { values, input, rows } = readChain(form, known);
    const issues = await refusedFields(args, api => api.endpoints.setChain(input));
    if (!issues) return done();
    const problems = byField(issues, ([, at, field]) => [
      `hop.${rows[Number(at)] ?? 0}.${String(field)}`,
      '',
    ]);
    return data({ hops: { values, problems } }, { status: 400 });
  }
  throw notFound(args);
}

/** The first message for each field; `place` says which field a path is, and what the message begins with. */
function byField(
  issues: readonly { path: readonly PropertyKey[]; message: string }[],
  place: (path: readonly PropertyKey[]) => [field: string, begin: string] = ([field]) => [String(field), ''],
): Record<string, string> {
  const problems: Record<string, string> = {};
  for (const { path, message } of issues) {
    const [field, begin] = place(path);
    problems[field] ??= sentence(begin + message);
  }
  return problems;
}

export default function Endpoint() {
  const { endpoint, protocols, openTo, hops, credentials, allowed, saved } = useLoaderData<typeof loader>();
  const refused = useActionData<typeof action>();
  const [ofProtocols, ofOpenTo, ofHops] = [
    refused && 'protocols' in refused ? refused.protocols : undefined,
    refused && 'openTo' in refused ? refused.openTo : undefined,
    refused && 'hops' in refused ? refused.hops : undefined,
  ];
  const savedNow = (intent: string) => saved === intent && refused === undefined;
  return (
    <div className="page page-narrow">
      <header className="page-head">
        <div>
          <BackLink to="/endpoints">Endpoints</BackLink>
          <h1>{endpoint.name}</h1>
          <p>
            <span className="exact">{endpoint.address}</span> on {endpoint.nodeName}
          </p>
        </div>
      </header>
      {!allowed && <p className="note">Only owners and admins can change these settings.</p>}
      <ProtocolForm
        key={`p${JSON.stringify(protocols)}`}
        values={ofProtocols?.values ?? protocols}
        problems={ofProtocols?.problems}
        tlsPossible={endpoint.tlsPossible}
        saved={savedNow('protocols')}
        allowed={allowed}
      />
      {!endpoint.speaksShadowsocks && (
        <OpenToForm
          key={`o${JSON.stringify(openTo)}`}
          values={ofOpenTo?.values ?? openTo}
          problems={ofOpenTo?.problems}
          credentials={credentials}
          saved={savedNow('open-to')}
          allowed={allowed}
        />
      )}
      <ChainForm
        key={`c${JSON.stringify(hops)}`}
        hops={ofHops?.values ?? hops}
        problems={ofHops?.problems}
        saved={savedNow('chain')}
        allowed={allowed}
      />
    </div>
  );
}

export { ErrorView as ErrorBoundary };
