/** WebSocket close codes of the link (RFC 6455 section 7.4.2 leaves 4000–4999 to applications). */
export const CLOSE = {
  /** A newer authenticated session of the same node took over. Do not fight it: wait a full back-off. */
  replaced: 4001,
  /** The cloud is about to stop or to move: reconnect soon, with jitter. */
  moveAway: 4002,
  /** Protocol version not served here. */
  version: 4003,
  /** A message did not fit its schema, or came out of turn. */
  protocol: 4004,
  /** The other side was silent past its deadline. */
  silent: 4005,
  /** The node was retired: stop dialling until told otherwise by a person. */
  retired: 4006,
} as const;
