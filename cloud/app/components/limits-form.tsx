/** What a credential, or a modem, may use at most. Empty fields do not limit. */
import { Form } from '@remix-run/react';
import type { LimitsField, LimitsValues, Problems } from '../limits-form';
import { Field, type FieldInput, Select, TextInput, useFirstProblem } from './field';
import { SaveBar } from './save-bar';

export function LimitsForm(props: {
  values: LimitsValues;
  problems: Problems<LimitsField> | undefined;
  saved: boolean;
  zone: string;
  allowed: boolean;
}) {
  const { values, problems = {}, zone } = props;
  const form = useFirstProblem(props.problems);
  const number = (input: FieldInput, value: string) => (
    <TextInput {...input} inputMode="decimal" placeholder="No limit" defaultValue={value} />
  );
  return (
    <Form ref={form} method="post" className="card" noValidate>
      <fieldset className="settings" disabled={!props.allowed}>
        <section className="settings-part">
          <h2>Bandwidth</h2>
          <div className="settings-fields">
            <Field name="downBytesPerSecond" label="Download, Mbit/s" problem={problems.downBytesPerSecond}>
              {input => number(input, values.downBytesPerSecond)}
            </Field>
            <Field name="upBytesPerSecond" label="Upload, Mbit/s" problem={problems.upBytesPerSecond}>
              {input => number(input, values.upBytesPerSecond)}
            </Field>
          </div>
        </section>
        <section className="settings-part">
          <h2>Flows</h2>
          <div className="settings-fields">
            <Field name="flowsPerMinute" label="New flows a minute" problem={problems.flowsPerMinute}>
              {input => number(input, values.flowsPerMinute)}
            </Field>
            <Field name="concurrentFlows" label="Flows at one time" problem={problems.concurrentFlows}>
              {input => number(input, values.concurrentFlows)}
            </Field>
            <Field name="whenFull" label="One flow too many" problem={problems.whenFull}>
              {input => (
                <Select
                  input={input}
                  value={values.whenFull}
                  choices={[
                    ['refuse', 'is refused'],
                    ['close-oldest', 'closes the oldest'],
                  ]}
                />
              )}
            </Field>
          </div>
        </section>
        <section className="settings-part">
          <h2>Where from, where to, how long</h2>
          <div className="settings-fields">
            <Field
              name="sourceAddresses"
              label="Client addresses"
              problem={problems.sourceAddresses}
              hint="Addresses and ranges, one a line: 203.0.113.7, 198.51.100.0/24"
            >
              {input => (
                <textarea
                  className="input input-tall"
                  {...input}
                  rows={3}
                  placeholder="All"
                  spellCheck={false}
                  defaultValue={values.sourceAddresses}
                />
              )}
            </Field>
            <Field name="ports" label="Target ports" problem={problems.ports} hint="Such as 443, 8000-8999">
              {input => <TextInput {...input} placeholder="All" defaultValue={values.ports} />}
            </Field>
            <Field name="expiresAt" label="Ends at" problem={problems.expiresAt} hint={`In ${zone}`}>
              {input => (
                <input className="input" {...input} type="datetime-local" defaultValue={values.expiresAt} />
              )}
            </Field>
          </div>
        </section>
        {props.allowed && <SaveBar label="Save limits" saved={props.saved} intent="limits" />}
      </fieldset>
    </Form>
  );
}
