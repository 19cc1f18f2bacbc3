/**
 * Which profile fits a stick. Pure: what USB and the modem say is a value, the answer is a value with its reasons.
 * Reading sysfs is the agent's discovery; asking a modem its name is its drivers'.
 *
 * USB ids alone seldom tell models apart (every HiLink stick is 12d1:14dc, EC25 and EG25-G are both 2c7c:0125). While
 * several models fit equally well, none of them is chosen: the generic profile of the driver serves until the modem
 * has said what it is.
 */
import type { DriverKind, Profile } from './schema';

export interface Fingerprint {
  /** Lower-case hex; null for a modem that is not on USB. */
  vendorId: string | null;
  productId: string | null;
  /** USB product text. */
  usbProduct: string | null;
  /** Drivers that the present ports and interfaces allow. */
  speaks: readonly DriverKind[];
  /** What the modem says of itself; null while nobody has asked. */
  identity: { model: string | null; hardware: string | null; firmware: string | null } | null;
}

export interface ProfileMatch {
  profile: Profile;
  score: number;
  /** What fitted, for the log and the doctor. */
  because: string[];
  /** Ids of models that fit equally well, when `profile` had to be the generic one for that reason. */
  undecided: string[];
}

const SCORE = { usbId: 10, usbProduct: 20, model: 50, hardware: 40, firmware: 30, generic: 1 } as const;

/** The best fit, or null when not even a generic profile can drive it. */
export function matchProfile(profiles: readonly Profile[], fingerprint: Fingerprint): ProfileMatch | null {
  const scored = profiles
    .flatMap(profile => {
      const fit = fitOf(profile, fingerprint);
      return fit === null ? [] : [{ profile, ...fit }];
    })
    .sort((a, b) => b.score - a.score || rank(fingerprint, a.profile) - rank(fingerprint, b.profile));
  const best = scored[0];
  if (!best) return null;
  if (best.profile.match.generic !== undefined) return { ...best, undecided: [] };
  const equals = scored.filter(one => one.score === best.score).map(one => one.profile.id);
  if (equals.length === 1) return { ...best, undecided: [] };
  const fallback = scored.find(one => one.profile.match.generic !== undefined);
  return fallback ? { ...fallback, undecided: equals.sort() } : null;
}

interface Fit {
  score: number;
  because: string[];
}

/** Null when something known speaks against it. */
export function fitOf(profile: Profile, fingerprint: Fingerprint): Fit | null {
  if (!profile.drivers.some(driver => fingerprint.speaks.includes(driver.kind))) return null;
  const { match } = profile;
  const fit: Fit = { score: 0, because: [] };
  const count = (points: number, why: string) => {
    fit.score += points;
    fit.because.push(why);
  };

  if (match.generic !== undefined) {
    count(SCORE.generic, `speaks ${match.generic}`);
    return fit;
  }
  const id = match.usb.find(
    one => one.vendorId === fingerprint.vendorId && one.productId === fingerprint.productId,
  );
  // A modem on USB must have one of the ids; one that is not on USB is judged by its own word.
  if (id) count(SCORE.usbId, `USB id ${id.vendorId}:${id.productId}`);
  else if (fingerprint.vendorId !== null || fingerprint.identity === null) return null;

  if (match.usbProduct.length > 0 && fingerprint.usbProduct !== null) {
    const text = fingerprint.usbProduct;
    // Absent or generic texts ("LTE Module") are common, so a different one speaks against nothing.
    if (match.usbProduct.some(pattern => fits(pattern, text)))
      count(SCORE.usbProduct, `USB product "${text}"`);
  }
  for (const field of ['model', 'hardware', 'firmware'] as const) {
    const patterns = match.identity[field];
    const said = fingerprint.identity?.[field];
    if (patterns === undefined || said === null || said === undefined) continue;
    if (!patterns.some(pattern => fits(pattern, said))) return null;
    count(SCORE[field], `${field} "${said}"`);
  }
  return fit.score === 0 ? null : fit;
}

/** Among equals: the order in which the stick offers its drivers, so that the generic choice is stable. */
function rank(fingerprint: Fingerprint, profile: Profile): number {
  const kind = profile.match.generic ?? profile.drivers[0]?.kind;
  const at = kind === undefined ? -1 : fingerprint.speaks.indexOf(kind);
  return at === -1 ? fingerprint.speaks.length : at;
}

/** Whether `text` has the form of `pattern`; `*` is any run. Linear in the text for each part: no backtracking. */
export function fits(pattern: string, text: string): boolean {
  const parts = pattern.toLowerCase().split('*');
  const said = text.trim().toLowerCase();
  const first = parts[0] ?? '';
  const last = parts[parts.length - 1] ?? '';
  if (parts.length === 1) return said === first;
  if (!said.startsWith(first)) return false;
  let at = first.length;
  for (const part of parts.slice(1, -1)) {
    const found = said.indexOf(part, at);
    if (found === -1) return false;
    at = found + part.length;
  }
  return said.length - last.length >= at && said.endsWith(last);
}
