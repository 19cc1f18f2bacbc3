/** What a procedure stands on: the viewer (already resolved) and the services of this process. */
import type { Clock } from '@mastline/shared/base/clock';
import type { Cluster } from '../cluster/cluster';
import type { EventRate } from '../connections/event-rate';
import type { Database } from '../db/database';
import type { Presence } from '../fleet/presence';
import type { RotationOrders } from '../fleet/rotation-orders';
import type { SeenNotes } from '../fleet/seen-notes';
import type { Viewer } from '../identity/viewer';
import type { Job } from '../jobs/job-runner';
import type { BatchWriter } from '../ledger/batch-writer';
import type { IngestWatch } from '../ledger/ingest-watch';
import type { Log } from '../log';
import type { Tallies } from '../observe/tallies';
import type { QuotaDesk } from '../quota/quota-desk';
import type { SecretStore } from '../secrets/secret-store';

export interface Services {
  db: Database;
  secrets: SecretStore;
  /** Which nodes are connected, and their figures of the moment. */
  presence: Presence;
  /** The way of usage into the ledger: groups the batches of all sessions. */
  usage: BatchWriter;
  /** What came of batches, per node: for those who watch. */
  watch: IngestWatch;
  seen: SeenNotes;
  /** How much of what nodes remember is taken. */
  eventRate: EventRate;
  /** Rotations that nodes were asked for. */
  rotations: RotationOrders;
  /** This process among the others, if there are others. */
  cluster: Pick<Cluster, 'told' | 'figures'>;
  /** Lends quotas to nodes. */
  quotas: QuotaDesk;
  clock: Clock;
  log: Log;
  /** What this process counts of itself. */
  tallies: Tallies;
  /** What this cloud does by itself, and how often. */
  jobs(): readonly Pick<Job, 'name' | 'everyMs'>[];
  /** To be called after the commit of what people set: these nodes have become something else. Never rejects. */
  settingsChanged(nodeIds: readonly string[]): Promise<void>;
}

export interface RpcContext {
  services: Services;
  viewer: Viewer | null;
  /** The session's stored id, for switching organization; null without a session. */
  sessionId: string | null;
  requestId: string;
}
