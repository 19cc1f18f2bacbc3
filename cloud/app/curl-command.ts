/** A curl command that a person can paste into a POSIX shell. Pure. */

const SCHEMES: Record<string, string> = { socks5: 'socks5h', http: 'http' };

export interface CurlTarget {
  protocol: string;
  host: string;
  port: number;
  username: string;
  secret: string;
  /** What the request asks for: an address that answers with the address it saw. */
  echoUrl: string;
}

/** `socks5h` lets the modem's side resolve the name, so that DNS leaves where the traffic leaves. */
export function curlCommand({ protocol, host, port, username, secret, echoUrl }: CurlTarget): string {
  const proxy = `${SCHEMES[protocol] ?? protocol}://${addressOf(host, port)}`;
  return `curl --proxy ${quote(proxy)} --proxy-user ${quote(`${username}:${secret}`)} ${quote(echoUrl)}`;
}

/** `198.51.100.7:1080`, `[2001:db8::7]:1080`. */
export function addressOf(host: string, port: number): string {
  return host.includes(':') ? `[${host}]:${port}` : `${host}:${port}`;
}

/** "SOCKS5", "HTTP", "Shadowsocks". */
export function protocolLabel(protocol: string): string {
  if (protocol === 'shadowsocks') return 'Shadowsocks';
  return protocol === 'socks5' || protocol === 'http' ? protocol.toUpperCase() : protocol;
}

function quote(text: string): string {
  return /^[A-Za-z0-9_./:@%+=,-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}
