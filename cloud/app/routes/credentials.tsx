/** Proxy users of the organization. Secrets are fetched one at a time, when somebody asks. */
import { formatBytes } from '@mastline/shared/base/bytes';
import type { LoaderFunctionArgs } from '@remix-run/node';
import { Link, useLoaderData } from '@remix-run/react';
import { asMember } from '../api.server';
import { CopyButton } from '../components/copy-button';
import { Empty } from '../components/empty';
import { ErrorView } from '../components/error-view';
import { Icon } from '../components/icons';
import { Moment } from '../components/moment';
import { Pill } from '../components/pills';
import { SecretBox } from '../components/secret-box';
import { TableHead } from '../components/table-head';
import { limitsSummary } from '../limits-form';
import { zoneOf } from '../look.server';
import { pageTitle } from '../page-title';
import { quotaLeft, quotaSummary } from '../quota-form';
import { maySeeSecrets } from '../secrets';

export const meta = pageTitle('Credentials');

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async (api, viewer) => ({
    credentials: (await api.credentials.list()).map(({ limits, quota, ...one }) => ({
      ...one,
      quota: quotaSummary(quota),
      usedUp: quota !== null && quotaLeft(quota) === 0,
      limits: limitsSummary(limits, zoneOf(args.request), 2),
    })),
    customer: viewer.active.kinds.includes('customer'),
    secretsAllowed: maySeeSecrets(viewer.active.role),
  }));

export default function Credentials() {
  const { credentials, customer, secretsAllowed } = useLoaderData<typeof loader>();
  return (
    <div className="page">
      <header className="page-head">
        <div>
          <h1>Credentials</h1>
          <p>User names and secrets that your programs present to endpoints</p>
        </div>
      </header>
      {!secretsAllowed && credentials.length > 0 && (
        <p className="note">
          <Icon name="credentials" size={18} />
          <span>Secrets are shown to owners and admins only. Ask one of them for the secret you need.</span>
        </p>
      )}
      {credentials.length === 0 ? (
        <NoCredentials customer={customer} />
      ) : (
        <section className="card" aria-label="Credentials">
          <table className="table table-cards">
            <TableHead
              columns={['Name', 'State', 'User name', 'Secret', 'Quota, limits', 'Today', 'Last used']}
              right={['Today', 'Last used']}
            />
            <tbody>
              {credentials.map(one => (
                <tr key={one.id}>
                  <td>
                    <Link className="quiet" to={`/usage?credential=${one.id}`} title={`Usage of ${one.name}`}>
                      {one.name}
                    </Link>
                  </td>
                  <td data-label="State">
                    <CredentialPill suspended={one.suspended} usedUp={one.usedUp} />
                  </td>
                  <td data-label="User name">
                    <span className="copyable">
                      <span className="exact">{one.username}</span>
                      <CopyButton text={one.username} what={`user name of ${one.name}`} />
                    </span>
                  </td>
                  <td data-label="Secret">
                    {secretsAllowed ? (
                      <SecretBox credentialId={one.id} name={one.name} />
                    ) : (
                      <span className="muted">hidden</span>
                    )}
                  </td>
                  <td data-label="Quota, limits">
                    <Link
                      className="limits-link"
                      to={`/credentials/${one.id}`}
                      aria-label={`Limits of ${one.name}: ${[one.quota, one.limits ?? 'none'].filter(Boolean).join(', ')}`}
                    >
                      {one.quota !== null && <span>{one.quota}</span>}
                      {(one.limits !== null || one.quota === null) && <span>{one.limits ?? 'none'}</span>}
                    </Link>
                  </td>
                  <td data-label="Today" className="right number" title="Since midnight UTC">
                    {formatBytes(one.bytesToday)}
                  </td>
                  <td data-label="Last used" className="right">
                    {one.lastUsedAt === null ? (
                      <span className="muted">never</span>
                    ) : (
                      <Moment at={one.lastUsedAt} />
                    )}
                  </td>
                </tr>
              ))}
            </tbody>
          </table>
        </section>
      )}
      <noscript>
        <p className="note">Showing and copying secrets needs JavaScript.</p>
      </noscript>
    </div>
  );
}

export { ErrorView as ErrorBoundary };

function CredentialPill({ suspended, usedUp }: { suspended: boolean; usedUp: boolean }) {
  if (suspended) return <Pill tone="bad">Suspended</Pill>;
  return usedUp ? <Pill tone="bad">Used up</Pill> : <Pill tone="ok">Active</Pill>;
}

function NoCredentials({ customer }: { customer: boolean }) {
  return (
    <Empty icon="credentials" title={customer ? 'No credentials yet' : 'No credentials in this organization'}>
      <p>
        {customer
          ? 'A credential is a user name and secret for your endpoints. Ask the operator of this service to issue one; it appears here at once.'
          : 'Credentials belong to customers. Switch to a customer organization to see its credentials.'}
      </p>
    </Empty>
  );
}
