/**
 * The cloud's end of quota leases: answers nodes' reports, and asks nodes that have bytes when others want them or when
 * a quota was changed. Holds nothing that a restart would lose; the book is lease-store.ts.
 */
import type { Clock } from '@mastline/shared/base/clock';
import type { DownlinkBody } from '@mastline/shared/wire/downlink';
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import type { Database } from '../db/database';
import { LEASE_MS } from './lease-book';
import { settleClaim } from './lease-store';

/** The same node is not asked for the same credential's bytes more often, milliseconds. */
const CALL_GAP_MS = 250;
/** Calls remembered, to keep that gap. */
const MAX_REMEMBERED = 10_000;

/** Sends a call to a node when it is connected and takes it. */
export type CallNode = (nodeId: string, credentialIds: string[]) => void;

export class QuotaDesk {
  readonly #db: Pick<Database, 'pool'>;
  readonly #clock: Clock;
  readonly #callNode: CallNode;
  /** When a node was called last for a credential. */
  readonly #called = new Map<string, number>();

  constructor(options: { db: Pick<Database, 'pool'>; clock: Clock; callNode: CallNode }) {
    this.#db = options.db;
    this.#clock = options.clock;
    this.#callNode = options.callNode;
  }

  /** Takes a report down and answers it; throws when the database does, and then nothing of the last claim was kept. */
  async report(nodeId: string, body: UplinkBody<'quota-report'>): Promise<DownlinkBody<'quota-grant'>> {
    const leases: DownlinkBody<'quota-grant'>['leases'] = [];
    for (const { credentialId, quotaId, spent, limit, serial, wants } of body.leases) {
      const claim = { nodeId, epoch: body.epoch, spent, limit, serial, wants };
      const settled = await settleClaim(this.#db, { credentialId, quotaId }, claim, this.#clock.now());
      if (settled === null) continue;
      leases.push({ credentialId, quotaId, ...settled.answer, leaseMs: LEASE_MS });
      for (const other of settled.ask) this.#call(other, credentialId);
    }
    return { ask: body.ask, epoch: body.epoch, leases };
  }

  /** The quota of a credential was changed: these nodes shall say where they stand. */
  changed(credentialId: string, nodeIds: Iterable<string>): void {
    for (const nodeId of nodeIds) this.#callNode(nodeId, [credentialId]);
  }

  #call(nodeId: string, credentialId: string): void {
    const name = `${nodeId} ${credentialId}`;
    const now = this.#clock.monotonicMs();
    if (now - (this.#called.get(name) ?? Number.NEGATIVE_INFINITY) < CALL_GAP_MS) return;
    this.#called.delete(name);
    this.#called.set(name, now);
    if (this.#called.size > MAX_REMEMBERED) {
      const [oldest] = this.#called.keys();
      if (oldest !== undefined) this.#called.delete(oldest);
    }
    this.#callNode(nodeId, [credentialId]);
  }
}
