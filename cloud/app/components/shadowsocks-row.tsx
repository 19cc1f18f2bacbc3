/** How a Shadowsocks client is set up: its link to copy, its QR code to scan. Both are secrets, shown on request. */
import { useEffect, useRef, useState } from 'react';
import type { EndpointView } from '../api-types';
import { addressOf } from '../curl-command';
import { SHOWN_MS, shadowsocksAccess } from '../secrets';
import { CopyWordButton } from './copy-button';

const MASK = '••••••••';

export function ShadowsocksRow(props: {
  endpoint: EndpointView;
  credential: { id: string } | null;
  secretsAllowed: boolean;
}) {
  const { endpoint, credential, secretsAllowed } = props;
  const [picture, setPicture] = useState<string>();
  const [problem, setProblem] = useState('');
  const timer = useRef<ReturnType<typeof setTimeout>>(undefined);
  useEffect(() => () => clearTimeout(timer.current), []);
  const access = () => {
    if (credential === null) throw new Error('There is no credential to make a link for.');
    return shadowsocksAccess(endpoint.id, credential.id);
  };
  const toggle = async () => {
    clearTimeout(timer.current);
    if (picture !== undefined) return setPicture(undefined);
    setProblem('');
    try {
      const { qrSvg } = await access();
      setPicture(`data:image/svg+xml,${encodeURIComponent(qrSvg)}`);
      timer.current = setTimeout(() => setPicture(undefined), SHOWN_MS);
    } catch (error) {
      setProblem(error instanceof Error ? error.message : 'The QR code could not be shown.');
    }
  };
  const usable = credential !== null && secretsAllowed;
  return (
    <li className="command command-shadowsocks">
      {/* A line that scrolls must be reachable by keyboard, and a region has a name. */}
      <section
        className="command-line"
        // biome-ignore lint/a11y/noNoninteractiveTabindex: it scrolls
        tabIndex={0}
        aria-label={`Shadowsocks link of ${endpoint.name}`}
      >
        <code>{`ss://${endpoint.method}:${MASK}@${addressOf(endpoint.host, endpoint.port)}`}</code>
      </section>
      {usable && (
        <>
          <CopyWordButton
            text={async () => (await access()).link}
            what={`Shadowsocks link of ${endpoint.name}`}
            label="Copy link"
          />
          <button
            type="button"
            className="button"
            aria-expanded={picture !== undefined}
            onClick={() => void toggle()}
          >
            {picture === undefined ? 'QR code' : 'Hide'}
            <span className="hidden-visually"> of {endpoint.name}</span>
          </button>
        </>
      )}
      {picture !== undefined && (
        <img
          className="qr-code"
          src={picture}
          width={232}
          height={232}
          alt={`Shadowsocks link of ${endpoint.name} as a QR code; anyone who scans it can use the endpoint`}
        />
      )}
      <span role="status" className={problem === '' ? 'hidden-visually' : 'field-error'}>
        {problem || (picture === undefined ? '' : 'QR code shown')}
      </span>
    </li>
  );
}
