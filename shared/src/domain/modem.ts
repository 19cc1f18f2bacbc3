/** What a node says of its slots and the modems in them. Deciding those things is the agent's modem plane. */
import { z } from 'zod';
import { Count } from './usage';

export const ModemState = z.enum([
  'absent',
  'probing',
  'locked',
  'registering',
  'connected',
  'rotating',
  'recovering',
  'failed',
]);
export type ModemState = z.infer<typeof ModemState>;

/** Why a modem does not serve: a name for programs and alerts, and the words for people. Names go over the wire: only add. */
export const MODEM_CAUSES = {
  'no-sim': 'No SIM',
  'pin-needed': 'PIN needed',
  'pin-refused': 'PIN refused',
  'puk-needed': 'PUK needed',
  'sim-failed': 'SIM fails',
  'sim-out-of-credit': 'SIM out of credit',
  'captive-portal': 'Carrier shows a page of its own',
  'data-cap': 'Data cap reached',
  'registration-denied': 'Network refuses this SIM',
  'no-registration': 'No registration',
  'connection-refused': 'Data connection refused',
  'no-data-connection': 'No data connection',
  'data-dead': 'Connected, but carries nothing',
  'api-dead': 'Modem does not answer',
  'stick-hung': 'Stick hung',
  'usb-gone': 'Gone from USB',
  'hub-power': 'Hub power',
  'log-in': 'Log-in needed',
  'port-taken': 'Another program holds the modem',
  'set-up': 'Cannot be set up',
} as const;
export type ModemCause = keyof typeof MODEM_CAUSES;

/** What one attempt to bring a modem back did and came to, rung by rung. */
export const RecoveryReport = z.looseObject({
  /** UTC, epoch milliseconds, of its end. */
  at: z.int(),
  cause: z.string().max(40),
  outcome: z.enum(['mended', 'not-mended', 'given-up']),
  tookMs: Count,
  rungs: z
    .array(
      z.looseObject({
        rung: z.string().max(40),
        outcome: z.enum(['mended', 'not-mended', 'impossible', 'given-up']),
        tookMs: Count,
        /** What was seen or why it could not be done; empty when there is nothing to say. */
        evidence: z.string().max(200),
      }),
    )
    .max(8),
});
export type RecoveryReport = z.infer<typeof RecoveryReport>;

export const SlotReport = z.looseObject({
  slot: z.int().min(0).max(65_535),
  /** USB path: a slot keeps its number when the stick is swapped. */
  usbPath: z.string().max(128),
  interface: z.string().max(32).nullable(),
  /** The host's own address on the slot; flows leave from it. */
  sourceAddress: z.string().max(64).nullable(),
  state: ModemState,
  /** Why it is in that state, for people; empty when there is nothing to say. */
  reason: z.string().max(300),
  /** Name out of MODEM_CAUSES (or of a later version) when it does not serve; missing and null: none is known. */
  cause: z.string().max(40).nullable().optional(),
  /** The last attempt to bring it back. */
  recovery: RecoveryReport.nullable().optional(),
  /** Public address seen through the modem; null while unknown. */
  exitAddress: z.string().max(64).nullable(),
  /** The IPv6 address that it leaves by beside an IPv4 `exitAddress`, without a NAT; missing and null: none. */
  exitAddress6: z.string().max(64).nullable().optional(),
  imei: z.string().max(20).nullable(),
  model: z.string().max(80).nullable(),
  firmware: z.string().max(80).nullable(),
  /** Simulated by us: shown as such everywhere. */
  virtual: z.boolean(),
});
export type SlotReport = z.infer<typeof SlotReport>;

export const SlotFigures = z.looseObject({
  slot: z.int().min(0).max(65_535),
  upBytesPerSecond: Count,
  downBytesPerSecond: Count,
  openFlows: Count,
});
export type SlotFigures = z.infer<typeof SlotFigures>;
