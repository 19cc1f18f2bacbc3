/** Which recovery rungs a modem's profile names, with their budgets. A modem that tells nothing of itself has the generic ladder of its kind. */
import { matchProfile } from '@mastline/shared/profile/match';
import type { DriverKind, Profile } from '@mastline/shared/profile/schema';
import type { ModemIdentity } from '../driver';
import type { RungBudget } from './plan';

/** The returned function throws what `profiles` throws. */
export function recoveryLadder(
  profiles: () => readonly Profile[],
): (kind: DriverKind, identity: ModemIdentity) => RungBudget[] {
  return (kind, { model, firmware }) => {
    const fit = matchProfile(profiles(), {
      vendorId: null,
      productId: null,
      usbProduct: null,
      speaks: [kind],
      identity: { model, hardware: null, firmware },
    });
    return (fit?.profile.recovery ?? []).map(({ rung, budgetSeconds }) => ({ rung, budgetSeconds }));
  };
}
