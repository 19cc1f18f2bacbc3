/** Which rotation methods a modem's profile names: read when first asked for, from the profiles that come with the program. */
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import { matchProfile } from '@mastline/shared/profile/match';
import type { DriverKind, Profile } from '@mastline/shared/profile/schema';
import type { ModemIdentity } from './driver';
import type { RotationStep } from './rotation-statistics';

/** The returned function throws `profile/no-catalogue` or `profile/invalid`, and tells nothing ([]) of a modem that no profile fits. */
export function rotationLadder(kind: DriverKind): (identity: ModemIdentity) => RotationStep[] {
  let profiles: Profile[] | null = null;
  return ({ model, firmware }) => {
    profiles ??= loadCatalogue();
    const fit = matchProfile(profiles, {
      vendorId: null,
      productId: null,
      usbProduct: null,
      speaks: [kind],
      identity: { model, hardware: null, firmware },
    });
    return (fit?.profile.rotation ?? []).map(({ method, dwellSeconds, expectSeconds }) => ({
      method,
      dwellSeconds,
      expectSeconds,
    }));
  };
}
