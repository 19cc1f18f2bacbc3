/** A modem's last days counted three ways: by the ledger, by the agent, by the modem's interface; alarms in words. */
import { formatBytes } from '@mastline/shared/base/bytes';
import type { SlotDayView } from '../api-types';
import { formatDay } from '../time';
import { BytesCell } from './bytes-cell';
import { Pill } from './pills';
import { TableHead } from './table-head';

const STATES: Record<SlotDayView['state'], { tone: 'ok' | 'bad' | 'busy' | 'idle'; word: string }> = {
  running: { tone: 'idle', word: 'Under way' },
  waiting: { tone: 'busy', word: 'Records to come' },
  even: { tone: 'ok', word: 'Even' },
  alarm: { tone: 'bad', word: 'Look at it' },
};

export function ReconciliationCard({ days }: { days: readonly SlotDayView[] }) {
  const alarms = days.filter(day => day.state === 'alarm');
  return (
    <section className="card" aria-labelledby="reconciliation-title">
      <header className="table-head reconciliation-head">
        <h2 id="reconciliation-title">Counted three ways</h2>
        <p className="muted small">
          What was charged, what the agent relayed, and what went over the modem without headers and the
          agent’s own traffic. By UTC day; over 1 % apart is an alarm.
        </p>
      </header>
      {alarms.map(day => (
        <p key={day.day} className="note note-bad reconciliation-alarm" role="status">
          {formatDay(day.day, 'UTC')}: {signed(day.difference)} ({share(day)}). {day.why}
        </p>
      ))}
      {days.length === 0 ? (
        <p className="muted card-pad">The node has not told any day yet.</p>
      ) : (
        <table className="table table-dense table-cards reconciliation-days">
          <TableHead
            columns={['Day', 'Ledger', 'Relayed', 'Modem', 'Difference', 'Unattributed', 'State']}
            right={['Ledger', 'Relayed', 'Modem', 'Difference', 'Unattributed']}
          />
          <tbody>
            {days.map(day => (
              <Day key={day.day} day={day} />
            ))}
          </tbody>
        </table>
      )}
    </section>
  );
}

function Day({ day }: { day: SlotDayView }) {
  const { tone, word } = STATES[day.state] ?? { tone: 'idle', word: day.state };
  return (
    <tr>
      <td>
        <time className="number" dateTime={new Date(day.day).toISOString().slice(0, 10)}>
          {formatDay(day.day, 'UTC')}
        </time>
      </td>
      <BytesCell label="Ledger" bytes={day.ledger} />
      <BytesCell label="Relayed" bytes={day.relayed} />
      {day.carried === null ? (
        <td data-label="Modem" className="right muted" title="This modem has no interface to look at">
          –
        </td>
      ) : (
        <BytesCell label="Modem" bytes={day.carried} />
      )}
      <td
        data-label="Difference"
        className="right number"
        title={`${day.difference.toLocaleString('en')} bytes, ${share(day)}`}
      >
        {signed(day.difference)}
      </td>
      <BytesCell label="Unattributed" bytes={day.unattributed} />
      <td data-label="State">
        <Pill tone={tone}>{word}</Pill>
      </td>
    </tr>
  );
}

/** "+1.2 MB": more was carried than charged; "−1.2 MB": the other way round. */
function signed(bytes: number): string {
  const sign = bytes > 0 ? '+' : bytes < 0 ? '−' : '';
  return `${sign}${formatBytes(Math.abs(bytes))}`;
}

function share(day: SlotDayView): string {
  const base = Math.max(day.ledger, day.ledger + day.difference);
  return base === 0 ? '0 %' : `${((Math.abs(day.difference) / base) * 100).toFixed(2)} %`;
}
