/** What the operator tells of a SIM: its PIN, and how much data it may use. Part of the node's configuration file. */
import { z } from 'zod';

export const DataCap = z.strictObject({
  /** 10^6 bytes, as carriers count. */
  megabytes: z.int().min(1).max(100_000_000),
  /** Day of the month on which the carrier's period begins; the last of the month where it has no such day. */
  billingDay: z.int().min(1).max(31).default(1),
});
export type DataCap = z.infer<typeof DataCap>;

export const SimSettings = z
  .strictObject({
    /** The SIM by its number, wherever it is; goes before a line with a slot. */
    iccid: z
      .string()
      .regex(/^\d{18,22}[fF]?$/, 'must be the 18 to 22 digits on the SIM')
      .optional(),
    /** Or whatever SIM is in this slot. */
    slot: z.int().min(0).max(65_535).optional(),
    /** Tried once; a PIN that the SIM refuses is never tried again. */
    pin: z
      .string()
      .regex(/^\d{4,8}$/, 'must have 4 to 8 digits')
      .optional(),
    dataCap: DataCap.optional(),
  })
  .refine(
    sim => (sim.iccid === undefined) !== (sim.slot === undefined),
    'needs "iccid" or "slot", and not both',
  );
export type SimSettings = z.infer<typeof SimSettings>;

/** The settings for the SIM with `iccid` (null: not known) in `slot`. */
export function settingsOf(
  sims: readonly SimSettings[],
  { iccid, slot }: { iccid: string | null; slot: number },
): SimSettings | undefined {
  const same = (one: SimSettings) =>
    iccid !== null && one.iccid !== undefined && plain(one.iccid) === plain(iccid);
  return sims.find(same) ?? sims.find(one => one.slot === slot);
}

/** Some modems tell the filler digit at the end. */
function plain(iccid: string): string {
  return iccid.replace(/[fF]$/, '');
}
