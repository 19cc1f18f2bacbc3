/** One node, for its host: its certificate, its modems with their limits, and what happened. */
import { NODE_EVENTS } from '@mastline/shared/domain/node-event';
import { type ActionFunctionArgs, data, type LoaderFunctionArgs, redirect } from '@remix-run/node';
import { Form, Link, useActionData, useLoaderData } from '@remix-run/react';
import { asMember, notFound, refusedFields } from '../api.server';
import { BackLink } from '../components/back-link';
import { ErrorView } from '../components/error-view';
import { EventList } from '../components/event-list';
import { Field, TextInput, useFirstProblem } from '../components/field';
import { ModemPill } from '../components/pills';
import { SaveBar } from '../components/save-bar';
import { limitsSummary, sentence } from '../limits-form';
import { zoneOf } from '../look.server';
import { pageTitle } from '../page-title';
import { maySetNodes } from '../settings';

export const meta = pageTitle('Node');

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async (api, viewer) => {
    const node = (await api.nodes.list()).find(one => one.own && one.id === args.params.nodeId);
    if (!node) throw notFound(args);
    const zone = zoneOf(args.request);
    const query = new URL(args.request.url).searchParams;
    const severity = query.get('severity') ?? '';
    const after = query.get('after');
    const events = await api.events.list({
      nodeId: node.id,
      ...(severity === 'alarm' ? { severities: ['alarm'] } : {}),
      ...(severity === 'warning' ? { severities: ['warning', 'alarm'] } : {}),
      ...(after !== null && CURSOR.test(after) ? { after } : {}),
    });
    return {
      events: {
        rows: events.rows.map(row => ({ ...row, word: wordOf(row.kind) })),
        next: events.next,
        isNewest: after === null,
        severity: SEVERITIES.includes(severity) ? severity : '',
        dropped: events.dropped,
      },
      node: { name: node.name, online: node.online, problems: node.running.problems },
      certificate: node.certificate ?? { certFile: '', keyFile: '' },
      slots: node.slots.map(one => ({
        slotId: one.slotId,
        number: one.slot,
        model: one.model,
        state: one.state,
        limits: limitsSummary(one.limits, zone),
      })),
      allowed: maySetNodes(viewer.active.role),
      saved: new URL(args.request.url).searchParams.has('saved'),
    };
  });

const SEVERITIES = ['', 'warning', 'alarm'];
const CURSOR = /^\d{1,16}-\d{1,19}$/;

/** A kind of a later agent is shown as it is called. */
function wordOf(kind: string): string {
  return Object.hasOwn(NODE_EVENTS, kind)
    ? NODE_EVENTS[kind as keyof typeof NODE_EVENTS]
    : kind.replaceAll('-', ' ');
}

type CertificateField = 'certFile' | 'keyFile';

export async function action(args: ActionFunctionArgs) {
  const nodeId = args.params.nodeId ?? '';
  const form = await args.request.formData();
  const text = (name: CertificateField) => String(form.get(name) ?? '').trim();
  const values = { certFile: text('certFile'), keyFile: text('keyFile') };
  const certificate = values.certFile === '' && values.keyFile === '' ? null : values;
  const issues = await refusedFields(args, api => api.nodes.setCertificate({ nodeId, certificate }));
  if (!issues) return redirect(`/nodes/${nodeId}?saved`);
  const problems: Partial<Record<CertificateField, string>> = {};
  for (const { path, message } of issues)
    problems[path.includes('keyFile') ? 'keyFile' : 'certFile'] = sentence(message);
  return data({ values, problems }, { status: 400 });
}

export default function Node() {
  const { node, certificate, slots, events, allowed, saved } = useLoaderData<typeof loader>();
  const refused = useActionData<typeof action>();
  const values = refused?.values ?? certificate;
  const form = useFirstProblem(refused);
  return (
    <div className="page page-narrow">
      <header className="page-head">
        <div>
          <BackLink to="/dashboard">Dashboard</BackLink>
          <h1>{node.name}</h1>
          <p>What you, as its host, set on this node</p>
        </div>
      </header>
      {node.problems.map(problem => (
        <p className="note note-warn" key={`${problem.code} ${problem.message}`}>
          {problem.message}
        </p>
      ))}
      <section className="card" aria-labelledby="modems-title">
        <div className="settings-part">
          <h2 id="modems-title">Modems</h2>
          {slots.length === 0 && <p className="muted">This node has reported no modem yet.</p>}
          <ul className="settings-list">
            {slots.map(slot => (
              <li key={slot.slotId}>
                <div>
                  <Link to={`/modems/${slot.slotId}`}>
                    {slot.model ?? 'Modem'} in slot {slot.number}
                  </Link>
                  <p className="muted small">{slot.limits ?? 'No limits'}</p>
                </div>
                <ModemPill state={slot.state} nodeOnline={node.online} />
              </li>
            ))}
          </ul>
        </div>
      </section>
      <Form ref={form} method="post" className="card" noValidate key={JSON.stringify(certificate)}>
        <fieldset className="settings" disabled={!allowed}>
          <section className="settings-part">
            <h2>Certificate for TLS</h2>
            <p className="muted">
              Paths on the node itself, which never leave it. With a certificate there, customers can choose
              TLS for their endpoints. Replaced files are used within seconds.
            </p>
            <div className="settings-fields">
              {(
                [
                  ['certFile', 'Certificate and chain (PEM)', '/etc/ssl/mastline/proxy.pem'],
                  ['keyFile', 'Private key (PEM)', '/etc/ssl/mastline/proxy.key'],
                ] as const
              ).map(([name, label, example]) => (
                <Field key={name} name={name} label={label} problem={refused?.problems[name]}>
                  {input => <TextInput {...input} placeholder={example} defaultValue={values[name]} />}
                </Field>
              ))}
            </div>
          </section>
          {allowed && <SaveBar label="Save certificate" saved={saved && !refused} intent="certificate" />}
        </fieldset>
      </Form>
      <EventList {...events} />
    </div>
  );
}

export { ErrorView as ErrorBoundary };
