/** A whole cloud in this process, on a database of its own and a port of the system's choice. */
import { type Cloud, startCloud } from '@mastline/cloud/server/cloud';
import type { Config } from '@mastline/cloud/server/config';
import { DEFAULT_RETENTION } from '@mastline/cloud/server/ledger/retention';
import { type Clock, systemClock } from '@mastline/shared/base/clock';
import { pino } from 'pino';
import { cloudBuilt } from './build-cloud';
import { databaseKinds, testDatabase } from './postgres';
import { tempDir } from './temp';

export interface TestCloud extends Cloud {
  config: Config;
  /** Closes the cloud and drops its database. */
  stop(): Promise<void>;
}

export async function testCloud(over: Partial<Config> = {}, clock: Clock = systemClock): Promise<TestCloud> {
  const place = await databasePlace();
  const config: Config = {
    dataDir: place.dataDir,
    host: '127.0.0.1',
    port: 0,
    databaseUrl: place.databaseUrl,
    natsUrl: null,
    publicUrl: null,
    echoUrl: 'https://api.ipify.org',
    secretKey: null,
    trustedProxies: 0,
    retention: DEFAULT_RETENTION,
    metrics: null,
    logLevel: 'silent',
    demoSeed: null,
    ...over,
  };
  const cloud = await startCloud(config, pino({ level: process.env.TEST_LOG ?? 'silent' }), clock);
  return {
    ...cloud,
    config,
    async stop() {
      await cloud.close();
      await place.drop();
    },
  };
}

interface DatabasePlace {
  databaseUrl: string | null;
  dataDir: string;
  drop(): Promise<void>;
}

/** Where the cloud finds a database of its own. It migrates an embedded one itself, as it does at a first start. */
async function databasePlace(): Promise<DatabasePlace> {
  const [kind] = await databaseKinds();
  if (kind === 'server') {
    const database = await testDatabase('server');
    await database.disconnect();
    return database;
  }
  await cloudBuilt();
  const dir = await tempDir('cloud');
  return { databaseUrl: null, dataDir: dir.path, drop: dir.remove };
}
