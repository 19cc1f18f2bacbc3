/**
 * One modem, for its host: how it is and why, what all who use it may use together, what its box did to bring it back, and
 * whether what went over it is what was charged.
 */
import { type ActionFunctionArgs, data, type LoaderFunctionArgs, redirect } from '@remix-run/node';
import { useActionData, useLoaderData } from '@remix-run/react';
import { asMember, notFound, refusedFields } from '../api.server';
import { BackLink } from '../components/back-link';
import { ErrorView } from '../components/error-view';
import { LimitsForm } from '../components/limits-form';
import { ModemPill } from '../components/pills';
import { ReconciliationCard } from '../components/reconciliation-card';
import { RecoveryCard } from '../components/recovery-card';
import { limitsProblems, limitsValues, readLimits } from '../limits-form';
import { zoneOf } from '../look.server';
import { pageTitle } from '../page-title';
import { maySetNodes } from '../settings';

export const meta = pageTitle('Modem');

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async (api, viewer) => {
    const { slotId } = args.params;
    const node = (await api.nodes.list()).find(one => one.own && one.slots.some(s => s.slotId === slotId));
    const slot = node?.slots.find(one => one.slotId === slotId);
    if (!node || !slot) throw notFound(args);
    const zone = zoneOf(args.request);
    return {
      node: { id: node.id, name: node.name, online: node.online },
      slot: { number: slot.slot, model: slot.model, state: slot.state, reason: slot.reason },
      recoveries: await api.modems.recoveries({ slotId: slot.slotId }),
      values: limitsValues(slot.limits, zone),
      zone,
      days: await api.reconciliation.ofSlot({ slotId: slot.slotId }),
      allowed: maySetNodes(viewer.active.role),
      saved: new URL(args.request.url).searchParams.has('saved'),
    };
  });

export async function action(args: ActionFunctionArgs) {
  const slotId = args.params.slotId ?? '';
  const { values, limits, problems } = readLimits(await args.request.formData(), zoneOf(args.request));
  if (Object.keys(problems).length > 0) return data({ values, problems }, { status: 400 });
  const issues = await refusedFields(args, api => api.nodes.setSlotLimits({ slotId, limits }));
  if (issues) return data({ values, problems: limitsProblems(issues, limits) }, { status: 400 });
  return redirect(`/modems/${slotId}?saved`);
}

export default function Modem() {
  const { node, slot, recoveries, values, zone, days, allowed, saved } = useLoaderData<typeof loader>();
  const refused = useActionData<typeof action>();
  return (
    <div className="page page-narrow">
      <header className="page-head">
        <div>
          <BackLink to={`/nodes/${node.id}`}>{node.name}</BackLink>
          <h1>
            {slot.model ?? 'Modem'} in slot {slot.number}
          </h1>
          <p>Limits for everybody who uses this modem, together. A change holds for running flows, too.</p>
        </div>
        <ModemPill state={slot.state} nodeOnline={node.online} />
      </header>
      {node.online && slot.reason !== '' && <p className="note">{slot.reason}</p>}
      <LimitsForm
        key={JSON.stringify(values)}
        values={refused?.values ?? values}
        problems={refused?.problems}
        saved={saved && refused === undefined}
        zone={zone}
        allowed={allowed}
      />
      {!allowed && <p className="note">Only owners, admins and fleet operators can change limits.</p>}
      <ReconciliationCard days={days} />
      <RecoveryCard recoveries={recoveries} />
    </div>
  );
}

export { ErrorView as ErrorBoundary };
