/** Nodes by id for those who knock: each of ten thousand nodes that come back asks twice, so the asking is gathered. */
import { NodeId } from '@mastline/shared/domain/ids';
import { REFUSAL } from '@mastline/shared/wire/enrolment';
import type { Database } from '../db/database';
import { Gather } from '../db/gather';
import type { NodeIdentity } from '../fleet/node-reports';

/** Nodes of one statement, and nodes that wait for one. */
const MOST_AT_ONCE = 256;
const MOST_WAITING = 2_048;

/** A node that may connect, or why there is none. */
export type FoundNode =
  | { is: 'found'; node: NodeIdentity; publicKey: Uint8Array }
  | { is: 'refused'; status: 404 | 410; code: string; message: string };

/** Rejects as Gather does. */
export type FindNode = (nodeId: string) => Promise<FoundNode>;

interface NodeRow {
  id: string;
  organization_id: string;
  public_key: Buffer;
  retired: boolean;
}

export function nodeFinder(db: Pick<Database, 'pool'>): FindNode {
  const rows = new Gather<string, NodeRow | undefined>({
    most: MOST_AT_ONCE,
    mostWaiting: MOST_WAITING,
    ask: ids => readNodes(db, ids),
  });
  return async nodeId => {
    // Not a UUID: the database could not even compare it.
    const id = NodeId.safeParse(nodeId);
    const row = id.success ? await rows.ask(id.data.toLowerCase()) : undefined;
    if (row === undefined)
      return {
        is: 'refused',
        status: 404,
        code: REFUSAL.nodeUnknown,
        message: 'This node is not known here. Enrol it with a claim code from the portal.',
      };
    if (row.retired)
      return {
        is: 'refused',
        status: 410,
        code: REFUSAL.nodeRetired,
        message: 'This node was retired by its host.',
      };
    return {
      is: 'found',
      node: { nodeId: row.id, organizationId: row.organization_id },
      publicKey: row.public_key,
    };
  };
}

async function readNodes(
  db: Pick<Database, 'pool'>,
  ids: readonly string[],
): Promise<(NodeRow | undefined)[]> {
  const { rows } = await db.pool.query<NodeRow>(
    'SELECT id, organization_id, public_key, retired_at IS NOT NULL AS retired FROM nodes WHERE id = ANY ($1::uuid[])',
    [ids],
  );
  const byId = new Map(rows.map(row => [row.id, row]));
  return ids.map(id => byId.get(id));
}
