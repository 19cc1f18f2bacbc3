/**
 * How fast usage goes into the ledger: whole frames as they come from the wire, batches of many nodes at once, one in
 * ten of them sent again. What is measured is decoding, validating, grouping, and the transaction with rollups and
 * marks, up to the answer after the commit. CPU is counted on both sides: this process and the database's backends.
 *
 *     npm run bench:ingest [-- --nodes 200 --batch 500 --seconds 10 --json FILE --only server|embedded]
 *
 * The sums in the ledger are compared with what was sent: a rate that loses or doubles anything is no result.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { BatchWriter } from '@mastline/cloud/server/ledger/batch-writer';
import { ensurePartitions } from '@mastline/cloud/server/ledger/partitions';
import { systemClock } from '@mastline/shared/base/clock';
import type { UsageRecord } from '@mastline/shared/domain/usage';
import { PERIOD_MS } from '@mastline/shared/domain/usage-period';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { decodeUplink, encodeUplink } from '@mastline/shared/wire/codec';
import { addCredential, addEndpoint, addNode, cloudWorld } from '../support/cloud-world';
import { readFlags, wholeFlag } from '../support/flags';
import { databaseKinds, type TestDatabase, testDatabase } from '../support/postgres';
import { seeded } from '../support/random';

const flags = readFlags({
  nodes: { type: 'string', default: '200' },
  batch: { type: 'string', default: '500' },
  credentials: { type: 'string', default: '8' },
  seconds: { type: 'string', default: '10' },
  seed: { type: 'string', default: '1' },
  json: { type: 'string' },
  only: { type: 'string' },
});
const NODES = wholeFlag('nodes', flags.nodes, { least: 1, most: 100_000 });
const BATCH = wholeFlag('batch', flags.batch, { least: 1, most: 100_000 });
const CREDENTIALS = wholeFlag('credentials', flags.credentials, { least: 1, most: 100_000 });
const SECONDS = wholeFlag('seconds', flags.seconds, { least: 1, most: 100_000 });
const SLOTS = 4;
/** Of the batches, so many are sent a second time; duplicates count as work, not as records. */
const DUPLICATES = 0.1;

interface Result {
  database: 'server' | 'embedded';
  recordsPerSecond: number;
  cpuSecondsPerMillion: number;
  cloudCpuSecondsPerMillion: number;
  databaseCpuSecondsPerMillion: number;
  records: number;
  duplicates: number;
  seconds: number;
  recordsPerTransaction: number;
}

async function measure(kind: 'server' | 'embedded'): Promise<Result> {
  const database = await testDatabase(kind);
  try {
    const { db } = database;
    const backends = kind === 'server' ? await Backends.of(db.pool) : undefined;
    const random = seeded(Number(flags.seed));
    await ensurePartitions(db, Date.now());
    const world = await cloudWorld(db, Date.now());
    const { services, acme } = world;
    const credentials = [acme.credentialId];
    while (credentials.length < CREDENTIALS)
      credentials.push((await addCredential(services, acme.customer)).id);
    const nodes: {
      id: string;
      epoch: string;
      endpointId: string;
      sequence: number;
      minute: number;
      sent: string;
    }[] = [];
    for (let i = 0; i < NODES; i += 1) {
      const { id } = await addNode(services, acme.host, `Box ${i}`);
      const endpointId = await addEndpoint(services, acme.customer, id, 1080);
      nodes.push({ id, epoch: uuidv7(), endpointId, sequence: 0, minute: 0, sent: '' });
    }
    const writer = new BatchWriter({ db, clock: systemClock, log: services.log });
    const begunAt = Date.now() - (Date.now() % PERIOD_MS);
    const total = { records: 0, duplicates: 0, bytes: 0n };

    /** A node's backlog: for each minute one record of each credential and slot. */
    const frameOf = (node: (typeof nodes)[number]): string => {
      const records: UsageRecord[] = [];
      for (let i = 0; i < BATCH; i += 1) {
        const combination = node.sequence % (CREDENTIALS * SLOTS);
        if (combination === 0) node.minute += 1;
        node.sequence += 1;
        records.push({
          sequence: node.sequence,
          periodStart: begunAt - 86_400_000 + (node.minute % 1440) * PERIOD_MS,
          endpointId: node.endpointId,
          credentialId: credentials[combination % CREDENTIALS] ?? '',
          slot: Math.floor(combination / CREDENTIALS),
          imei: null,
          upBytes: Math.floor(random() * 1e6),
          downBytes: Math.floor(random() * 1e8),
          flows: 1 + Math.floor(random() * 9),
        });
      }
      total.bytes += BigInt(records.reduce((sum, each) => sum + each.upBytes + each.downBytes, 0));
      return encodeUplink('usage-batch', { epoch: node.epoch, records });
    };
    const deliver = async (node: (typeof nodes)[number], frame: string): Promise<void> => {
      const decoded = decodeUplink(frame);
      if (decoded.is !== 'message' || decoded.message.kind !== 'usage-batch') throw new Error('bad frame');
      const outcome = await writer.write({
        nodeId: node.id,
        hostOrganizationId: acme.host.active.id,
        epoch: decoded.message.body.epoch,
        records: decoded.message.body.records,
      });
      if (outcome.is !== 'stored') throw new Error(`a batch was not stored: ${JSON.stringify(outcome)}`);
      total.records += outcome.stored;
      total.duplicates += outcome.duplicates;
    };

    // Making frames is the agents' work: it is measured by itself and taken off.
    let makingMs = 0;
    const cpuBefore = process.cpuUsage();
    const databaseBefore = backends?.seconds() ?? 0;
    const begun = performance.now();
    const until = begun + SECONDS * 1000;
    await Promise.all(
      nodes.map(async node => {
        while (performance.now() < until) {
          const before = process.cpuUsage();
          const frame =
            node.sent !== '' && random() < DUPLICATES / (1 + DUPLICATES) ? node.sent : frameOf(node);
          const made = process.cpuUsage(before);
          makingMs += (made.user + made.system) / 1000;
          await deliver(node, frame);
          node.sent = frame;
        }
      }),
    );
    const seconds = (performance.now() - begun) / 1000;
    const cpu = process.cpuUsage(cpuBefore);
    const cloudCpu = (cpu.user + cpu.system) / 1e6 - makingMs / 1000;
    const databaseCpu = (backends?.seconds() ?? 0) - databaseBefore;
    backends?.stop();
    const { rows } = await db.pool.query(
      `SELECT (SELECT sum(up_bytes + down_bytes)::text FROM usage_records) AS records,
              (SELECT count(*)::int FROM usage_records) AS count,
              (SELECT sum(up_bytes + down_bytes)::text FROM usage_rollups) AS hourly,
              (SELECT sum(up_bytes + down_bytes)::text FROM usage_rollups_daily) AS daily`,
    );
    const expected = String(total.bytes);
    for (const sum of [rows[0].records, rows[0].hourly, rows[0].daily])
      if (sum !== expected) throw new Error(`the ledger holds ${sum} bytes, ${expected} were sent`);
    if (rows[0].count !== total.records)
      throw new Error(`${rows[0].count} records, ${total.records} acknowledged`);
    const million = total.records / 1e6;
    return {
      database: kind,
      recordsPerSecond: Math.round(total.records / seconds),
      cpuSecondsPerMillion: round((cloudCpu + databaseCpu) / million),
      cloudCpuSecondsPerMillion: round(cloudCpu / million),
      databaseCpuSecondsPerMillion: round(databaseCpu / million),
      records: total.records,
      duplicates: total.duplicates,
      seconds: round(seconds),
      recordsPerTransaction: Math.round(total.records / writer.figures().transactions),
    };
  } finally {
    await database.drop();
  }
}

const round = (value: number) => Math.round(value * 100) / 100;

/** CPU time of the server's processes that serve a pool; those that end in between keep what they had used. */
class Backends {
  readonly #ticks = new Map<number, number>();
  readonly #timer: NodeJS.Timeout;

  static async of(pool: TestDatabase['db']['pool']): Promise<Backends> {
    const { rows } = await pool.query<{ pid: number }>(
      'SELECT pid FROM pg_stat_activity WHERE datname = current_database()',
    );
    return new Backends(
      pool,
      rows.map(row => row.pid),
    );
  }

  private constructor(pool: TestDatabase['db']['pool'], pids: readonly number[]) {
    for (const pid of pids) this.#ticks.set(pid, 0);
    pool.on('connect', client => {
      const { processID: pid } = client as unknown as { processID: number };
      if (pid > 0) this.#ticks.set(pid, 0);
    });
    this.#timer = setInterval(() => this.seconds(), 200);
  }

  seconds(): number {
    let sum = 0;
    for (const [pid, known] of this.#ticks) {
      const ticks = ticksOf(pid) ?? known;
      this.#ticks.set(pid, ticks);
      sum += ticks;
    }
    return sum / 100;
  }

  stop(): void {
    clearInterval(this.#timer);
  }
}

/** User and system time so far, in ticks of 10 ms (/proc/<pid>/stat fields 14 and 15); undefined for a process that is gone. */
function ticksOf(pid: number): number | undefined {
  let stat: string;
  try {
    stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
  } catch {
    return undefined;
  }
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return Number(fields[11]) + Number(fields[12]);
}

const kinds = (await databaseKinds()).filter(kind => flags.only === undefined || kind === flags.only);
if (kinds.length === 0)
  throw new Error('no database to measure: --only server needs PostgreSQL at 127.0.0.1:5432');
const results: Result[] = [];
for (const kind of kinds) {
  const result = await measure(kind);
  results.push(result);
  console.log(
    `${kind.padEnd(9)} ${result.recordsPerSecond.toLocaleString('en')} records/s, ` +
      `${result.cpuSecondsPerMillion} CPU s per million (cloud ${result.cloudCpuSecondsPerMillion}, ` +
      `database ${kind === 'server' ? result.databaseCpuSecondsPerMillion : 'in the same process'}), ` +
      `${result.duplicates.toLocaleString('en')} duplicates dropped, ${result.recordsPerTransaction} records a transaction`,
  );
}
if (flags.json !== undefined) {
  const [best] = results;
  writeFileSync(flags.json, `${JSON.stringify({ ...best, all: results }, null, 2)}\n`);
}
