/** What an endpoint speaks. What only Shadowsocks has, and what it has not, is shown and hidden by CSS. */
import { Form } from '@remix-run/react';
import { METHOD_CHOICES, type ProtocolValues, SPEAKS } from '../endpoint-form';
import { Field, Select, useFirstProblem } from './field';
import { SaveBar } from './save-bar';

export function ProtocolForm(props: {
  values: ProtocolValues;
  problems: Record<string, string> | undefined;
  tlsPossible: boolean;
  saved: boolean;
  allowed: boolean;
}) {
  const { values, problems = {} } = props;
  const form = useFirstProblem(props.problems);
  return (
    <Form ref={form} method="post" className="card protocols" noValidate aria-label="Protocols">
      <fieldset className="settings" disabled={!props.allowed}>
        <section className="settings-part">
          <h2>Protocols</h2>
          <div className="settings-fields">
            <Field name="speaks" label="Speaks" problem={problems.protocols}>
              {input => <Select input={input} value={values.speaks} choices={SPEAKS} />}
            </Field>
            <Field
              name="method"
              label="Cipher"
              className="only-shadowsocks"
              problem={problems.method}
              hint="Each credential gets a key of its own; links with it stand on the endpoints page. Another cipher makes new keys."
            >
              {input => <Select input={input} value={values.method} choices={METHOD_CHOICES} />}
            </Field>
            <Field
              name="tls"
              label="TLS"
              className="not-shadowsocks"
              problem={problems.tls}
              hint={
                props.tlsPossible
                  ? 'Accepted: clients with and without it are served. Required: nothing is spoken without it.'
                  : 'The node has no certificate. Its host can set one; then TLS can be chosen here.'
              }
            >
              {input => (
                <select
                  className="select"
                  {...input}
                  defaultValue={values.tls}
                  disabled={!props.tlsPossible && values.tls === ''}
                >
                  <option value="">Off</option>
                  <option value="optional">Accepted</option>
                  <option value="required">Required</option>
                </select>
              )}
            </Field>
          </div>
        </section>
        {props.allowed && <SaveBar label="Save protocols" saved={props.saved} intent="protocols" />}
      </fieldset>
    </Form>
  );
}
