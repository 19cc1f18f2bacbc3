/**
 * What came of giving a modem another address, as node and cloud tell each other and keep it; and when a node does so
 * by itself. Only an address that the outside sees changed is `rotated`. Doing it is the agent's modem plane.
 */
import { z } from 'zod';

/** `unavailable`: nothing was tried. */
export const RotationOutcome = z.enum(['rotated', 'collision', 'failed', 'unavailable']);
export type RotationOutcome = z.infer<typeof RotationOutcome>;

export const RotationRecord = z.looseObject({
  /** Of whoever asked first: the cloud's for its requests, else the node's. */
  id: z.uuid(),
  slot: z.int().min(0).max(65_535),
  /** Who asked, for the history: `local`, `schedule`, `credential <id>`, or what the cloud's request said. */
  askedFor: z.string().max(120),
  /** UTC epoch milliseconds of the end, by the node's corrected clock. */
  endedAt: z.int().min(0),
  outcome: RotationOutcome,
  /** Why it is not `rotated`; of one that is, what outlived its grace period, else empty. */
  reason: z.string().max(500),
  /** The method that was tried last; null when none was. */
  method: z.string().max(40).nullable(),
  /** What the outside saw before and after; null where nobody told. */
  oldAddress: z.string().max(64).nullable(),
  newAddress: z.string().max(64).nullable(),
  tookMs: z.int().min(0),
  attempts: z.int().min(0).max(1000),
  carrier: z.string().max(80).nullable(),
  /** False: the modem could not even be brought back. */
  connected: z.boolean(),
  /** Of `unavailable`: when asking again makes sense; null when that is not a matter of time. */
  retryAfterMs: z.int().min(0).nullable(),
});
export type RotationRecord = z.infer<typeof RotationRecord>;

const TimeOfDay = z.string().regex(/^(?:[01]\d|2[0-3]):[0-5]\d$/, 'must be a time of day such as "04:30"');

const TimeZone = z.string().min(1).max(64).refine(isTimeZone, 'must be a time zone such as "Europe/Berlin"');

/** Either every so many minutes, counted from the last rotation, or at times of the day. */
export const RotationSchedule = z
  .looseObject({
    /** Minutes from one rotation to the next. */
    everyMinutes: z
      .int()
      .min(1)
      .max(7 * 1440)
      .optional(),
    at: z.array(TimeOfDay).min(1).max(48).optional(),
    /** Of `at`; UTC when left out. */
    timeZone: TimeZone.optional(),
    /** Up to so many minutes later, by chance: modems of one carrier must not all leave at once. */
    jitterMinutes: z.int().min(0).max(720).optional(),
  })
  .refine(
    schedule => (schedule.everyMinutes === undefined) !== (schedule.at === undefined),
    'needs either "everyMinutes" or "at"',
  );
export type RotationSchedule = z.infer<typeof RotationSchedule>;

export const SlotSchedule = z.looseObject({
  slot: z.int().min(0).max(65_535),
  schedule: RotationSchedule,
});
export type SlotSchedule = z.infer<typeof SlotSchedule>;

function isTimeZone(name: string): boolean {
  try {
    new Intl.DateTimeFormat('en', { timeZone: name });
    return true;
  } catch (error) {
    if (error instanceof RangeError) return false;
    throw error;
  }
}
