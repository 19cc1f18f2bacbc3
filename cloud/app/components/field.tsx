/** One field of a form: label, what goes into it, a hint, and beside it what is wrong with it. */
import { type InputHTMLAttributes, type ReactNode, useEffect, useRef } from 'react';

/** What an input of the field must be given. */
export interface FieldInput {
  id: string;
  name: string;
  'aria-invalid': boolean;
  'aria-describedby': string | undefined;
}

export function Field(props: {
  /** Unique on the page, with `prefix`. */
  name: string;
  prefix?: string;
  label: string;
  hint?: ReactNode;
  problem?: string | undefined;
  className?: string;
  children: (input: FieldInput) => ReactNode;
}) {
  const { name, label, hint, problem, className } = props;
  const id = `${props.prefix ?? ''}${name}`.replaceAll('.', '-');
  const described = [hint && `${id}-hint`, problem && `${id}-problem`].filter(Boolean).join(' ');
  return (
    <div className={`field ${className ?? ''}`}>
      <label htmlFor={id}>{label}</label>
      {props.children({
        id,
        name,
        'aria-invalid': problem !== undefined,
        'aria-describedby': described === '' ? undefined : described,
      })}
      {problem && (
        <p className="field-error" id={`${id}-problem`}>
          {problem}
        </p>
      )}
      {hint && (
        <p className="field-hint" id={`${id}-hint`}>
          {hint}
        </p>
      )}
    </div>
  );
}

/** One line of text that is a setting: no browser fills it in or corrects its spelling. */
export function TextInput(
  props: FieldInput &
    Pick<InputHTMLAttributes<HTMLInputElement>, 'defaultValue' | 'inputMode' | 'placeholder'>,
) {
  return <input className="input" {...props} autoComplete="off" spellCheck={false} />;
}

/** One of several, each as value and word. */
export function Select(props: {
  input: FieldInput;
  value: string;
  choices: readonly (readonly [value: string, word: string])[];
}) {
  return (
    <select className="select" {...props.input} defaultValue={props.value}>
      {props.choices.map(([value, word]) => (
        <option key={value} value={value}>
          {word}
        </option>
      ))}
    </select>
  );
}

/** A form that goes to its first wrong field whenever it comes back refused. */
export function useFirstProblem(refused: unknown) {
  const form = useRef<HTMLFormElement>(null);
  useEffect(() => {
    if (refused) form.current?.querySelector<HTMLElement>('[aria-invalid=true]')?.focus();
  }, [refused]);
  return form;
}
