/** One credential: what it may use at most. */
import { type ActionFunctionArgs, data, type LoaderFunctionArgs, redirect } from '@remix-run/node';
import { useActionData, useLoaderData } from '@remix-run/react';
import { asMember, notFound, refusedFields } from '../api.server';
import { BackLink } from '../components/back-link';
import { ErrorView } from '../components/error-view';
import { LimitsForm } from '../components/limits-form';
import { Pill } from '../components/pills';
import { limitsProblems, limitsValues, readLimits } from '../limits-form';
import { zoneOf } from '../look.server';
import { pageTitle } from '../page-title';
import { maySetSettings } from '../settings';

export const meta = pageTitle('Credential');

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async (api, viewer) => {
    const found = (await api.credentials.list()).find(one => one.id === args.params.credentialId);
    if (!found) throw notFound(args);
    const zone = zoneOf(args.request);
    const { name, username, suspended, limits } = found;
    return {
      credential: { name, username, suspended },
      values: limitsValues(limits, zone),
      zone,
      allowed: maySetSettings(viewer.active.role),
      saved: new URL(args.request.url).searchParams.has('saved'),
    };
  });

export async function action(args: ActionFunctionArgs) {
  const id = args.params.credentialId ?? '';
  const { values, limits, problems } = readLimits(await args.request.formData(), zoneOf(args.request));
  if (Object.keys(problems).length > 0) return data({ values, problems }, { status: 400 });
  const issues = await refusedFields(args, api => api.credentials.setLimits({ id, limits }));
  if (issues) return data({ values, problems: limitsProblems(issues, limits) }, { status: 400 });
  return redirect(`/credentials/${id}?saved`);
}

export default function Credential() {
  const { credential, values, zone, allowed, saved } = useLoaderData<typeof loader>();
  const refused = useActionData<typeof action>();
  return (
    <div className="page page-narrow">
      <header className="page-head">
        <div>
          <BackLink to="/credentials">Credentials</BackLink>
          <h1>{credential.name}</h1>
          <p>
            Limits of <span className="exact">{credential.username}</span>, over all endpoints together. A
            change holds for running flows, too.
          </p>
        </div>
        {credential.suspended && <Pill tone="bad">Suspended</Pill>}
      </header>
      <LimitsForm
        key={JSON.stringify(values)}
        values={refused?.values ?? values}
        problems={refused?.problems}
        saved={saved && refused === undefined}
        zone={zone}
        allowed={allowed}
      />
      {!allowed && <p className="note">Only owners and admins can change limits.</p>}
    </div>
  );
}

export { ErrorView as ErrorBoundary };
