/** What the ledger answers. Bytes are safe integers (checked when read), instants epoch milliseconds, UTC. */
export interface UsageSum {
  upBytes: number;
  downBytes: number;
  flows: number;
}

export interface UsagePoint extends UsageSum {
  /** Start of the hour or UTC day. Buckets without usage are there with zeros. */
  start: number;
}

export interface UsageByCredential extends UsageSum {
  /** UNATTRIBUTED for usage that belongs to no credential (hosts see it, customers never). */
  credentialId: string;
  name: string;
}

export interface UsageByModem extends UsageSum {
  /** Not a UUID when the node never reported the slot: `<node id>:<slot>`. */
  slotId: string;
  nodeName: string;
  slot: number;
  model: string | null;
}

export interface UsageRow extends UsageSum {
  hour: number;
  credentialId: string;
  credentialName: string;
  slotId: string;
  nodeName: string;
  slot: number;
  endpointName: string;
}

export interface UsageView {
  series: UsagePoint[];
  byCredential: UsageByCredential[];
  byModem: UsageByModem[];
  /** Newest hour first, at most MAX_USAGE_ROWS. */
  rows: UsageRow[];
  /** True when `rows` was cut; the sums are always of everything. */
  rowsCut: boolean;
  total: UsageSum;
}

/** What has reached the ledger since an instant, by endpoint: for comparing with what clients and agents counted. */
export interface UsageSinceView {
  total: UsageSum;
  byEndpoint: (UsageSum & { endpointId: string | null; name: string })[];
}

/** In place of a credential's id. */
export const UNATTRIBUTED = 'unattributed';
export const MAX_USAGE_ROWS = 2000;
/** Longest range one query may ask for: 366 days by day, 31 days by hour. */
export const MAX_RANGE_DAYS = { day: 366, hour: 31 } as const;
