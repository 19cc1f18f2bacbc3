/**
 * What the usage spool writes to its disk in a day, at rest and under load, as the kernel counts it (write_bytes of
 * /proc/self/io: whole pages of the page cache, what an SD card gets before its own amplification). Ten minutes of
 * load are played as fast as the disk allows: what is written depends on commits and minutes, not on seconds waited.
 *
 *   npx tsx test/bench/spool-wear.ts [--json FILE]
 */
import { readFileSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseArgs } from 'node:util';
import { quietLog } from '@mastline/agent/observe/log';
import type { UsageDelta } from '@mastline/agent/ports';
import { openUsageSpool } from '@mastline/agent/spool/usage-spool';
import { systemClock } from '@mastline/shared/base/clock';
import Sqlite from 'better-sqlite3';
import { agentBuilt } from '../support/build-agent';
import { fakeClock } from '../support/clock';
import { tempDir } from '../support/temp';

const TMPFS = 0x01021994;
const SECONDS = 600;
const DAY_SECONDS = 86_400;
const HOUR_MS = 3_600_000;

interface Load {
  name: string;
  slots: number;
  credentials: number;
  /** Seconds between what the uplink does: seal, send, have it acknowledged. 0: no cloud. */
  uplinkSeconds: number;
  pageBytes: number;
}

const loads: Load[] = [
  { name: 'busy: 4 modems, 1 credential', slots: 4, credentials: 1, uplinkSeconds: 1, pageBytes: 1024 },
  { name: 'busy: 4 modems, 25 credentials', slots: 4, credentials: 25, uplinkSeconds: 1, pageBytes: 1024 },
  { name: 'busy, metered link', slots: 4, credentials: 25, uplinkSeconds: 60, pageBytes: 1024 },
  { name: 'busy, cloud away', slots: 4, credentials: 25, uplinkSeconds: 0, pageBytes: 1024 },
  { name: 'for comparison: pages of 4 KiB', slots: 4, credentials: 25, uplinkSeconds: 1, pageBytes: 4096 },
];

/** Bytes that this process has sent toward a disk. */
function writtenBytes(): number {
  const match = /^write_bytes: (\d+)$/m.exec(readFileSync('/proc/self/io', 'utf8'));
  if (!match) throw new Error('/proc/self/io does not tell write_bytes: this needs Linux');
  return Number(match[1]);
}

async function freshSpool(pageBytes: number, now: () => number, clock = systemClock) {
  const folder = await tempDir('wear');
  if (statfsSync(folder.path).type === TMPFS)
    throw new Error(`${folder.path} is in memory: set TMPDIR to a folder on a disk`);
  const path = join(folder.path, 'spool.db');
  if (pageBytes !== 1024) {
    // The spool keeps the page size of a file it finds.
    const db = new Sqlite(path);
    db.pragma(`page_size = ${pageBytes}`);
    db.exec('VACUUM');
    db.close();
  }
  const onFault = (fault: Error) => {
    throw fault;
  };
  const spool = await openUsageSpool({ path, now, log: quietLog, onFault, clock });
  return { folder, spool };
}

async function underLoad(load: Load): Promise<number> {
  let now = Date.UTC(2026, 10, 23, 12, 0);
  const { folder, spool } = await freshSpool(load.pageBytes, () => now);
  const deltas: UsageDelta[] = [];
  for (let slot = 1; slot <= load.slots; slot += 1)
    for (let nth = 0; nth < load.credentials; nth += 1)
      deltas.push({
        endpointId: `01960000-0000-7000-8000-0000000000e${slot}`,
        credentialId: `01960000-0000-7000-8000-${String(nth).padStart(12, '0')}`,
        slot,
        imei: `86000000000000${slot}`,
        upBytes: 40_000,
        downBytes: 1_000_000,
        flows: 2,
      });
  const before = writtenBytes();
  let sent = 0;
  for (let second = 1; second <= SECONDS; second += 1) {
    now += 1_000;
    await spool.commit(deltas);
    if (load.uplinkSeconds === 0 || second % load.uplinkSeconds !== 0) continue;
    for (;;) {
      const records = await spool.recordsAfter(sent, 1_000);
      const last = records.at(-1);
      if (!last) break;
      sent = last.sequence;
    }
    await spool.acknowledge(sent);
  }
  const written = writtenBytes() - before;
  await spool.close();
  await folder.remove();
  return (written / SECONDS) * DAY_SECONDS;
}

/** A day of nothing but the hourly look. */
async function atRest(): Promise<number> {
  const clock = fakeClock();
  const { folder, spool } = await freshSpool(1024, () => Date.UTC(2026, 10, 23), clock);
  await spool.position();
  const before = writtenBytes();
  for (let hour = 0; hour < 24; hour += 1) {
    await clock.advance(HOUR_MS);
    await spool.position();
  }
  const written = writtenBytes() - before;
  await spool.close();
  await folder.remove();
  return written;
}

const { values } = parseArgs({ options: { json: { type: 'string' } } });
await agentBuilt();
const figures: { name: string; bytesPerDay: number }[] = [{ name: 'at rest', bytesPerDay: await atRest() }];
for (const load of loads) figures.push({ name: load.name, bytesPerDay: await underLoad(load) });
for (const { name, bytesPerDay } of figures)
  console.log(`${name.padEnd(34)} ${(bytesPerDay / 1e6).toFixed(1).padStart(8)} MB a day`);
if (values.json !== undefined) writeFileSync(values.json, `${JSON.stringify(figures, null, 2)}\n`);
