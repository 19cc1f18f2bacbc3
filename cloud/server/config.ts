/** Environment and flags → one checked object, all problems at once. Every change needs a restart. No secret has a default. */

import { resolve } from 'node:path';
import { parseArgs } from 'node:util';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';
import { DEFAULT_RETENTION, MIN_RECORD_MONTHS, type Retention } from './ledger/retention';

const httpUrl = z.url({
  protocol: /^https?$/,
  message: 'must be an http or https address, such as https://mastline.example',
});

const Config = z.object({
  /** Database, secret key, lock. */
  MASTLINE_DATA_DIR: z.string().min(1, 'must name a directory').default('.mastline/cloud'),
  HOST: z.string().min(1, 'must be an address to listen on').default('127.0.0.1'),
  /** 0 lets the system choose. */
  PORT: z.coerce.number('must be a port number').int().min(0).max(65_535).default(8480),
  /** A PostgreSQL server, 15 or newer; without it the embedded database serves. */
  DATABASE_URL: z.url({ protocol: /^postgres(ql)?$/, message: 'must be a postgres:// address' }).optional(),
  /** Where the processes of one cloud find each other; without it this process is the only one. */
  NATS_URL: z
    .string()
    .refine(isNatsUrl, 'must be nats:// or tls:// addresses, separated by commas')
    .optional(),
  /** Address by which people reach the portal; https makes cookies Secure. */
  PUBLIC_URL: httpUrl.optional(),
  /** Answers with the address it sees; the portal's curl commands ask for it. */
  MASTLINE_ECHO_URL: httpUrl.default('https://api.ipify.org'),
  /** 32 bytes in base64; without it the key is a file in the data directory. */
  MASTLINE_SECRET_KEY: z
    .base64('must be base64')
    .transform(text => Buffer.from(text, 'base64'))
    .refine(bytes => bytes.length === 32, 'must be 32 bytes in base64')
    .optional(),
  /** How many reverse proxies stand in front and set X-Forwarded-For. */
  MASTLINE_TRUSTED_PROXIES: z.coerce.number('must be a number of proxies').int().min(0).max(10).default(0),
  /** Whole months of usage records, and of hourly rollups, that are kept; daily rollups stay. */
  MASTLINE_RECORD_MONTHS: z.coerce
    .number('must be a number of months')
    .int()
    .min(MIN_RECORD_MONTHS, `must be at least ${MIN_RECORD_MONTHS}: usage may be 400 days late`)
    .max(1200)
    .default(DEFAULT_RETENTION.recordMonths),
  MASTLINE_ROLLUP_MONTHS: z.coerce
    .number('must be a number of months')
    .int()
    .min(MIN_RECORD_MONTHS, `must be at least ${MIN_RECORD_MONTHS}`)
    .max(1200)
    .default(DEFAULT_RETENTION.rollupMonths),
  /** Prometheus metrics on a port of their own, without a password; unset: none. 0 lets the system choose. */
  MASTLINE_METRICS_PORT: z.coerce.number('must be a port number').int().min(0).max(65_535).optional(),
  MASTLINE_METRICS_HOST: z.string().min(1, 'must be an address to listen on').default('127.0.0.1'),
  LOG_LEVEL: z.enum(['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent']).default('info'),
  /** Demo organizations to make once: a JSON file in, see seed.ts. */
  demoSeed: z.string().min(1).optional(),
});

export interface Config {
  dataDir: string;
  host: string;
  port: number;
  databaseUrl: string | null;
  natsUrl: string | null;
  publicUrl: string | null;
  echoUrl: string;
  secretKey: Buffer | null;
  trustedProxies: number;
  retention: Retention;
  /** Where metrics are served; null for nowhere. */
  metrics: { host: string; port: number } | null;
  logLevel: string;
  demoSeed: string | null;
}

const FLAGS = {
  'data-dir': 'MASTLINE_DATA_DIR',
  host: 'HOST',
  port: 'PORT',
  'database-url': 'DATABASE_URL',
  'public-url': 'PUBLIC_URL',
  'metrics-port': 'MASTLINE_METRICS_PORT',
  'metrics-host': 'MASTLINE_METRICS_HOST',
  'log-level': 'LOG_LEVEL',
  'demo-seed': 'demoSeed',
} as const;

/** Flags win over the environment; an empty variable counts as unset. */
export function readConfig(argv: readonly string[], env: Record<string, string | undefined>): Config {
  const given: Record<string, unknown> = {};
  for (const name of Object.keys(Config.shape)) if (name !== 'demoSeed' && env[name]) given[name] = env[name];
  for (const [flag, value] of Object.entries(flagsOf(argv)))
    if (value !== undefined) given[FLAGS[flag as keyof typeof FLAGS]] = value;
  const parsed = parseOrExplain(Config, given, 'The configuration', 'config/invalid');
  if (parsed.NATS_URL !== undefined && parsed.DATABASE_URL === undefined)
    throw new CodedError('config/invalid', 'NATS_URL without DATABASE_URL', {
      userMessage:
        'The configuration: NATS_URL is for several processes, and those share a PostgreSQL server: set DATABASE_URL too, or leave NATS_URL out.',
    });
  return {
    dataDir: resolve(parsed.MASTLINE_DATA_DIR),
    host: parsed.HOST,
    port: parsed.PORT,
    databaseUrl: parsed.DATABASE_URL ?? null,
    natsUrl: parsed.NATS_URL ?? null,
    publicUrl: parsed.PUBLIC_URL ?? null,
    echoUrl: parsed.MASTLINE_ECHO_URL,
    secretKey: parsed.MASTLINE_SECRET_KEY ?? null,
    trustedProxies: parsed.MASTLINE_TRUSTED_PROXIES,
    retention: { recordMonths: parsed.MASTLINE_RECORD_MONTHS, rollupMonths: parsed.MASTLINE_ROLLUP_MONTHS },
    metrics:
      parsed.MASTLINE_METRICS_PORT === undefined
        ? null
        : { host: parsed.MASTLINE_METRICS_HOST, port: parsed.MASTLINE_METRICS_PORT },
    logLevel: parsed.LOG_LEVEL,
    demoSeed: parsed.demoSeed ?? null,
  };
}

function isNatsUrl(text: string): boolean {
  return text.split(',').every(part => {
    const url = URL.canParse(part.trim()) ? new URL(part.trim()) : undefined;
    return url !== undefined && ['nats:', 'tls:'].includes(url.protocol) && url.hostname !== '';
  });
}

function flagsOf(argv: readonly string[]): Record<string, string | undefined> {
  const options = Object.fromEntries(Object.keys(FLAGS).map(flag => [flag, { type: 'string' as const }]));
  try {
    return parseArgs({ args: [...argv], options, strict: true, allowPositionals: false }).values as Record<
      string,
      string | undefined
    >;
  } catch (error) {
    throw new CodedError('config/invalid', `unknown flag: ${messageOf(error)}`, {
      userMessage: `${messageOf(error)}\nFlags: ${Object.keys(FLAGS)
        .map(flag => `--${flag} VALUE`)
        .join(' ')}`,
    });
  }
}
