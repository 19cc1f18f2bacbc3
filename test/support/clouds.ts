/** Several clouds in this process, as processes of one: one PostgreSQL database, one secret key, one NATS. */
import { createHmac } from 'node:crypto';
import { type Cloud, startCloud } from '@mastline/cloud/server/cloud';
import { DEFAULT_RETENTION } from '@mastline/cloud/server/ledger/retention';
import { pino } from 'pino';
import type { TestDatabase } from './postgres';

/** That of `cloudWorld`. */
const SECRET_KEY = Buffer.alloc(32, 7);
/** Under which these clouds speak to each other. */
export const CLUSTER_KEY = createHmac('sha256', SECRET_KEY).update('mastline cluster').digest();

export function oneOfMany(database: TestDatabase, natsUrl: string): Promise<Cloud> {
  return startCloud(
    {
      dataDir: database.dataDir,
      host: '127.0.0.1',
      port: 0,
      databaseUrl: database.databaseUrl,
      natsUrl,
      publicUrl: null,
      echoUrl: 'https://api.ipify.org',
      secretKey: SECRET_KEY,
      trustedProxies: 0,
      retention: DEFAULT_RETENTION,
      logLevel: 'silent',
      demoSeed: null,
      metrics: null,
    },
    pino({ level: process.env.TEST_LOG ?? 'silent' }),
  );
}
