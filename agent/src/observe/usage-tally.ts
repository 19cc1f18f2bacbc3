/**
 * Adds up, by endpoint, what the spool has committed since the agent started: for the status page and for comparing
 * with the ledger. Forgotten at the end; the spool is what is kept.
 */
import { addBytes } from '@mastline/shared/base/bytes';
import type { UsageSink } from '../ports';

export interface EndpointTally {
  endpointId: string;
  upBytes: number;
  downBytes: number;
  flows: number;
}

export interface UsageTally {
  /** The same sink, counted on the way. */
  sink: UsageSink;
  totals(): EndpointTally[];
}

export function usageTally(inner: UsageSink): UsageTally {
  const totals = new Map<string, EndpointTally>();
  return {
    sink: {
      async commit(deltas) {
        await inner.commit(deltas);
        for (const { endpointId, upBytes, downBytes, flows } of deltas) {
          const total = totals.get(endpointId) ?? { endpointId, upBytes: 0, downBytes: 0, flows: 0 };
          total.upBytes = addBytes(total.upBytes, upBytes);
          total.downBytes = addBytes(total.downBytes, downBytes);
          total.flows += flows;
          totals.set(endpointId, total);
        }
      },
      settle: () => inner.settle?.(),
    },
    totals: () => [...totals.values()].map(total => ({ ...total })),
  };
}
