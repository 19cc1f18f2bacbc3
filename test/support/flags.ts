/** Command lines of the programs beside the tests: a flag that is not known, or no number, ends them with a sentence and code 2. */
import { type ParseArgsConfig, parseArgs } from 'node:util';
import { messageOf } from '@mastline/shared/base/coded-error';

/** The program's flags; options as `parseArgs` takes them. */
export function readFlags<const Options extends NonNullable<ParseArgsConfig['options']>>(
  options: Options,
): ReturnType<typeof parseArgs<{ options: Options }>>['values'] {
  try {
    return parseArgs({ options }).values;
  } catch (error) {
    console.error(messageOf(error));
    const known = Object.entries(options).map(([name, { default: value }]) =>
      value === undefined || value === false ? `--${name}` : `--${name} (${String(value)})`,
    );
    console.error(`Flags: ${known.join(', ')}`);
    process.exit(2);
  }
}

/** A flag's whole number within bounds. */
export function wholeFlag(name: string, text: string, bounds: { least: number; most: number }): number {
  const value = Number(text);
  if (/^\d+$/.test(text) && value >= bounds.least && value <= bounds.most) return value;
  console.error(`--${name} must be a whole number from ${bounds.least} to ${bounds.most}, not "${text}"`);
  process.exit(2);
}
