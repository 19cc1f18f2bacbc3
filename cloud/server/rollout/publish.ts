/**
 * Keeps each node's desired state: compiles what people set, and when that differs from the newest revision writes
 * the next one, signed. Sending it is the gateway's. What a node reports back is written here too.
 */

import { parseOrExplain } from '@mastline/shared/base/problems';
import { SignedState } from '@mastline/shared/domain/desired-state';
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import type { Database } from '../db/database';
import { withTenantSql } from '../db/tenant';
import { inTransaction } from '../db/transaction';
import type { NodeIdentity } from '../fleet/node-reports';
import type { SecretStore } from '../secrets/secret-store';
import { compileContent, contentHash, payloadOf, sha256Hex } from './compile';
import { type SettingsRow, settingsColumns, settingsOf } from './settings-sql';
import type { StateSigner } from './signing';

interface NewestState {
  revision: number;
  content_hash: string;
  hash: string;
  payload: string;
  key_id: string;
  signature: string;
}

/** The newest revision of a node, made now if what people set has changed. It lies sealed: it holds keys of customers. */
export function bringUpToDate(
  { db, secrets, signer }: { db: Pick<Database, 'pool'>; secrets: SecretStore; signer: StateSigner },
  of: { nodeId: string; now: number },
): Promise<SignedState> {
  return inTransaction(db, async client => {
    // One at a time per node: revisions are counted. What is read comes after the lock, in a statement of its own.
    const { rows: nodes } = await client.query<{ organization_id: string; running_revision: number }>(
      'SELECT organization_id, running_revision FROM nodes WHERE id = $1 FOR UPDATE',
      [of.nodeId],
    );
    const [node] = nodes;
    if (node === undefined) throw new Error(`node ${of.nodeId} vanished`);
    const { rows } = await client.query<SettingsRow & { newest: NewestState | null }>(
      `SELECT (SELECT row_to_json(d) FROM (SELECT revision, content_hash, hash, payload, key_id, signature
                                             FROM desired_states WHERE node_id = $1
                                            ORDER BY revision DESC LIMIT 1) d) AS newest, ${settingsColumns('$1')}`,
      [of.nodeId],
    );
    const [row] = rows;
    if (row === undefined) throw new Error('no settings from the database');
    const content = compileContent(settingsOf(of.nodeId, row, secrets));
    const hashOfContent = contentHash(content);
    const { newest } = row;
    if (newest !== null && newest.content_hash === hashOfContent && newest.key_id === signer.keyId)
      return signedState({
        ...newest,
        keyId: newest.key_id,
        payload: openPayload(secrets, newest.payload, { nodeId: of.nodeId, revision: newest.revision }),
      });
    // A node that came from another life of this database may run a higher one, and refuses to go back.
    const revision = Math.max(newest?.revision ?? 0, node.running_revision) + 1;
    const payload = payloadOf(content, revision, of.now);
    const made = {
      revision,
      hash: sha256Hex(payload),
      keyId: signer.keyId,
      signature: signer.sign(payload),
      payload,
    };
    const state = signedState(made);
    await client.query(
      `INSERT INTO desired_states (node_id, revision, organization_id, content_hash, hash, payload, key_id, signature,
                                   created_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)`,
      [
        of.nodeId,
        revision,
        node.organization_id,
        hashOfContent,
        made.hash,
        secrets.seal(payload, payloadPurpose({ nodeId: of.nodeId, revision })),
        made.keyId,
        made.signature,
        new Date(of.now),
      ],
    );
    return state;
  });
}

/** Nodes for which something was set since then. */
export async function changedSince(db: Pick<Database, 'pool'>, since: number): Promise<string[]> {
  const { rows } = await db.pool.query<{ node_id: string }>(
    'SELECT DISTINCT node_id FROM desired_states WHERE created_at >= $1',
    [new Date(since)],
  );
  return rows.map(row => row.node_id);
}

/** What the payload of a revision is sealed for. */
const payloadPurpose = (of: { nodeId: string; revision: number }) =>
  `desired-state:${of.nodeId}:${of.revision}`;

/** Revisions from before there were secrets in them lie open, as the JSON text that they are. */
function openPayload(secrets: SecretStore, stored: string, of: { nodeId: string; revision: number }): string {
  return stored.startsWith('{') ? stored : secrets.open(stored, payloadPurpose(of));
}

function signedState(row: {
  revision: number;
  hash: string;
  keyId: string;
  signature: string;
  payload: string;
}): SignedState {
  const { revision, hash, keyId, signature, payload } = row;
  return parseOrExplain(
    SignedState,
    { revision, hash, keyId, signature, payload },
    'desired state',
    'rollout/too-large',
  );
}

/** No node gets so far by honest means; one that lies of its revision must not break a column. */
const MAX_REVISION = 2_000_000_000;
export const believable = (revision: number) => Math.min(revision, MAX_REVISION);

/** PostgreSQL's JSON takes no half of a surrogate pair. */
const wellFormed = (text: string) => Buffer.from(text, 'utf8').toString('utf8');

/** Writes a node's word on a revision. */
export async function noteStateReport(
  db: Database,
  node: NodeIdentity,
  report: UplinkBody<'state-report'>,
  now: number,
): Promise<void> {
  const problems = report.problems.map(({ code, message, endpointId }) => ({
    code: wellFormed(code),
    message: wellFormed(message),
    // Which endpoint could not be served, where the agent says so.
    endpointId: typeof endpointId === 'string' ? wellFormed(endpointId.slice(0, 64)) : null,
  }));
  await withTenantSql(db, node.organizationId, client =>
    client.query(
      `UPDATE nodes SET running_revision = $3, running_hash = $4, reported_revision = $5, reported_outcome = $6,
                        reported_problems = $7, reported_at = $8
        WHERE organization_id = $1 AND id = $2`,
      [
        node.organizationId,
        node.nodeId,
        believable(report.running.revision),
        report.running.hash,
        believable(report.revision),
        report.outcome,
        JSON.stringify(problems),
        new Date(now),
      ],
    ),
  );
}
