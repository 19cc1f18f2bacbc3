/** The quota of a credential: where it stands, over all nodes together, and the form that sets it. */
import { formatBytes } from '@mastline/shared/base/bytes';
import { Form } from '@remix-run/react';
import type { CredentialView } from '../api-types';
import type { Problems } from '../limits-form';
import { type QuotaField, type QuotaValues, quotaLeft, UNITS } from '../quota-form';
import { Field, Select, TextInput, useFirstProblem } from './field';
import { Moment } from './moment';
import { Pill } from './pills';
import { SaveBar } from './save-bar';

type Quota = NonNullable<CredentialView['quota']>;

export function QuotaForm(props: {
  quota: Quota | null;
  values: QuotaValues;
  problems: Problems<QuotaField> | undefined;
  saved: boolean;
  allowed: boolean;
}) {
  const { quota, values, problems = {}, allowed } = props;
  const form = useFirstProblem(props.problems);
  return (
    <Form ref={form} method="post" className="card" noValidate aria-labelledby="quota-title">
      <section className="settings-part">
        <header className="card-head">
          <h2 id="quota-title">Quota</h2>
          {quota !== null && <State quota={quota} />}
        </header>
        {quota === null ? (
          <p className="muted">
            No quota: it may use as much as it likes. A quota counts both directions, on all nodes together,
            and ends at its byte.
          </p>
        ) : (
          <Standing quota={quota} />
        )}
      </section>
      <fieldset className="settings" disabled={!allowed}>
        <section className="settings-part">
          <div className="settings-fields">
            <Field name="amount" label="Amount" problem={problems.amount}>
              {input => (
                <span className="amount">
                  <TextInput
                    {...input}
                    inputMode="decimal"
                    placeholder="Such as 50"
                    defaultValue={values.amount}
                  />
                  <select className="select" name="unit" aria-label="Unit" defaultValue={values.unit}>
                    {Object.keys(UNITS).map(unit => (
                      <option key={unit} value={unit}>
                        {unit === 'B' ? 'bytes' : unit}
                      </option>
                    ))}
                  </select>
                </span>
              )}
            </Field>
            <Field name="period" label="For" problem={problems.period}>
              {input => (
                <Select
                  input={input}
                  value={values.period}
                  choices={[
                    ['monthly', 'each month'],
                    ['total', 'once, until it is used up'],
                  ]}
                />
              )}
            </Field>
            <Field
              name="billingDay"
              label="Anew on day"
              className="only-monthly"
              problem={problems.billingDay}
              hint="1 to 28, at 00:00 UTC"
            >
              {input => <TextInput {...input} inputMode="numeric" defaultValue={values.billingDay} />}
            </Field>
          </div>
          {quota !== null && (
            <p className="muted small">
              A changed quota keeps its count. One that is removed forgets it: the next begins at nothing.
            </p>
          )}
        </section>
        {allowed && (
          <SaveBar label={quota === null ? 'Set quota' : 'Save quota'} saved={props.saved} intent="quota">
            {quota !== null && (
              <button type="submit" name="intent" value="no-quota" className="button">
                Remove quota
              </button>
            )}
          </SaveBar>
        )}
      </fieldset>
    </Form>
  );
}

function State({ quota }: { quota: Quota }) {
  return quotaLeft(quota) === 0 ? <Pill tone="bad">Used up</Pill> : <Pill tone="ok">In use</Pill>;
}

/** What is used, what nodes have been lent of the rest, and what is left with them and here. */
function Standing({ quota }: { quota: Quota }) {
  const { bytes, used, lent, periodStart, periodEnd } = quota;
  const left = quotaLeft(quota);
  const share = (part: number) => `${Math.min(100, Math.max(0, (part / bytes) * 100))}%`;
  const facts = [
    ['Left', left],
    ['Used', used],
    ['Lent to nodes', lent],
  ] as const;
  return (
    <div className="stack">
      <svg className="share-bar" width="100%" height="8" aria-hidden="true" focusable="false">
        <rect className="share-ground" width="100%" height="8" />
        <rect className="chart-down" width={share(used)} height="8" />
        <rect className="chart-up" x={share(used)} width={share(Math.min(lent, left))} height="8" />
      </svg>
      <dl className="quota-facts">
        {facts.map(([name, value]) => (
          <div key={name}>
            <dt>
              {name !== 'Left' && <span className={name === 'Used' ? 'key key-down' : 'key key-up'} />}
              {name}
            </dt>
            <dd className="number" title={`${value.toLocaleString('en')} bytes`}>
              {formatBytes(value)}
            </dd>
          </div>
        ))}
        <div>
          <dt>Of</dt>
          <dd className="number" title={`${bytes.toLocaleString('en')} bytes`}>
            {formatBytes(bytes)}
          </dd>
        </div>
      </dl>
      <p className={left === 0 ? 'note note-bad' : 'muted small'} role={left === 0 ? 'status' : undefined}>
        <span>
          {left === 0
            ? 'Used up: running flows were ended and new ones are refused on every node, '
            : 'Counted since '}
          {left === 0 ? (
            periodEnd === null ? (
              'until the quota is made larger or removed.'
            ) : (
              <>
                until <Moment at={periodEnd} />, or until the quota is made larger or removed.
              </>
            )
          ) : (
            <>
              <Moment at={periodStart} />
              {periodEnd === null ? (
                ', once.'
              ) : (
                <>
                  , anew on <Moment at={periodEnd} />.
                </>
              )}{' '}
              What is lent is left, too: a node has it ahead, so that it can go on without asking.
            </>
          )}
        </span>
      </p>
    </div>
  );
}
