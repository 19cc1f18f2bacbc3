/** Says what is being done and how long it took: one line a step, on standard error, plain when it is not a terminal. */

export interface Progress {
  /** Runs `work`; its result may carry `detail`, shown behind the title. */
  step<T>(title: string, work: () => Promise<T>, detail?: (result: T) => string): Promise<T>;
  say(line: string): void;
}

export function progress(out: NodeJS.WriteStream = process.stderr): Progress {
  const terminal = out.isTTY === true;
  return {
    async step(title, work, detail) {
      const begun = performance.now();
      if (terminal) out.write(`… ${title}`);
      const seconds = () => ((performance.now() - begun) / 1000).toFixed(1);
      try {
        const result = await work();
        const more = detail ? `: ${detail(result)}` : '';
        out.write(`${terminal ? '\r\x1b[K' : ''}✓ ${title}${more} (${seconds()} s)\n`);
        return result;
      } catch (error) {
        out.write(`${terminal ? '\r\x1b[K' : ''}✗ ${title} (${seconds()} s)\n`);
        throw error;
      }
    },
    say: line => void out.write(`${line}\n`),
  };
}

/** Rows as aligned columns, the first row being the heading. */
export function table(rows: readonly (readonly string[])[]): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, column) => {
      widths[column] = Math.max(widths[column] ?? 0, cell.length);
    });
  return rows
    .map(row =>
      row
        .map((cell, column) => cell.padEnd(widths[column] ?? 0))
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}
