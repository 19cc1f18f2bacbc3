/**
 * Upstream proxies behind the modem. One empty hop stands at the end to add the next, so that it works without a
 * script; passwords go in and never come out.
 */
import { Form } from '@remix-run/react';
import { HOP_PROTOCOLS, type HopValues, METHOD_CHOICES } from '../endpoint-form';
import { Field, Select, TextInput, useFirstProblem } from './field';
import { SaveBar } from './save-bar';

export function ChainForm(props: {
  hops: HopValues[];
  problems: Record<string, string> | undefined;
  saved: boolean;
  allowed: boolean;
}) {
  const { hops, problems } = props;
  const form = useFirstProblem(problems);
  return (
    <Form ref={form} method="post" className="card" noValidate aria-label="Chain">
      <fieldset className="settings" disabled={!props.allowed}>
        <section className="settings-part">
          <h2>Chain</h2>
          <p className="muted">
            Upstream proxies that flows pass after the modem, in this order. TCP only; a hop that fails is
            named in the answer.
          </p>
          {hops.map((hop, at) => (
            <Hop
              // Rows have no identity but their place: the empty one has no id.
              // biome-ignore lint/suspicious/noArrayIndexKey: see above
              key={at}
              hop={hop}
              at={at}
              problems={problems ?? {}}
            />
          ))}
        </section>
        {props.allowed && <SaveBar label="Save chain" saved={props.saved} intent="chain" />}
      </fieldset>
    </Form>
  );
}

function Hop({ hop, at, problems }: { hop: HopValues; at: number; problems: Record<string, string> }) {
  const name = (field: string) => `hop.${at}.${field}`;
  const own = (field: string) => ({ name: name(field), problem: problems[name(field)] });
  return (
    <fieldset className="hop">
      <legend>{hop.id === '' ? 'Add a hop' : `Hop ${at + 1}`}</legend>
      <input type="hidden" name={name('id')} value={hop.id} />
      <div className="hop-fields">
        <Field {...own('protocol')} label="Protocol">
          {input => <Select input={input} value={hop.protocol} choices={HOP_PROTOCOLS} />}
        </Field>
        <Field {...own('host')} label="Host" className="hop-host">
          {input => <TextInput {...input} defaultValue={hop.host} />}
        </Field>
        <Field {...own('port')} label="Port">
          {input => <TextInput {...input} inputMode="numeric" defaultValue={hop.port} />}
        </Field>
        <Field {...own('username')} label="User name" className="not-shadowsocks">
          {input => <TextInput {...input} defaultValue={hop.username} />}
        </Field>
        <Field {...own('method')} label="Cipher" className="only-shadowsocks">
          {input => <Select input={input} value={hop.method} choices={METHOD_CHOICES} />}
        </Field>
        <Field {...own('secret')} label="Password" className="hop-secret">
          {input => (
            <input
              className="input"
              {...input}
              type="password"
              autoComplete="new-password"
              placeholder={hop.hasSecret ? 'Stored; type to replace' : ''}
            />
          )}
        </Field>
      </div>
      {hop.id !== '' && (
        <label className="check">
          <input type="checkbox" name={name('remove')} defaultChecked={hop.remove} />
          Remove this hop
        </label>
      )}
    </fieldset>
  );
}
