/**
 * All that a hello needs of the database, in one statement: the node's version and revision are written down, its mark
 * is read, and whether its newest desired state is what people have set today. Making a new revision is publish.ts.
 */
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import type { NodeIdentity } from '../fleet/node-reports';
import type { Services } from '../rpc/context';
import { compileContent, contentHash } from './compile';
import { believable } from './publish';
import { SETTINGS_COLUMNS, type SettingsRow, settingsOf } from './settings-sql';
import type { StateSigner } from './signing';

interface FactRow extends SettingsRow {
  mark: string | null;
  state: { hash: string; content_hash: string; key_id: string } | null;
}

const FACTS = `
WITH seen AS (
  UPDATE nodes SET last_seen_at = $3, agent_version = $4, running_revision = $5, running_hash = $6
   WHERE organization_id = $2 AND id = $1
)
SELECT (SELECT mark FROM usage_marks WHERE node_id = $1 AND epoch = $7) AS mark,
       (SELECT row_to_json(s) FROM (SELECT hash, content_hash, key_id FROM desired_states
                                     WHERE node_id = $1 ORDER BY revision DESC LIMIT 1) s) AS state,
       ${SETTINGS_COLUMNS}`;

export interface GreetingFacts {
  /** Highest sequence of the announced epoch in the ledger; 0 for none. */
  mark: number;
  /** The newest desired state, when it is what people have set; undefined when a revision is to be made. */
  current: { hash: string } | undefined;
}

export async function greetingFacts(
  services: Services & { signer: StateSigner },
  node: NodeIdentity,
  hello: UplinkBody<'hello'>,
): Promise<GreetingFacts> {
  const { rows } = await services.db.pool.query<FactRow>(FACTS, [
    node.nodeId,
    node.organizationId,
    new Date(services.clock.now()),
    hello.agentVersion,
    believable(hello.running.revision),
    hello.running.hash,
    hello.epoch,
  ]);
  const [row] = rows;
  if (row === undefined) throw new Error('a greeting without an answer from the database');
  const { state } = row;
  const isCurrent =
    state !== null &&
    state.key_id === services.signer.keyId &&
    state.content_hash === contentHash(compileContent(settingsOf(node.nodeId, row, services.secrets)));
  return { mark: Number(row.mark ?? 0), current: isCurrent ? { hash: state.hash } : undefined };
}
