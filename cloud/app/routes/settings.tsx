/** Settings of the organization: how long what nodes remember is kept, and what they may say of targets. */
import { type ActionFunctionArgs, data, type LoaderFunctionArgs, redirect } from '@remix-run/node';
import { Form, useActionData, useLoaderData } from '@remix-run/react';
import { asMember, refusedFields } from '../api.server';
import { ErrorView } from '../components/error-view';
import { Field, TextInput, useFirstProblem } from '../components/field';
import { SaveBar } from '../components/save-bar';
import {
  logFieldsOf,
  logSettingsProblems,
  logSettingsValues,
  POLICIES,
  readLogSettings,
} from '../log-settings-form';
import { pageTitle } from '../page-title';
import { maySetSettings } from '../settings';

export const meta = pageTitle('Settings');

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async (api, { active }) => ({
    name: active.name,
    fields: logFieldsOf(active.kinds),
    values: logSettingsValues(await api.connections.settings()),
    allowed: maySetSettings(active.role),
    saved: new URL(args.request.url).searchParams.has('saved'),
  }));

export async function action(args: ActionFunctionArgs) {
  const form = await args.request.formData();
  const before = await asMember(args, api => api.connections.settings());
  const { values, settings } = readLogSettings(form, before);
  const issues = await refusedFields(args, api => api.connections.setSettings(settings));
  if (issues) return data({ values, problems: logSettingsProblems(issues) }, { status: 400 });
  return redirect('/settings?saved');
}

export default function Settings() {
  const { name, allowed } = useLoaderData<typeof loader>();
  return (
    <div className="page page-narrow">
      <header className="page-head">
        <div>
          <h1>Settings</h1>
          <p>What {name} decides for all its people</p>
        </div>
      </header>
      {!allowed && <p className="note">Only owners and admins can change these settings.</p>}
      <LogSettingsForm />
    </div>
  );
}

export { ErrorView as ErrorBoundary };

function LogSettingsForm() {
  const { fields, values: set, allowed, saved } = useLoaderData<typeof loader>();
  const refused = useActionData<typeof action>();
  const { values = set, problems = {} } = refused ?? {};
  const form = useFirstProblem(refused);
  const days = (name: 'connectionLogDays' | 'eventDays', label: string) => (
    <Field name={name} label={label} problem={problems[name]} hint="1 to 365">
      {input => <TextInput {...input} inputMode="numeric" defaultValue={values[name]} />}
    </Field>
  );
  return (
    <Form ref={form} method="post" className="card" noValidate key={JSON.stringify(set)}>
      <fieldset className="settings" disabled={!allowed}>
        {fields.log && (
          <section className="settings-part">
            <h2>Connection log</h2>
            <p className="muted">
              Who connected when, how much and how it ended, never what was carried. Lines that are older than
              this are removed within the hour, for good; a shorter time holds for those that are there, too.
            </p>
            <div className="settings-fields">{days('connectionLogDays', 'Kept for, days')}</div>
            <fieldset className="choices" aria-describedby="destinations-hint">
              <legend>What lines say of the target</legend>
              {Object.entries(POLICIES).map(([policy, { word, note }]) => (
                <label key={policy} className="choice">
                  <input
                    type="radio"
                    name="destinations"
                    value={policy}
                    defaultChecked={values.destinations === policy}
                  />
                  <span>
                    {word}
                    <span className="muted small">{note}</span>
                  </span>
                </label>
              ))}
              <p className="field-hint" id="destinations-hint">
                Holds for flows that end from now on. What is kept already stays as it is.
              </p>
              {problems.destinations && <p className="field-error">{problems.destinations}</p>}
            </fieldset>
          </section>
        )}
        {fields.events && (
          <section className="settings-part">
            <h2>Events of nodes</h2>
            <p className="muted">
              What happened on your nodes: changes of modems, rotations, refused logins. Older ones are
              removed within the hour, for good.
            </p>
            <div className="settings-fields">{days('eventDays', 'Events kept for, days')}</div>
          </section>
        )}
        {allowed && <SaveBar label="Save settings" saved={saved && !refused} intent="log" held="Saved." />}
      </fieldset>
    </Form>
  );
}
