/** What its box did lately to bring a modem back: each attempt with its cause, each step with outcome, time and evidence. */
import type { RecoveryView } from '../api-types';
import { causeInWords, recoveryInWords, rungInWords, rungOutcomeInWords } from '../recovery';
import { secondsInWords } from '../rotation';
import { Moment } from './moment';
import { Pill } from './pills';
import { TableHead } from './table-head';

export function RecoveryCard({ recoveries }: { recoveries: readonly RecoveryView[] }) {
  return (
    <section className="card card-pad stack" aria-labelledby="recovery-title">
      <div>
        <h2 id="recovery-title">Recovery</h2>
        <p className="muted">
          {recoveries.length === 0
            ? 'Its box has not had to bring this modem back.'
            : 'What its box did when this modem did not carry, newest first.'}
        </p>
      </div>
      {recoveries.length > 0 && (
        <table className="table table-cards">
          <TableHead columns={['When', 'Cause', 'Steps', 'Outcome', 'Took']} right={['Took']} />
          <tbody>
            {recoveries.map(one => {
              const { tone, word } = recoveryInWords(one.outcome);
              return (
                <tr key={one.at}>
                  <td>
                    <Moment at={one.at} />
                  </td>
                  <td data-label="Cause">{causeInWords(one.cause)}</td>
                  <td data-label="Steps">
                    <ol className="recovery-steps">
                      {one.rungs.map((rung, i) => (
                        // Steps have no name of their own; their order is theirs for good.
                        // biome-ignore lint/suspicious/noArrayIndexKey: never reordered
                        <li key={i}>
                          {rungInWords(rung.rung)}: {rungOutcomeInWords(rung.outcome)}
                          {rung.tookMs >= 1000 && `, ${secondsInWords(rung.tookMs)}`}
                          {rung.evidence !== '' && <p className="muted small">{rung.evidence}</p>}
                        </li>
                      ))}
                    </ol>
                  </td>
                  <td data-label="Outcome">
                    <Pill tone={tone}>{word}</Pill>
                  </td>
                  <td data-label="Took" className="right number">
                    {secondsInWords(one.tookMs)}
                  </td>
                </tr>
              );
            })}
          </tbody>
        </table>
      )}
    </section>
  );
}
