/**
 * The agent's configuration file: one JSON document, read once at start, all its problems told at once. With a
 * `cloud` it makes a node (endpoints and credentials come from there); without, the file itself says what to serve.
 * agent/README.md documents every field; a change needs a restart.
 */
import { readFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { EndpointProtocol, MAX_CHAIN_HOPS, ShadowsocksMethodId } from '@mastline/shared/domain/endpoint';
import { parseAddressRange } from '@mastline/shared/domain/ip-range';
import { z } from 'zod';
import { SlotConfig } from './modem-plane/slot-config';
import { shadowsocksServices } from './standalone-shadowsocks';

const Address = z.string().refine(text => isIP(text) !== 0, 'must be an IPv4 or IPv6 address');

const DnsServer = z
  .string()
  .regex(
    /^(?:[0-9.]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?|[0-9A-Fa-f:.]+)$/,
    'must be ADDRESS or ADDRESS:PORT of a name server',
  );

const AllowTarget = z
  .string()
  .refine(
    text => parseAddressRange(text) !== null,
    'must be a range such as 10.0.0.0/8, 127.0.0.1:8000 or [fd00::/8]:443',
  );

const Egress = z.union(
  [
    z.literal('direct'),
    z.strictObject({ address: Address, dnsServers: z.array(DnsServer).max(8).default([]) }),
    z.strictObject({
      interface: z.string().min(1).max(15),
      dnsServers: z.array(DnsServer).max(8).default([]),
    }),
  ],
  {
    error:
      'must be "direct", { "address": LOCAL_ADDRESS } or { "interface": NAME }, the latter two with optional "dnsServers"',
  },
);

const Tls = z.strictObject({
  certFile: z.string().min(1),
  keyFile: z.string().min(1),
  /** False: clients without TLS are served as well. */
  required: z.boolean().default(true),
});

const Hop = z
  .strictObject({
    protocol: z.enum(['socks5', 'http', 'shadowsocks']),
    host: z.string().min(1).max(253),
    port: z.int().min(1).max(65_535),
    username: z.string().min(1).max(255).optional(),
    secret: z.string().min(1).max(1024).optional(),
    method: ShadowsocksMethodId.optional(),
  })
  .refine(
    hop => hop.protocol !== 'shadowsocks' || (hop.method !== undefined && hop.secret !== undefined),
    'a Shadowsocks hop needs "method" and "secret"',
  )
  .refine(
    hop => hop.protocol === 'shadowsocks' || (hop.username === undefined) === (hop.secret === undefined),
    '"username" and "secret" belong together',
  );

const StandaloneListener = z.strictObject({
  name: z.string().min(1).max(64),
  protocols: z.array(EndpointProtocol).min(1, 'must name at least one protocol'),
  host: Address.default('127.0.0.1'),
  port: z.int().min(1).max(65_535),
  egress: Egress.default('direct'),
  /** Shadowsocks: the cipher, and the password of the listener (standalone-shadowsocks.ts). */
  method: ShadowsocksMethodId.optional(),
  password: z.string().min(1).max(255).optional(),
  tls: Tls.optional(),
  chain: z.array(Hop).max(MAX_CHAIN_HOPS).optional(),
});

const StandaloneCredential = z
  .strictObject({
    username: z.string().min(1).max(64),
    secret: z.string().min(1).max(255).optional(),
    verifier: z
      .string()
      .regex(/^[0-9a-f]{64}$/, 'must be 64 lower-case hex digits (SHA-256 of the secret)')
      .optional(),
    /** For Shadowsocks listeners; where they may take it, "secret" will do. */
    password: z.string().min(1).max(255).optional(),
    /** Names of listeners it may use; all when left out. */
    listeners: z.array(z.string()).optional(),
  })
  .refine(
    credential => (credential.secret === undefined) !== (credential.verifier === undefined),
    'needs either "secret" or "verifier"',
  );

/** Threads that carry bytes; what "auto" means stands in data-plane/thread-count.ts. */
const Threads = z.union([z.int().min(1).max(64), z.literal('auto')], {
  error: 'must be a number from 1 to 64, or "auto"',
});

/** Where `GET /metrics` is served, for Prometheus; nowhere when left out. It asks for no password. */
const Metrics = z.strictObject({
  host: Address.default('127.0.0.1'),
  port: z.int().min(1).max(65_535),
});

const StandaloneFile = z
  .strictObject({
    listeners: z.array(StandaloneListener).min(1, 'must hold at least one listener').max(1_024),
    credentials: z.array(StandaloneCredential).min(1, 'must hold at least one credential').max(65_536),
    allowTargets: z.array(AllowTarget).max(1_024).default([]),
    /** Usage is kept in a spool here; without it, usage is only counted and shown at the end. */
    dataDir: z.string().min(1).optional(),
    threads: Threads.default(1),
    metrics: Metrics.optional(),
  })
  .superRefine((file, context) => {
    const names = new Map<string, number>();
    const places = new Map<string, number>();
    file.listeners.forEach((listener, index) => {
      const place = `${listener.host} ${listener.port}`;
      const same = names.get(listener.name);
      if (same !== undefined)
        context.addIssue({
          code: 'custom',
          path: ['listeners', index, 'name'],
          message: `is the name of listeners[${same}] already`,
        });
      const taken = places.get(place);
      if (taken !== undefined)
        context.addIssue({
          code: 'custom',
          path: ['listeners', index, 'port'],
          message: `is the port of listeners[${taken}] already`,
        });
      names.set(listener.name, index);
      places.set(place, index);
    });
    const users = new Set<string>();
    file.credentials.forEach((credential, index) => {
      if (users.has(credential.username))
        context.addIssue({
          code: 'custom',
          path: ['credentials', index, 'username'],
          message: 'is taken by another credential',
        });
      users.add(credential.username);
      for (const name of credential.listeners ?? [])
        if (!names.has(name))
          context.addIssue({
            code: 'custom',
            path: ['credentials', index, 'listeners'],
            message: `names "${name}", which is no listener of this file`,
          });
    });
    for (const { path, message } of shadowsocksServices(file).problems)
      context.addIssue({ code: 'custom', path, message });
  });

const NodeFile = z.strictObject({
  dataDir: z.string().min(1),
  cloud: z.strictObject({
    url: z.url({ protocol: /^https?$/, error: 'must be the http(s):// address of the cloud' }),
    /** An HTTP proxy to reach the cloud through, with user name and password in it where it wants them. */
    proxy: z
      .url({
        protocol: /^https?$/,
        error: 'must be the http(s):// address of a proxy, as http://NAME:PASSWORD@HOST:PORT',
      })
      .optional(),
    /** Certificates (PEM) to believe beside the well-known ones. */
    caFile: z.string().min(1).optional(),
    /** The box reaches the cloud over SIM data: the link then costs at most 6 MB a month while nothing happens. */
    metered: z.boolean().default(false),
  }),
  /** `"discover"`, alone or in the list: whatever is plugged into USB, beside the slots that are listed. */
  slots: z.union([
    z.literal('discover').transform((word): (SlotConfig | 'discover')[] => [word]),
    z.array(z.union([z.literal('discover'), SlotConfig])).max(256),
  ]),
  /** Services that answer with the address they see, asked through each modem. */
  echoUrls: z.array(z.url({ protocol: /^http$/, error: 'must be an http:// URL' })).max(8),
  allowTargets: z.array(AllowTarget).max(1_024).default([]),
  threads: Threads.default(1),
  metrics: Metrics.optional(),
});

export type StandaloneConfig = { kind: 'standalone' } & z.infer<typeof StandaloneFile>;
export type NodeConfig = { kind: 'node' } & z.infer<typeof NodeFile>;
export type AgentConfig = StandaloneConfig | NodeConfig;

/** Reads the file at `path`. Throws `config/unreadable`, or `config/invalid` with every problem in it. */
export function readAgentConfig(path: string): AgentConfig {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new CodedError('config/unreadable', `cannot read ${path}: ${messageOf(error)}`, {
      userMessage:
        codeOf(error) === 'ENOENT'
          ? `There is no file ${path}.`
          : `The file ${path} cannot be read: ${messageOf(error)}.`,
      cause: error,
    });
  }
  return parseAgentConfig(text, path);
}

/** The same from the file's text. */
export function parseAgentConfig(text: string, path: string): AgentConfig {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    // V8 quotes a piece of the text in its message, and the text holds secrets: only the place is told.
    const place = /position \d+(?: \(line \d+ column \d+\))?/.exec(messageOf(error))?.[0];
    throw new CodedError('config/invalid', `${path} is not JSON${place ? `, at ${place}` : ''}`);
  }
  const isNode = typeof value === 'object' && value !== null && 'cloud' in value;
  return isNode
    ? { kind: 'node', ...parseOrExplain(NodeFile, value, path, 'config/invalid') }
    : { kind: 'standalone', ...parseOrExplain(StandaloneFile, value, path, 'config/invalid') };
}
