/** From a view to the server's question. Hours always: days are made of them here, in the viewer's zone. */
import type { UsageQuestion } from './api-types';
import type { UsageView } from './usage-range';

export function questionOf(view: UsageView): UsageQuestion {
  return {
    from: view.from,
    to: view.to,
    groupBy: 'hour',
    ...(view.credentialId === undefined ? {} : { credentialId: view.credentialId }),
    ...(view.slotId === undefined ? {} : { slotId: view.slotId }),
  };
}
