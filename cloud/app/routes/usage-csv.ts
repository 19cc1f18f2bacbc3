/** The usage of a view as a file: every row, exact bytes, UTC. */
import type { LoaderFunctionArgs } from '@remix-run/node';
import { asMember } from '../api.server';
import type { PortalApi, UsageQuestion, UsageView } from '../api-types';
import { csvOf } from '../csv';
import { zoneOf } from '../look.server';
import { questionOf } from '../usage-question';
import { HOUR_MS, usageView } from '../usage-range';

/** More than any spreadsheet opens; a file beyond it says so in its last line instead of eating the server. */
const MAX_ROWS = 200_000;

const HEADER = [
  'hour_utc',
  'credential_id',
  'credential',
  'node',
  'slot',
  'endpoint',
  'up_bytes',
  'down_bytes',
  'flows',
];

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async api => {
    const view = usageView(new URL(args.request.url).searchParams, Date.now(), zoneOf(args.request));
    const rows = await allRows(api, questionOf(view));
    const text = csvOf(
      HEADER,
      rows
        .slice(0, MAX_ROWS)
        .map(row => [
          new Date(row.hour).toISOString(),
          row.credentialId ?? '',
          row.credentialName,
          row.nodeName,
          row.slot,
          row.endpointName,
          row.upBytes,
          row.downBytes,
          row.flows,
        ]),
    );
    const note = rows.length > MAX_ROWS ? `# cut after ${MAX_ROWS} rows: ask for a shorter range\r\n` : '';
    const day = (ms: number) => new Date(ms).toISOString().slice(0, 10);
    return new Response(text + note, {
      headers: {
        'content-type': 'text/csv; charset=utf-8',
        'content-disposition': `attachment; filename="mastline-usage-${day(view.from)}-to-${day(view.to - 1)}.csv"`,
        'cache-control': 'no-store',
      },
    });
  });

/**
 * One answer holds a bounded number of rows: where it was cut, the range is halved until nothing is. An hour that is
 * cut by itself cannot be split further and fails, rather than leaving rows out of a file that looks whole.
 */
async function allRows(api: PortalApi, question: UsageQuestion): Promise<UsageView['rows']> {
  const answer = await api.usage.query(question);
  if (!answer.rowsCut) return [...answer.rows].sort((a, b) => a.hour - b.hour);
  const hours = Math.ceil((question.to - question.from) / HOUR_MS);
  if (hours <= 1) throw new Error(`one hour holds more usage rows than one answer can: ${question.from}`);
  const middle = question.from + Math.floor(hours / 2) * HOUR_MS;
  const early = await allRows(api, { ...question, to: middle });
  if (early.length > MAX_ROWS) return early;
  return [...early, ...(await allRows(api, { ...question, from: middle }))];
}
