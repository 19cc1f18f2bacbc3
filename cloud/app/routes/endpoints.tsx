/** What customers connect to, and the command that tries it. */
import type { LoaderFunctionArgs } from '@remix-run/node';
import { Form, Link, useLoaderData, useSubmit } from '@remix-run/react';
import { asMember } from '../api.server';
import { Empty } from '../components/empty';
import { EndpointCard } from '../components/endpoint-card';
import { ErrorView } from '../components/error-view';
import { Icon } from '../components/icons';
import { pageTitle } from '../page-title';
import { maySeeSecrets } from '../secrets';

export const meta = pageTitle('Endpoints');

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async (api, viewer) => {
    const [endpoints, credentials] = await Promise.all([api.endpoints.list(), api.credentials.list()]);
    const wanted = new URL(args.request.url).searchParams.get('credential');
    const chosen =
      credentials.find(one => one.id === wanted) ?? credentials.find(one => !one.suspended) ?? credentials[0];
    return {
      endpoints,
      credentials: credentials.map(({ id, name, username, suspended }) => ({
        id,
        name,
        username,
        suspended,
      })),
      chosenId: chosen?.id ?? null,
      echoUrl: args.context.echoUrl,
      kinds: viewer.active.kinds,
      secretsAllowed: maySeeSecrets(viewer.active.role),
    };
  });

export default function Endpoints() {
  const { endpoints, credentials, chosenId, echoUrl, kinds, secretsAllowed } = useLoaderData<typeof loader>();
  const submit = useSubmit();
  const chosen = credentials.find(one => one.id === chosenId) ?? null;
  return (
    <div className="page">
      <header className="page-head">
        <div>
          <h1>Endpoints</h1>
          <p>Where your programs connect, and the modems behind</p>
        </div>
        {endpoints.length > 0 && credentials.length > 0 && (
          <Form
            method="get"
            className="filter"
            onChange={event => submit(event.currentTarget, { replace: true, preventScrollReset: true })}
          >
            <label htmlFor="credential">Commands for</label>
            <select className="select" id="credential" name="credential" defaultValue={chosenId ?? undefined}>
              {credentials.map(one => (
                <option key={one.id} value={one.id}>
                  {one.name}
                  {one.suspended ? ' (suspended)' : ''}
                </option>
              ))}
            </select>
            <noscript>
              <button type="submit" className="button">
                Show
              </button>
            </noscript>
          </Form>
        )}
      </header>
      {chosen?.suspended && (
        <p className="note note-warn">
          <Icon name="alert" size={18} />
          <span>{chosen.name} is suspended: endpoints refuse it until it is released.</span>
        </p>
      )}
      {endpoints.length > 0 && chosen === null && (
        <p className="note">
          <Icon name="credentials" size={18} />
          <span>
            This organization has no credential yet, so the commands show <code>USER:SECRET</code> in its
            place.
          </span>
        </p>
      )}
      {endpoints.length === 0 ? (
        <NoEndpoints customer={kinds.includes('customer')} />
      ) : (
        <ul className="stack" aria-label="Endpoints">
          {endpoints.map(endpoint => (
            <EndpointCard
              key={endpoint.id}
              endpoint={endpoint}
              credential={chosen}
              secretsAllowed={secretsAllowed}
              echoUrl={echoUrl}
            />
          ))}
        </ul>
      )}
    </div>
  );
}

export { ErrorView as ErrorBoundary };

function NoEndpoints({ customer }: { customer: boolean }) {
  if (customer)
    return (
      <Empty icon="endpoints" title="No endpoints yet">
        <p>
          An endpoint is an address and port that leads out through a modem. Ask the operator of this service
          to open one for your organization; it appears here at once.
        </p>
      </Empty>
    );
  return (
    <Empty icon="endpoints" title="No endpoints in this organization">
      <p>Endpoints belong to customers. Switch to a customer organization to see its endpoints.</p>
      <Link className="button" to="/dashboard">
        To the dashboard
      </Link>
    </Empty>
  );
}
