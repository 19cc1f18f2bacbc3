/** What the System page shows. Plain JSON: instants are epoch milliseconds, bytes are safe integers. */

/** Figures of one process of the cloud. */
export interface ProcessFigures {
  sessions: number;
  /** Over the last seconds. */
  recordsPerSecond: number;
  batchesPerSecond: number;
  /** What waits for the ledger, and how long the oldest batch has. */
  waitingRecords: number;
  waitingBatches: number;
  oldestWaitingMs: number;
  /** Transactions tried again since its start. */
  retries: number;
  /** Back-pressure: bytes that wait, sockets not read for their own sake and for all others'. */
  waitingBytes: number;
  pausedSockets: number;
  heldSockets: number;
  timesHeld: number;
  databaseInUse: number;
  databaseMax: number;
  databaseWaiting: number;
  liveStreams: number;
  eventLoopP99Ms: number;
  rssBytes: number;
}

export interface ProcessView extends ProcessFigures {
  id: string;
  version: string;
  startedAt: number;
  reportedAt: number;
}

export interface JobView {
  name: string;
  everyMs: number;
  /** The newest run, in any process; null before the first. */
  startedAt: number | null;
  /** Null while it runs. */
  outcome: 'done' | 'failed' | null;
  detail: string | null;
  attempts: number;
  succeededAt: number | null;
  /** It has not succeeded for longer than it should take, or its newest run failed. */
  overdue: boolean;
}

export interface MinuteView {
  at: number;
  stored: number;
  duplicates: number;
  gaps: number;
  refused: number;
}

export interface SystemView {
  at: number;
  version: string;
  nodes: {
    connected: number;
    /** Nodes that were here within a week. */
    expected: number;
    /** Nodes that have said they have records which are not in the ledger. */
    lagging: number;
    recordsBehind: number;
    /** Since when the worst of them lags; null for none. */
    worstSince: number | null;
  };
  ingest: {
    recordsPerSecond: number;
    batchesPerSecond: number;
    /** The last hour, minute by minute without holes, the present one included. */
    minutes: MinuteView[];
    /** Batches not taken within a week, by code. */
    refusals: { code: string; batches: number }[];
  };
  processes: ProcessView[];
  jobs: JobView[];
  database: {
    kind: 'embedded' | 'server';
    bytes: number;
    /** Tables of usage with what their indexes take; partitions counted. */
    tables: { name: string; partitions: number; bytes: number; rows: number | null }[];
  };
}

export interface NodeLagView {
  nodeId: string;
  name: string;
  organization: string;
  connected: boolean;
  lastSeenAt: number | null;
  /** Records that the node has and the ledger has not, as far as the node has said. */
  behind: number;
  /** Since when usage may be missing; null when none is known to be. */
  behindSince: number | null;
  /** The minute of the newest record in the ledger. */
  lastPeriodStart: number | null;
  /** Of today, UTC. */
  duplicates: number;
  gaps: number;
  refused: number;
}

export interface NodeLagPage {
  at: number;
  nodes: NodeLagView[];
  /** Where the next page begins; null at the end. */
  next: string | null;
}
