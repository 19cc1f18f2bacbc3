/**
 * All that a hello needs of the database, in one statement for as many hellos as wait: the node's version and revision
 * are written down, its mark is read, and whether its newest desired state is what people have set today. Making a new
 * revision is publish.ts.
 */
import type { Clock } from '@mastline/shared/base/clock';
import type { UplinkBody } from '@mastline/shared/wire/uplink';
import type { Database } from '../db/database';
import { Gather } from '../db/gather';
import type { NodeIdentity } from '../fleet/node-reports';
import type { SecretStore } from '../secrets/secret-store';
import { compileContent, contentHash } from './compile';
import { believable } from './publish';
import { type SettingsRow, settingsColumns, settingsOf } from './settings-sql';
import type { StateSigner } from './signing';

/** Hellos of one statement: their settings are read whole, and the answer is kept small. */
const MOST_AT_ONCE = 64;
/** Above what the gateway lets in at once. */
const MOST_WAITING = 4_096;

export interface GreetingFacts {
  /** Highest sequence of the announced epoch in the ledger; 0 for none. */
  mark: number;
  /** The newest desired state, when it is what people have set; undefined when a revision is to be made. */
  current: { hash: string } | undefined;
}

/** Rejects as Gather does. */
export type ReadGreetingFacts = (node: NodeIdentity, hello: UplinkBody<'hello'>) => Promise<GreetingFacts>;

interface Greeting {
  node: NodeIdentity;
  hello: UplinkBody<'hello'>;
}

interface FactRow extends SettingsRow {
  place: number;
  mark: string | null;
  state: { hash: string; content_hash: string; key_id: string } | null;
}

/** Rows of nodes are taken in the order of their ids, as everywhere: two processes never wait for each other. */
const FACTS = `
WITH x AS (
  SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::text[], $4::int[], $5::text[], $6::uuid[]) WITH ORDINALITY
    AS x (node_id, organization_id, agent_version, revision, hash, epoch, place)
), held AS (
  SELECT n.id, last.agent_version, last.revision, last.hash
    FROM nodes n JOIN (SELECT DISTINCT ON (node_id) * FROM x ORDER BY node_id, place DESC) last
      ON n.id = last.node_id AND n.organization_id = last.organization_id
   ORDER BY n.id FOR UPDATE OF n
), seen AS (
  UPDATE nodes n SET last_seen_at = $7, agent_version = held.agent_version, running_revision = held.revision,
                     running_hash = held.hash
    FROM held WHERE n.id = held.id
)
SELECT x.place::int AS place,
       (SELECT mark FROM usage_marks m WHERE m.node_id = x.node_id AND m.epoch = x.epoch) AS mark,
       (SELECT row_to_json(s) FROM (SELECT hash, content_hash, key_id FROM desired_states d
                                     WHERE d.node_id = x.node_id ORDER BY revision DESC LIMIT 1) s) AS state,
       ${settingsColumns('x.node_id')}
  FROM x`;

export function greetingFacts(of: {
  db: Pick<Database, 'pool'>;
  secrets: SecretStore;
  signer: StateSigner;
  clock: Clock;
}): ReadGreetingFacts {
  const { db, secrets, signer, clock } = of;
  const rows = new Gather<Greeting, FactRow>({
    most: MOST_AT_ONCE,
    mostWaiting: MOST_WAITING,
    ask: greetings => readFacts(db, greetings, new Date(clock.now())),
  });
  return async (node, hello) => {
    const row = await rows.ask({ node, hello });
    const { state } = row;
    const isCurrent =
      state !== null &&
      state.key_id === signer.keyId &&
      state.content_hash === contentHash(compileContent(settingsOf(node.nodeId, row, secrets)));
    return { mark: Number(row.mark ?? 0), current: isCurrent ? { hash: state.hash } : undefined };
  };
}

async function readFacts(
  db: Pick<Database, 'pool'>,
  greetings: readonly Greeting[],
  at: Date,
): Promise<FactRow[]> {
  const { rows } = await db.pool.query<FactRow>(FACTS, [
    greetings.map(({ node }) => node.nodeId),
    greetings.map(({ node }) => node.organizationId),
    greetings.map(({ hello }) => hello.agentVersion),
    greetings.map(({ hello }) => believable(hello.running.revision)),
    greetings.map(({ hello }) => hello.running.hash),
    greetings.map(({ hello }) => hello.epoch),
    at,
  ]);
  return rows.sort((a, b) => a.place - b.place);
}
