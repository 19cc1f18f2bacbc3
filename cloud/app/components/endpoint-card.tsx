/** One endpoint: its address, where it leaves, whether it works, and a command to try it. */
import { Link } from '@remix-run/react';
import type { EndpointView } from '../api-types';
import { addressOf, curlCommand, protocolLabel } from '../curl-command';
import { revealSecret } from '../secrets';
import { CopyButton, CopyWordButton } from './copy-button';
import { Icon } from './icons';
import { Pill, VirtualTag } from './pills';
import { ShadowsocksRow } from './shadowsocks-row';

const MASK = '••••••••';

export function EndpointCard(props: {
  endpoint: EndpointView;
  credential: { id: string; username: string } | null;
  secretsAllowed: boolean;
  echoUrl: string;
}) {
  const { endpoint, credential, secretsAllowed, echoUrl } = props;
  const address = addressOf(endpoint.host, endpoint.port);
  return (
    <li className="card endpoint" aria-label={endpoint.name}>
      <div className="endpoint-head">
        <div className="endpoint-name">
          <h2>{endpoint.name}</h2>
          {endpoint.protocols.map(protocol => (
            <span className="tag" key={protocol}>
              {protocolLabel(protocol)}
            </span>
          ))}
          {endpoint.tls !== null && (
            <span
              className="tag"
              title={endpoint.tls === 'required' ? 'Nothing is spoken without TLS' : 'With and without TLS'}
            >
              TLS
            </span>
          )}
          {endpoint.openTo !== null && (
            <span className="tag" title={endpoint.openTo.sourceAddresses.join(', ')}>
              OPEN TO {endpoint.openTo.sourceAddresses.length}
            </span>
          )}
          {endpoint.chain.length > 0 && (
            <span
              className="tag"
              title={endpoint.chain.map(hop => `${hop.protocol} ${hop.host}:${hop.port}`).join(', ')}
            >
              {endpoint.chain.length === 1 ? '1 HOP' : `${endpoint.chain.length} HOPS`}
            </span>
          )}
          {endpoint.reach === 'relay' && <span className="tag">RELAY</span>}
        </div>
        <div className="endpoint-tools">
          {!endpoint.nodeOnline ? (
            <Pill tone="bad">Offline</Pill>
          ) : endpoint.problem === null ? (
            <Pill tone="ok">Online</Pill>
          ) : (
            <Pill tone="warn">Needs attention</Pill>
          )}
          <Link
            className="button"
            to={`/endpoints/${endpoint.id}`}
            aria-label={`Settings of ${endpoint.name}`}
          >
            Settings
          </Link>
        </div>
      </div>
      {endpoint.problem !== null && (
        <p className="note note-warn endpoint-problem">
          <Icon name="alert" size={18} />
          <span>{endpoint.problem}</span>
        </p>
      )}
      <dl className="facts endpoint-facts">
        <div>
          <dt>Address</dt>
          <dd className="copyable">
            <span className="exact">{address}</span>
            <CopyButton text={address} what={`address of ${endpoint.name}`} />
          </dd>
        </div>
        <div>
          <dt>Node</dt>
          <dd className="endpoint-line">{endpoint.nodeName}</dd>
        </div>
        <div>
          <dt>{endpoint.slots.length === 1 ? 'Modem' : 'Modems'}</dt>
          {endpoint.slots.map(slot => (
            <dd className="endpoint-line" key={slot.slot}>
              <span>
                {slot.model ?? 'Unknown modem'} <span className="muted">· slot {slot.slot}</span>
              </span>
              {slot.virtual && <VirtualTag />}
            </dd>
          ))}
        </div>
        <div>
          <dt>{endpoint.slots.length === 1 ? 'Exit address' : 'Exit addresses'}</dt>
          {endpoint.slots.map(slot => (
            <dd className="copyable" key={slot.slot}>
              {slot.exitAddress === null ? (
                <span className="muted">not known yet</span>
              ) : (
                <>
                  <span className="exact">{slot.exitAddress}</span>
                  <CopyButton
                    text={slot.exitAddress}
                    what={`exit address of ${endpoint.name}, slot ${slot.slot}`}
                  />
                </>
              )}
            </dd>
          ))}
        </div>
      </dl>
      <ul className="commands">
        {endpoint.protocols.map(protocol => {
          if (protocol === 'shadowsocks')
            return (
              <ShadowsocksRow
                key={`${protocol} ${credential?.id}`}
                endpoint={endpoint}
                credential={credential}
                secretsAllowed={secretsAllowed}
              />
            );
          const command = (secret: string, username = credential?.username ?? 'USER') =>
            curlCommand({ protocol, host: endpoint.host, port: endpoint.port, username, secret, echoUrl });
          const whole = async () => {
            if (credential === null || !secretsAllowed) return command('SECRET');
            const revealed = await revealSecret(credential.id);
            return command(revealed.secret, revealed.username);
          };
          const shown = command('SECRET').replace(
            ':SECRET',
            credential === null || !secretsAllowed ? ':SECRET' : `:${MASK}`,
          );
          return (
            <li className="command" key={protocol}>
              {/* A line that scrolls must be reachable by keyboard, and a region has a name. */}
              <section
                className="command-line"
                // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls
                tabIndex={0}
                aria-label={`curl command of ${endpoint.name} over ${protocolLabel(protocol)}`}
              >
                <code>{shown}</code>
              </section>
              <CopyWordButton
                text={whole}
                what={`curl command of ${endpoint.name} over ${protocolLabel(protocol)}${secretsAllowed ? ', with the secret' : ''}`}
                label="Copy"
              />
            </li>
          );
        })}
      </ul>
    </li>
  );
}
