/** Who or what took how much: a short list with bars, largest first. */
import { addBytes, formatBytes } from '@mastline/shared/base/bytes';

const SHOWN = 6;

export interface Share {
  id: string;
  name: string;
  note?: string | undefined;
  upBytes: number;
  downBytes: number;
}

export function UsageShares({ title, shares }: { title: string; shares: readonly Share[] }) {
  const sorted = shares
    .map(share => ({ ...share, bytes: addBytes(share.upBytes, share.downBytes) }))
    .sort((a, b) => b.bytes - a.bytes);
  const most = Math.max(1, sorted[0]?.bytes ?? 1);
  return (
    <section className="card card-pad stack" aria-label={title}>
      <h2>{title}</h2>
      <ul className="stack">
        {sorted.slice(0, SHOWN).map(share => (
          <li key={share.id} className="share">
            <span className="share-name">
              {share.name}
              {share.note !== undefined && <span className="muted"> · {share.note}</span>}
            </span>
            <span className="number">{formatBytes(share.bytes)}</span>
            <svg className="share-bar" width="100%" height="6" aria-hidden="true" focusable="false">
              <rect className="share-ground" width="100%" height="6" />
              <rect className="chart-down" width={`${(share.downBytes / most) * 100}%`} height="6" />
              <rect
                className="chart-up"
                x={`${(share.downBytes / most) * 100}%`}
                width={`${(share.upBytes / most) * 100}%`}
                height="6"
              />
            </svg>
          </li>
        ))}
      </ul>
      {sorted.length > SHOWN && (
        <p className="muted small">and {sorted.length - SHOWN} more in the table and the CSV</p>
      )}
    </section>
  );
}
