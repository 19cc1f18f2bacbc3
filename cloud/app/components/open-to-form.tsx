/** Whom an endpoint serves without a login, and whose usage that is. */
import { Form } from '@remix-run/react';
import type { OpenToValues } from '../endpoint-form';
import { Field, useFirstProblem } from './field';
import { SaveBar } from './save-bar';

export function OpenToForm(props: {
  values: OpenToValues;
  problems: Record<string, string> | undefined;
  credentials: { id: string; name: string }[];
  saved: boolean;
  allowed: boolean;
}) {
  const { values, problems = {}, credentials } = props;
  const form = useFirstProblem(props.problems);
  return (
    <Form ref={form} method="post" className="card" noValidate aria-label="Without a login">
      <fieldset className="settings" disabled={!props.allowed}>
        <section className="settings-part">
          <h2>Without a login</h2>
          <p className="muted">
            For programs that cannot send a password, such as browsers with SOCKS5: clients from these
            addresses are served as the credential below. Leave it empty to ask everybody for a login.
          </p>
          <div className="settings-fields">
            <Field
              name="sourceAddresses"
              label="Addresses"
              problem={problems.sourceAddresses}
              hint="Addresses and ranges, one a line: 203.0.113.7, 198.51.100.0/24"
            >
              {input => (
                <textarea
                  className="input input-tall"
                  {...input}
                  rows={3}
                  spellCheck={false}
                  defaultValue={values.sourceAddresses}
                />
              )}
            </Field>
            <Field name="credentialId" label="Served as" problem={problems.credentialId}>
              {input => (
                <select className="select" {...input} defaultValue={values.credentialId}>
                  {credentials.map(({ id, name }) => (
                    <option key={id} value={id}>
                      {name}
                    </option>
                  ))}
                </select>
              )}
            </Field>
          </div>
        </section>
        {props.allowed && <SaveBar label="Save addresses" saved={props.saved} intent="open-to" />}
      </fieldset>
    </Form>
  );
}
