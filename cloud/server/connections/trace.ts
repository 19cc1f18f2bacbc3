/**
 * From an exit address and an instant to the credentials that used it: what an abuse desk asks. For operators, and each
 * question is written down. How exact the answer is depends on what customers let nodes say of their targets: without
 * it, everybody who used the address at that time is named.
 */
import { isIPv6, SocketAddress } from 'node:net';
import { CodedError } from '@mastline/shared/base/coded-error';
import { recordAudit } from '../audit/record';
import { countOf } from '../db/counts';
import { withTenant } from '../db/tenant';
import { inTransaction } from '../db/transaction';
import type { Viewer } from '../identity/viewer';
import type { Services } from '../rpc/context';
import { selectTrace } from './query-sql';
import { MAX_TRACE_ROWS, type TraceView } from './views';

/** Clocks of those who complain are not exact either. */
export const DEFAULT_WINDOW_MS = 60_000;
export const MAX_WINDOW_MS = 3_600_000;

export interface TraceAsk {
  address: string;
  /** UTC epoch milliseconds. */
  at: number;
  /** Before and after it. */
  windowMs: number;
  /** Of the target, as the complaint names it: a name or an address. */
  host?: string | undefined;
  port?: number | undefined;
  /** That the target saw; the same as here only where no NAT is in between. */
  sourcePort?: number | undefined;
}

/** Flows through the slots that had the address then, oldest first; `cut` says whether there were more. */
export async function trace(
  services: Services,
  viewer: Viewer,
  ask: TraceAsk,
): Promise<{ rows: TraceView[]; cut: boolean }> {
  const { active, user } = viewer;
  if (!active.kinds.includes('operator'))
    throw new CodedError('identity/not-permitted', `${active.id} asked for a trace`, {
      userMessage: 'Only operators can find out who used an address.',
    });
  await withTenant(services.db, active.id, store =>
    recordAudit(store, {
      organizationId: active.id,
      at: services.clock.now(),
      actor: { kind: 'user', id: user.id },
      action: 'connection.trace',
      subject: { kind: 'address', id: ask.address },
      details: JSON.parse(JSON.stringify(ask)),
    }),
  );
  const rows = await inTransaction(services.db, client =>
    selectTrace(
      client,
      {
        address: spelled(ask.address),
        from: new Date(ask.at - ask.windowMs),
        to: new Date(ask.at + ask.windowMs),
        host: ask.host ?? null,
        port: ask.port ?? null,
        sourcePort: ask.sourcePort ?? null,
      },
      MAX_TRACE_ROWS + 1,
    ),
  );
  return {
    cut: rows.length > MAX_TRACE_ROWS,
    rows: rows.slice(0, MAX_TRACE_ROWS).map(row => ({
      startedAt: row.ended_at.getTime() - countOf(row.took_ms),
      endedAt: row.ended_at.getTime(),
      organizationId: row.organization_id,
      organizationName: row.organization_name,
      credentialId: row.credential_id,
      credentialName: row.credential_name,
      nodeId: row.node_id,
      nodeName: row.node_name,
      slot: row.slot ?? 0,
      protocol: row.protocol,
      outcome: row.outcome,
      upBytes: countOf(row.up_bytes),
      downBytes: countOf(row.down_bytes),
      host: row.host,
      address: row.address,
      port: row.port,
      sourcePort: row.source_port,
    })),
  };
}

/** IPv6 has many spellings of one address; nodes report the shortest (RFC 5952). */
function spelled(address: string): string {
  return isIPv6(address) ? new SocketAddress({ address, family: 'ipv6' }).address : address;
}
