/** One credential: its quota, and what it may use at most at a time. Two forms, saved apart. */
import { type ActionFunctionArgs, data, type LoaderFunctionArgs, redirect } from '@remix-run/node';
import { useActionData, useLoaderData } from '@remix-run/react';
import { asMember, notFound, refusedFields } from '../api.server';
import { BackLink } from '../components/back-link';
import { ErrorView } from '../components/error-view';
import { LimitsForm } from '../components/limits-form';
import { Pill } from '../components/pills';
import { QuotaForm } from '../components/quota-form';
import { limitsProblems, limitsValues, readLimits } from '../limits-form';
import { zoneOf } from '../look.server';
import { pageTitle } from '../page-title';
import { quotaProblems, quotaValues, readQuota } from '../quota-form';
import { maySetSettings } from '../settings';

export const meta = pageTitle('Credential');

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async (api, viewer) => {
    const found = (await api.credentials.list()).find(one => one.id === args.params.credentialId);
    if (!found) throw notFound(args);
    const zone = zoneOf(args.request);
    const { name, username, suspended, limits, quota } = found;
    return {
      credential: { name, username, suspended },
      quota,
      quotaValues: quotaValues(quota),
      limits: limitsValues(limits, zone),
      zone,
      allowed: maySetSettings(viewer.active.role),
      saved: new URL(args.request.url).searchParams.get('saved'),
    };
  });

export async function action(args: ActionFunctionArgs) {
  const id = args.params.credentialId ?? '';
  const form = await args.request.formData();
  const intent = form.get('intent');
  const done = () => redirect(`/credentials/${id}?saved=${intent}`);
  if (intent === 'limits') {
    const { values, limits, problems } = readLimits(form, zoneOf(args.request));
    if (hasAny(problems)) return data({ limits: { values, problems } }, { status: 400 });
    const issues = await refusedFields(args, api => api.credentials.setLimits({ id, limits }));
    return issues
      ? data({ limits: { values, problems: limitsProblems(issues, limits) } }, { status: 400 })
      : done();
  }
  if (intent !== 'quota' && intent !== 'no-quota') throw notFound(args);
  const { values, quota, problems } = readQuota(form);
  if (intent === 'quota' && hasAny(problems)) return data({ quota: { values, problems } }, { status: 400 });
  const issues = await refusedFields(args, api =>
    api.credentials.setQuota({ id, quota: intent === 'quota' ? quota : null }),
  );
  return issues ? data({ quota: { values, problems: quotaProblems(issues) } }, { status: 400 }) : done();
}

const hasAny = (problems: object): boolean => Object.keys(problems).length > 0;

export default function Credential() {
  const { credential, quota, zone, allowed, saved, ...set } = useLoaderData<typeof loader>();
  const refused = useActionData<typeof action>();
  const ofQuota = refused && 'quota' in refused ? refused.quota : undefined;
  const ofLimits = refused && 'limits' in refused ? refused.limits : undefined;
  return (
    <div className="page page-narrow">
      <header className="page-head">
        <div>
          <BackLink to="/credentials">Credentials</BackLink>
          <h1>{credential.name}</h1>
          <p>
            Quota and limits of <span className="exact">{credential.username}</span>, over all endpoints
            together. A change holds for running flows, too.
          </p>
        </div>
        {credential.suspended && <Pill tone="bad">Suspended</Pill>}
      </header>
      {!allowed && <p className="note">Only owners and admins can change these settings.</p>}
      <QuotaForm
        key={`q${JSON.stringify(set.quotaValues)}`}
        quota={quota}
        values={ofQuota?.values ?? set.quotaValues}
        problems={ofQuota?.problems}
        saved={saved?.endsWith('quota') === true && refused === undefined}
        allowed={allowed}
      />
      <LimitsForm
        key={`l${JSON.stringify(set.limits)}`}
        values={ofLimits?.values ?? set.limits}
        problems={ofLimits?.problems}
        saved={saved === 'limits' && refused === undefined}
        zone={zone}
        allowed={allowed}
      />
    </div>
  );
}

export { ErrorView as ErrorBoundary };
