/** The row over a list: its range as links, and choices that apply at once with a script, by a button without. */
import { Form, Link, useSubmit } from '@remix-run/react';
import type { ReactNode } from 'react';

/** `query` writes the address of a range; `at` is the present one, and makes the form anew when it changes. */
export function Filters<Range extends string>(props: {
  range: Range;
  ranges: readonly Range[];
  labels: Record<Range, string>;
  at: string;
  query: (range: Range) => string;
  children: ReactNode;
}) {
  const submit = useSubmit();
  return (
    <section className="filters" aria-label="Range and filters">
      <nav className="segments" aria-label="Range">
        {props.ranges.map(range => (
          <Link key={range} to={props.query(range)} aria-current={props.range === range} preventScrollReset>
            {props.labels[range]}
          </Link>
        ))}
      </nav>
      <Form
        method="get"
        className="filters-form"
        key={props.at}
        onChange={event => submit(event.currentTarget, { preventScrollReset: true })}
      >
        <input type="hidden" name="range" value={props.range} />
        {props.children}
        <noscript>
          <button type="submit" className="button">
            Apply
          </button>
        </noscript>
      </Form>
    </section>
  );
}

/** One of several, or all. What is chosen and not offered is offered as `gone`. */
export function Choice(props: {
  name: string;
  label: string;
  all: string;
  value: string | undefined;
  gone: string;
  children: readonly { id: string; name: string }[];
}) {
  const { name, label, all, value, gone, children } = props;
  return (
    <select className="select" name={name} aria-label={label} defaultValue={value ?? ''}>
      <option value="">{all}</option>
      {children.map(one => (
        <option key={one.id} value={one.id}>
          {one.name}
        </option>
      ))}
      {value !== undefined && !children.some(one => one.id === value) && (
        <option value={value}>{gone}</option>
      )}
    </select>
  );
}
