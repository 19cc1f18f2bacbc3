/** Which rotation methods a modem's profile names, by the profiles as they are when asked. */
import { matchProfile } from '@mastline/shared/profile/match';
import type { DriverKind, Profile } from '@mastline/shared/profile/schema';
import type { ModemIdentity } from './driver';
import type { RotationStep } from './rotation-statistics';

/** The returned function throws `profile/no-catalogue` or `profile/invalid`, and tells nothing ([]) of a modem that no profile fits. */
export function rotationLadder(
  kind: DriverKind,
  profiles: () => readonly Profile[],
): (identity: ModemIdentity) => RotationStep[] {
  return ({ model, firmware }) => {
    const fit = matchProfile(profiles(), {
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
