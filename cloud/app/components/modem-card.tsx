/** One modem of the dashboard: where it leaves to the world, how it is, what it carries now. */
import { formatBitRate } from '@mastline/shared/base/bytes';
import { Link } from '@remix-run/react';
import type { ModemView } from '../api-types';
import { recoveryInWords, rungInWords } from '../recovery';
import { secondsInWords } from '../rotation';
import type { Samples } from '../use-live';
import { CopyButton } from './copy-button';
import { Icon } from './icons';
import { Moment } from './moment';
import { ModemPill, VirtualTag } from './pills';
import { Sparkline } from './sparkline';

export function ModemCard({ modem, samples }: { modem: ModemView; samples: Samples }) {
  const name = `${modem.nodeName}, slot ${modem.slot}`;
  return (
    <article className="card card-pad modem" aria-label={name}>
      <header className="modem-head">
        <div>
          <h3 className="modem-name">
            {modem.model ?? 'Unknown modem'}
            {modem.virtual && <VirtualTag />}
          </h3>
          <p className="muted small">
            {modem.own ? (
              <Link className="quiet" to={`/nodes/${modem.nodeId}`}>
                {modem.nodeName}
              </Link>
            ) : (
              modem.nodeName
            )}{' '}
            · slot <span className="number">{modem.slot}</span>
            {modem.own && (
              <>
                {' · '}
                <Link className="quiet" to={`/modems/${modem.slotId}`} aria-label={`Limits of ${name}`}>
                  limits
                </Link>
              </>
            )}
          </p>
        </div>
        <ModemPill state={modem.state} nodeOnline={modem.nodeOnline} />
      </header>
      <p className="modem-reason muted small" title={modem.reason}>
        {modem.nodeOnline ? (
          modem.reason
        ) : (
          <>
            Last seen <Moment at={modem.lastSeenAt} />
          </>
        )}
      </p>
      {modem.recovery && modem.nodeOnline && (
        <RecoveryLine
          recovery={modem.recovery}
          to={modem.own ? `/modems/${modem.slotId}#recovery-title` : null}
          name={name}
        />
      )}
      <dl className="facts">
        <div>
          <dt>
            Exit address ·{' '}
            <Link
              className="quiet"
              to={`/modems/${modem.slotId}/address`}
              aria-label={`Change address of ${name}`}
            >
              change
            </Link>
          </dt>
          <dd className="copyable modem-exit">
            {modem.exitAddress === null ? (
              <span className="muted">not known yet</span>
            ) : (
              <>
                <span className="exact">{modem.exitAddress}</span>
                <CopyButton text={modem.exitAddress} what={`exit address of ${name}`} />
              </>
            )}
          </dd>
        </div>
      </dl>
      <Sparkline samples={samples} size="small" />
      <dl className="modem-rates">
        <div>
          <dt>
            <Icon name="down" size={14} />
            Down
          </dt>
          <dd className="number">{formatBitRate(modem.downBytesPerSecond * 8)}</dd>
        </div>
        <div>
          <dt>
            <Icon name="up" size={14} />
            Up
          </dt>
          <dd className="number">{formatBitRate(modem.upBytesPerSecond * 8)}</dd>
        </div>
        <div>
          <dt>Open flows</dt>
          <dd className="number">{modem.openFlows}</dd>
        </div>
      </dl>
    </article>
  );
}

/** What its box did last to bring it back. */
function RecoveryLine(props: {
  recovery: NonNullable<ModemView['recovery']>;
  /** Where all attempts are, for those who may see them. */
  to: string | null;
  name: string;
}) {
  const { recovery, to, name } = props;
  const last = recovery.rungs.at(-1);
  const how =
    last === undefined
      ? ''
      : `, last step: ${rungInWords(last.rung).toLowerCase()} (${secondsInWords(last.tookMs)})`;
  return (
    <p className="muted small" title={last?.evidence}>
      {recoveryInWords(recovery.outcome).word} <Moment at={recovery.at} />
      {how}
      {to !== null && (
        <>
          {' · '}
          <Link className="quiet" to={to} aria-label={`Recovery of ${name}`}>
            all steps
          </Link>
        </>
      )}
    </p>
  );
}
