/**
 * Keeps each node's desired state: compiles what people set, and when that differs from the newest revision writes
 * the next one, signed. Sending it is the gateway's. What a node reports back is written here too.
 */

import { parseOrExplain } from '@mastline/shared/base/problems';
import { SignedState } from '@mastline/shared/domain/desired-state';
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import type pg from 'pg';
import type { Database } from '../db/database';
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

interface StateRow extends SettingsRow {
  node_id: string;
  newest: NewestState | null;
}

/** What became of one node: its state, or why it has none. One node's settings never stand in another's way. */
export type NewestOf = { state: SignedState } | { error: unknown };

interface Making {
  db: Pick<Database, 'pool'>;
  secrets: SecretStore;
  signer: StateSigner;
}

/** The newest revision of a node, made now if what people set has changed. It lies sealed: it holds keys of customers. */
export async function bringUpToDate(
  making: Making,
  of: { nodeId: string; now: number },
): Promise<SignedState> {
  const [newest] = await bringAllUpToDate(making, { nodeIds: [of.nodeId], now: of.now });
  if (newest === undefined) throw new Error('no answer for a node');
  if ('error' in newest) throw newest.error;
  return newest.state;
}

/** The same for several nodes in one transaction; one answer each, in their order. Rejects when the database fails. */
export function bringAllUpToDate(
  making: Making,
  of: { nodeIds: readonly string[]; now: number },
): Promise<NewestOf[]> {
  return inTransaction(making.db, async client => {
    // One at a time per node: revisions are counted. What is read comes after the locks, in a statement of its own.
    const { rows: nodes } = await client.query<NodeRow>(
      `SELECT id, organization_id, running_revision FROM nodes WHERE id = ANY ($1::uuid[])
        ORDER BY id FOR NO KEY UPDATE`,
      [of.nodeIds],
    );
    const { rows } = await client.query<StateRow>(
      `SELECT x.node_id, (SELECT row_to_json(d) FROM (SELECT revision, content_hash, hash, payload, key_id, signature
                                                        FROM desired_states s WHERE s.node_id = x.node_id
                                                       ORDER BY revision DESC LIMIT 1) d) AS newest,
              ${settingsColumns('x.node_id')}
         FROM unnest($1::uuid[]) AS x (node_id)`,
      [nodes.map(each => each.id)],
    );
    const settings = new Map(rows.map(row => [row.node_id, row]));
    const made: MadeState[] = [];
    const found = new Map<string, NewestOf>(
      nodes.map(node => [node.id, newestOf(making, { node, row: settings.get(node.id), now: of.now, made })]),
    );
    if (made.length > 0) await insertStates(client, made, new Date(of.now));
    return of.nodeIds.map(id => found.get(id) ?? { error: new Error(`node ${id} vanished`) });
  });
}

interface NodeRow {
  id: string;
  organization_id: string;
  running_revision: number;
}

interface MadeState {
  node: NodeRow;
  contentHash: string;
  state: SignedState;
  /** The payload as it is stored. */
  sealed: string;
}

/** The newest state of one node; one that has to be made is also put to `made`, to be written. */
function newestOf(
  { secrets, signer }: Making,
  of: { node: NodeRow; row: StateRow | undefined; now: number; made: MadeState[] },
): NewestOf {
  const { node, row } = of;
  try {
    if (row === undefined) throw new Error('no settings from the database');
    const content = compileContent(settingsOf(node.id, row, secrets));
    const hashOfContent = contentHash(content);
    const { newest } = row;
    if (newest !== null && newest.content_hash === hashOfContent && newest.key_id === signer.keyId)
      return {
        state: signedState({
          ...newest,
          keyId: newest.key_id,
          payload: openPayload(secrets, newest.payload, { nodeId: node.id, revision: newest.revision }),
        }),
      };
    // A node that came from another life of this database may run a higher one, and refuses to go back.
    const revision = Math.max(newest?.revision ?? 0, node.running_revision) + 1;
    const payload = payloadOf(content, revision, of.now);
    const state = signedState({
      ...{ revision, hash: sha256Hex(payload), keyId: signer.keyId },
      ...{ signature: signer.sign(payload), payload },
    });
    const sealed = secrets.seal(payload, payloadPurpose({ nodeId: node.id, revision }));
    of.made.push({ node, contentHash: hashOfContent, state, sealed });
    return { state };
  } catch (error) {
    return { error };
  }
}

async function insertStates(client: pg.PoolClient, made: readonly MadeState[], at: Date): Promise<void> {
  await client.query(
    `INSERT INTO desired_states (node_id, revision, organization_id, content_hash, hash, payload, key_id, signature,
                                 created_at)
     SELECT x.*, $9::timestamptz FROM unnest($1::uuid[], $2::int[], $3::uuid[], $4::text[], $5::text[], $6::text[],
                                             $7::text[], $8::text[]) AS x`,
    [
      made.map(each => each.node.id),
      made.map(each => each.state.revision),
      made.map(each => each.node.organization_id),
      made.map(each => each.contentHash),
      made.map(each => each.state.hash),
      made.map(each => each.sealed),
      made.map(each => each.state.keyId),
      made.map(each => each.state.signature),
      at,
    ],
  );
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

/** A node's word on a revision. */
export interface StateWord {
  node: NodeIdentity;
  report: UplinkBody<'state-report'>;
}

/** Writes what nodes say of revisions, of many in one statement; of one that speaks twice its last word. */
export async function noteStateReports(
  { pool }: Pick<Database, 'pool'>,
  words: readonly StateWord[],
  now: number,
): Promise<void> {
  const last = [
    ...new Map(words.map(word => [`${word.node.organizationId} ${word.node.nodeId}`, word])).values(),
  ];
  await pool.query(
    `WITH x AS (
       SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::int[], $4::text[], $5::int[], $6::text[], $7::jsonb[])
         AS x (organization_id, node_id, running_revision, running_hash, revision, outcome, problems)
     ), held AS (
       SELECT n.id FROM nodes n JOIN x ON n.organization_id = x.organization_id AND n.id = x.node_id
        ORDER BY n.id FOR NO KEY UPDATE OF n
     )
     UPDATE nodes n SET running_revision = x.running_revision, running_hash = x.running_hash,
                        reported_revision = x.revision, reported_outcome = x.outcome, reported_problems = x.problems,
                        reported_at = $8
       FROM held JOIN x ON x.node_id = held.id WHERE n.id = held.id`,
    [
      last.map(({ node }) => node.organizationId),
      last.map(({ node }) => node.nodeId),
      last.map(({ report }) => believable(report.running.revision)),
      last.map(({ report }) => report.running.hash),
      last.map(({ report }) => believable(report.revision)),
      last.map(({ report }) => report.outcome),
      last.map(({ report }) => JSON.stringify(report.problems.map(problemOf))),
      new Date(now),
    ],
  );
}

function problemOf({ code, message, endpointId }: UplinkBody<'state-report'>['problems'][number]) {
  return {
    code: wellFormed(code),
    message: wellFormed(message),
    // Which endpoint could not be served, where the agent says so.
    endpointId: typeof endpointId === 'string' ? wellFormed(endpointId.slice(0, 64)) : null,
  };
}
