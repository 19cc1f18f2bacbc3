/**
 * Why a flow is refused, and how each protocol says so. This is the one table: whoever refuses names a reason, and
 * the wire's answer follows from it. Deciding is the gate's work; writing to a socket is the connection's.
 *
 * SOCKS5 codes: RFC 1928 section 6. HTTP statuses: RFC 9110 section 15. Every HTTP refusal carries
 * `Mastline-Error: leg=<leg>; code=<reason>`, so that programs need not read the page.
 */

/** Which leg of the journey failed: the client's side, our policy, the modem, a hop of the chain, or the target. */
export type Leg = 'client' | 'policy' | 'modem' | 'hop' | 'origin';

interface Answer {
  leg: Leg;
  /** SOCKS5 reply code. */
  socks5: number;
  /** HTTP status. */
  http: number;
  /** One sentence for the person who reads the error page. */
  page: string;
}

const SOCKS_GENERAL = 0x01;
const SOCKS_NOT_ALLOWED = 0x02;
const SOCKS_NETWORK_UNREACHABLE = 0x03;
const SOCKS_HOST_UNREACHABLE = 0x04;
const SOCKS_REFUSED = 0x05;
/** RFC 1928 calls it "TTL expired"; clients show it as a time-out, which is what we mean. */
const SOCKS_TIMED_OUT = 0x06;
const SOCKS_COMMAND_NOT_SUPPORTED = 0x07;
const SOCKS_ADDRESS_NOT_SUPPORTED = 0x08;

const answer = (leg: Leg, socks5: number, http: number, page: string): Answer => ({
  leg,
  socks5,
  http,
  page,
});

export const REFUSALS = {
  'bad-request': answer('client', SOCKS_GENERAL, 400, 'The request is malformed.'),
  'bad-framing': answer(
    'client',
    SOCKS_GENERAL,
    400,
    'The length of the request body is ambiguous or malformed.',
  ),
  'not-a-proxy-request': answer(
    'client',
    SOCKS_GENERAL,
    400,
    'This is a proxy: ask with CONNECT, or with an absolute http:// address.',
  ),
  'head-too-large': answer('client', SOCKS_GENERAL, 431, 'The request head is larger than this proxy takes.'),
  'handshake-timeout': answer('client', SOCKS_GENERAL, 408, 'The request did not arrive in time.'),
  'unsupported-protocol': answer(
    'client',
    SOCKS_GENERAL,
    400,
    'This port does not speak the protocol that the client began with.',
  ),
  'unsupported-version': answer('client', SOCKS_GENERAL, 505, 'Only HTTP/1.0 and HTTP/1.1 are spoken here.'),
  'command-not-supported': answer('policy', SOCKS_COMMAND_NOT_SUPPORTED, 501, 'This command is not offered.'),
  'address-type-not-supported': answer(
    'client',
    SOCKS_ADDRESS_NOT_SUPPORTED,
    400,
    'This kind of address is not known.',
  ),
  'credentials-required': answer(
    'client',
    SOCKS_NOT_ALLOWED,
    407,
    'User name and password of a proxy credential are required.',
  ),
  'bad-credentials': answer('policy', SOCKS_NOT_ALLOWED, 407, 'User name or password is wrong.'),
  'bad-parameter': answer('client', SOCKS_NOT_ALLOWED, 400, 'A parameter in the user name is wrong.'),
  // Shadowsocks only, where nothing is answered: these are counted.
  replayed: answer('client', SOCKS_NOT_ALLOWED, 403, 'This beginning of a stream was seen before.'),
  'clock-skew': answer('client', SOCKS_NOT_ALLOWED, 403, 'The clock of the client is more than 30 s off.'),
  suspended: answer('policy', SOCKS_NOT_ALLOWED, 403, 'This credential is suspended.'),
  'endpoint-not-allowed': answer(
    'policy',
    SOCKS_NOT_ALLOWED,
    403,
    'This credential may not use this endpoint.',
  ),
  'private-target': answer(
    'policy',
    SOCKS_NOT_ALLOWED,
    403,
    'The target is a private, local or reserved address, which is not reached from here.',
  ),
  'port-denied': answer('policy', SOCKS_NOT_ALLOWED, 403, 'This target port is not allowed.'),
  'too-many-flows': answer('policy', SOCKS_NOT_ALLOWED, 429, 'Too many connections at once.'),
  'too-many-new-flows': answer(
    'policy',
    SOCKS_NOT_ALLOWED,
    429,
    'Too many new connections within a minute for this credential.',
  ),
  'quota-exhausted': answer('policy', SOCKS_NOT_ALLOWED, 403, 'The traffic of this credential is used up.'),
  expired: answer('policy', SOCKS_NOT_ALLOWED, 403, 'This credential has expired.'),
  'source-not-allowed': answer(
    'policy',
    SOCKS_NOT_ALLOWED,
    403,
    'This credential may not be used from the address that the client has.',
  ),
  'modem-busy': answer('modem', SOCKS_GENERAL, 503, 'The modem has as many connections as it may carry.'),
  'modem-quota-exhausted': answer('modem', SOCKS_GENERAL, 503, 'The traffic of this modem is used up.'),
  draining: answer('policy', SOCKS_GENERAL, 503, 'This proxy is shutting down.'),
  'no-modem': answer('modem', SOCKS_GENERAL, 503, 'No modem of this endpoint is connected right now.'),
  'no-matching-modem': answer(
    'modem',
    SOCKS_GENERAL,
    503,
    'No connected modem of this endpoint is what the user name asks for.',
  ),
  'rotation-unavailable': answer('modem', SOCKS_GENERAL, 501, 'This modem cannot be rotated on demand.'),
  'rotation-failed': answer('modem', SOCKS_GENERAL, 503, 'The modem did not get a new address.'),
  'hop-unreachable': answer('hop', SOCKS_HOST_UNREACHABLE, 502, 'A hop of the chain cannot be reached.'),
  'hop-refused': answer('hop', SOCKS_GENERAL, 502, 'A hop of the chain refused the connection.'),
  'hop-credentials': answer('hop', SOCKS_GENERAL, 502, 'A hop of the chain did not take its credentials.'),
  'hop-protocol': answer(
    'hop',
    SOCKS_GENERAL,
    502,
    'A hop of the chain did not speak the protocol that it should.',
  ),
  'hop-timeout': answer('hop', SOCKS_TIMED_OUT, 504, 'A hop of the chain did not answer in time.'),
  'chain-invalid': answer('policy', SOCKS_GENERAL, 500, 'The chain of this endpoint is misconfigured.'),
  'modem-failed': answer('modem', SOCKS_GENERAL, 502, 'The modem could not open a connection.'),
  'network-unreachable': answer(
    'modem',
    SOCKS_NETWORK_UNREACHABLE,
    502,
    'The modem has no route to the network of the target.',
  ),
  'resolver-failed': answer(
    'modem',
    SOCKS_GENERAL,
    502,
    'The name servers of the modem gave no usable answer.',
  ),
  'resolver-timeout': answer(
    'modem',
    SOCKS_TIMED_OUT,
    504,
    'The name servers of the modem did not answer in time.',
  ),
  'name-not-found': answer(
    'origin',
    SOCKS_HOST_UNREACHABLE,
    502,
    'The name of the target does not exist, or has no address.',
  ),
  'origin-refused': answer('origin', SOCKS_REFUSED, 502, 'The target refused the connection.'),
  'origin-unreachable': answer('origin', SOCKS_HOST_UNREACHABLE, 502, 'The target cannot be reached.'),
  'origin-timeout': answer('origin', SOCKS_TIMED_OUT, 504, 'The target did not answer in time.'),
  'origin-closed': answer(
    'origin',
    SOCKS_GENERAL,
    502,
    'The target closed the connection without an answer.',
  ),
  'origin-bad-response': answer('origin', SOCKS_GENERAL, 502, 'The answer of the target is malformed.'),
} as const satisfies Record<string, Answer>;

export type RefusalReason = keyof typeof REFUSALS;

const STATUS_TEXT: Record<number, string> = {
  400: 'Bad Request',
  403: 'Forbidden',
  407: 'Proxy Authentication Required',
  408: 'Request Timeout',
  429: 'Too Many Requests',
  431: 'Request Header Fields Too Large',
  500: 'Internal Server Error',
  501: 'Not Implemented',
  502: 'Bad Gateway',
  503: 'Service Unavailable',
  504: 'Gateway Timeout',
  505: 'HTTP Version Not Supported',
};

/**
 * A SOCKS5 reply that refuses (RFC 1928 section 6). The bound address is 0.0.0.0:0: there is none.
 *
 *     +-----+-----+-------+------+----------+----------+
 *     | VER | REP |  RSV  | ATYP | BND.ADDR | BND.PORT |
 *     +-----+-----+-------+------+----------+----------+
 */
export function socks5Refusal(reason: RefusalReason): Buffer {
  return Buffer.from([0x05, REFUSALS[reason].socks5, 0x00, 0x01, 0, 0, 0, 0, 0, 0]);
}

/** What is known beyond the reason. Says nothing that the client must not know. */
export interface RefusalDetail {
  /** A sentence. */
  text: string;
  /** Which hop of the chain it was, from 1. */
  hop?: number;
}

/** The refusal as a whole HTTP/1.1 response. `keepAlive` says whether the connection may be used again. */
export function httpRefusal(
  reason: RefusalReason,
  options: { keepAlive: boolean; head?: boolean; detail?: RefusalDetail | undefined },
): Buffer {
  const { leg, http, page } = REFUSALS[reason];
  const { detail } = options;
  const body = detail ? `${page} ${detail.text}\n` : `${page}\n`;
  const lines = [
    `HTTP/1.1 ${http} ${STATUS_TEXT[http] ?? 'Error'}`,
    `Mastline-Error: leg=${leg}; code=${reason}${detail?.hop === undefined ? '' : `; hop=${detail.hop}`}`,
    'Content-Type: text/plain; charset=utf-8',
    `Content-Length: ${Buffer.byteLength(body)}`,
    'Cache-Control: no-store',
  ];
  if (http === 407) lines.push('Proxy-Authenticate: Basic realm="Mastline", charset="UTF-8"');
  lines.push(options.keepAlive ? 'Connection: keep-alive' : 'Connection: close');
  return Buffer.from(`${lines.join('\r\n')}\r\n\r\n${options.head ? '' : body}`);
}
