/** The connections of a view as a file: the newest of them, exact bytes, UTC. */
import type { LoaderFunctionArgs } from '@remix-run/node';
import { asMember } from '../api.server';
import { logQuestion, logView } from '../connections-view';
import { csvOf } from '../csv';

const HEADER = [
  ...[
    'ended_at_utc',
    'started_at_utc',
    'credential_id',
    'credential',
    'endpoint',
    'node',
    'slot',
    'protocol',
  ],
  ...['outcome', 'times', 'host', 'address', 'port', 'up_bytes', 'down_bytes', 'took_ms'],
];

export const loader = (args: LoaderFunctionArgs) =>
  asMember(args, async api => {
    const view = logView(new URL(args.request.url).searchParams);
    const now = Date.now();
    const { rows, cut } = await api.connections.export(logQuestion(view, now));
    const text = csvOf(
      HEADER,
      rows.map(row => [
        new Date(row.endedAt).toISOString(),
        new Date(row.endedAt - row.tookMs).toISOString(),
        row.credentialId,
        row.credentialName,
        row.endpointName,
        row.nodeName,
        row.slot ?? '',
        row.protocol,
        row.outcome,
        row.times,
        row.host ?? '',
        row.address ?? '',
        row.port ?? '',
        row.upBytes,
        row.downBytes,
        row.tookMs,
      ]),
    );
    const note = cut ? `# cut after ${rows.length} rows: ask for a shorter range\r\n` : '';
    return new Response(text + note, {
      headers: {
        'content-type': 'text/csv; charset=utf-8',
        'content-disposition': `attachment; filename="mastline-connections-${new Date(now).toISOString().slice(0, 10)}.csv"`,
        'cache-control': 'no-store',
      },
    });
  });
