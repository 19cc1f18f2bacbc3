/** Each fault of plan.ts done to the rig, and mended; and which of them a machine or a database cannot play. */
import { setTimeout as wait } from 'node:timers/promises';
import { findTool } from '../support/tools';
import type { Fault, Misfortune } from './plan';
import { AGENT_CLOCK, CLOUD_CLOCKS, CLOUDS, type Rig } from './rig';
import { whyNoSmallDisk } from './small-disk';
import type { BatchTrick } from './wicked-link';

const REFILL_MS = 50;
export const DAY_MS = 86_400_000;

/** Up to three days either way, by chance. */
const daysOff = (choice: number) => Math.round((choice - 0.5) * 6 * DAY_MS);

const TRICKS: Partial<Record<Fault, BatchTrick>> = {
  'double-batches': 'double',
  'reorder-batches': 'reorder',
  'truncate-batches': 'truncate',
  'break-frames': 'break',
};

/** What cannot be played here, and why. */
export function whyNotPlayed(database: 'server' | 'embedded'): Partial<Record<Fault, string>> {
  const notPlayed: Partial<Record<Fault, string>> = {};
  const noDisk = whyNoSmallDisk();
  if (noDisk !== undefined) notPlayed['fill-disk'] = noDisk;
  if (findTool('haproxy') === undefined)
    notPlayed['restart-balancer'] = 'haproxy is missing: sudo apt-get install -y haproxy';
  if (database === 'embedded') {
    notPlayed['crash-database'] = 'the embedded database lives and dies with the cloud';
    for (const fault of ['kill-one-cloud', 'restart-nats', 'restart-balancer'] as const)
      notPlayed[fault] = 'the embedded database has one process';
    notPlayed['jump-cloud-clock'] = 'the embedded database is read by the portal, and that by periods';
  }
  return notPlayed;
}

/** Does what befalls, waits until it is over, mends it. */
export async function befall(rig: Rig, { fault, atMs, lastsMs, choice }: Misfortune): Promise<void> {
  await wait(atMs);
  const { link } = rig;
  switch (fault) {
    case 'kill-agent':
      await rig.agent?.kill();
      await wait(lastsMs);
      return rig.bringAgent(null);
    case 'kill-cloud':
      return rig.withDatabase(async () => {
        await Promise.all(rig.clouds.map(each => each?.kill()));
        await wait(lastsMs);
        for (const which of rig.clouds.keys()) await rig.bringCloud(which);
      });
    case 'kill-one-cloud':
      return rig.withDatabase(async () => {
        const which = Math.floor(choice * CLOUDS);
        await rig.clouds[which]?.kill();
        await wait(lastsMs);
        await rig.bringCloud(which);
      });
    case 'restart-nats':
      await rig.nats?.kill();
      await wait(lastsMs);
      return rig.nats?.start();
    case 'restart-balancer':
      await rig.balancer?.kill();
      await wait(lastsMs);
      return rig.balancer?.start();
    case 'crash-database':
      return rig.withDatabase(async () => {
        await rig.postgres?.crash();
        await wait(lastsMs);
        await rig.postgres?.start();
      });
    case 'cut-link':
      return link.cut();
    case 'half-open-link':
      link.halfOpen(choice < 0.5 ? 'agent' : 'cloud');
      await wait(lastsMs);
      return link.heal();
    case 'stall-link':
      link.stall();
      await wait(lastsMs);
      return link.heal();
    case 'double-batches':
    case 'reorder-batches':
    case 'truncate-batches':
    case 'break-frames': {
      const trick = TRICKS[fault];
      if (trick === undefined) throw new Error(`no trick for ${fault}`);
      link.tricks.add(trick);
      // Batches leave half a second after a commit: long enough for some.
      await wait(1_500 + lastsMs);
      return void link.tricks.delete(trick);
    }
    case 'fill-disk': {
      const until = performance.now() + lastsMs;
      // Again and again: the spool gives its reserve up, and the write-ahead log is made shorter.
      for (; performance.now() < until; await wait(REFILL_MS)) rig.disk?.fill();
      return rig.disk?.free();
    }
    case 'jump-clock': {
      rig.setClock(AGENT_CLOCK, daysOff(choice));
      await wait(lastsMs);
      // One in four jumps stays until the next one.
      return choice % 0.25 < 0.0625 ? undefined : rig.setClock(AGENT_CLOCK, 0);
    }
    case 'jump-cloud-clock': {
      // One process, the other, or both as far.
      const jumping = CLOUD_CLOCKS.filter((_, nth) => choice >= 2 / 3 || nth === Math.floor(choice * 3));
      for (const name of jumping) rig.setClock(name, daysOff(1 - choice));
      await wait(lastsMs);
      // Never for longer: processes whose clocks differ by more than half a minute admit no node of each other's.
      for (const name of jumping) rig.setClock(name, 0);
      return;
    }
    default:
      fault satisfies never;
  }
}
