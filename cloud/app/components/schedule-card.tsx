/** When a modem changes its address by itself: in words, and as a form for those who may set it. */
import { Form, useNavigation } from '@remix-run/react';
import type { ModemDetailView } from '../api-types';
import { type ScheduleForm, scheduleInWords } from '../rotation';

export function ScheduleCard(props: {
  form: ScheduleForm;
  problems: Partial<Record<keyof ScheduleForm, string>>;
  schedule: ModemDetailView['schedule'];
  saved: boolean;
  mayChange: boolean;
}) {
  const { form, problems, schedule, saved, mayChange } = props;
  const sending = useNavigation().formData?.get('intent') === 'schedule';
  return (
    <section className="card card-pad stack" aria-labelledby="schedule-title">
      <div>
        <h2 id="schedule-title">By schedule</h2>
        <p className="muted">{scheduleInWords(schedule)}</p>
      </div>
      {mayChange && (
        // Anew when something else was saved: the fields keep what was typed otherwise.
        <Form method="post" className="stack" key={JSON.stringify(schedule)}>
          <input type="hidden" name="intent" value="schedule" />
          <fieldset className="rotation-choice">
            <legend className="hidden-visually">When</legend>
            <label>
              <input type="radio" name="when" value="never" defaultChecked={form.when === 'never'} /> Only
              when asked
            </label>
            <label>
              <input type="radio" name="when" value="every" defaultChecked={form.when === 'every'} /> Every so
              many minutes
            </label>
            <label>
              <input type="radio" name="when" value="at" defaultChecked={form.when === 'at'} /> At times of
              the day
            </label>
          </fieldset>
          <div className="rotation-fields">
            <Field
              name="everyMinutes"
              label="Minutes"
              value={form.everyMinutes}
              problem={problems.everyMinutes}
            />
            <Field name="at" label="Times of the day" value={form.at} problem={problems.at} />
            <Field
              name="timeZone"
              label="Time zone of these"
              value={form.timeZone}
              problem={problems.timeZone}
            />
            <Field
              name="jitterMinutes"
              label="Up to so many minutes later"
              value={form.jitterMinutes}
              problem={problems.jitterMinutes}
            />
          </div>
          <div className="rotation-row">
            <button type="submit" className="button" aria-disabled={sending}>
              {sending ? 'Saving…' : 'Save schedule'}
            </button>
            <span role="status" className="muted">
              {saved && !sending ? 'Saved; the node has been told.' : ''}
            </span>
          </div>
        </Form>
      )}
    </section>
  );
}

function Field(props: {
  name: keyof ScheduleForm;
  label: string;
  value: string;
  problem: string | undefined;
}) {
  const { name, label, value, problem } = props;
  const id = `schedule-${name}`;
  return (
    <div className="field">
      <label htmlFor={id}>{label}</label>
      <input
        className="input"
        id={id}
        name={name}
        defaultValue={value}
        aria-invalid={problem !== undefined}
        aria-describedby={problem === undefined ? undefined : `${id}-problem`}
      />
      {problem !== undefined && (
        <span className="field-error" id={`${id}-problem`}>
          {problem}
        </span>
      )}
    </div>
  );
}
