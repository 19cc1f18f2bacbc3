/** Titles of pages, for tabs, history and screen readers. */

/** "Usage · Mastline"; a screen that failed says so in its title too. */
export const pageTitle =
  (name: string) =>
  ({ error }: { error?: unknown }) => [
    { title: `${error === undefined || error === null ? name : 'Problem'} · Mastline` },
  ];
