/**
 * The configuration file of an agent that serves alone, as zod schemas: what each field may hold, then what the
 * fields must be to each other. What is made of it is standalone-plan.ts; agent/README.md documents every field.
 */
import { isIPv4, isIPv6 } from 'node:net';
import {
  EndpointProtocol,
  MAX_CHAIN_HOPS,
  OpenRange,
  ShadowsocksMethodId,
} from '@mastline/shared/domain/endpoint';
import { FlowLimits, QuotaLease } from '@mastline/shared/domain/flow-limits';
import { chainProblems } from '@mastline/shared/protocols/chain-hops';
import { z } from 'zod';
import { Address, AllowTargets, Firewall, Metrics, Threads } from './config-fields';
import { shadowsocksServices } from './standalone-shadowsocks';

const DnsServer = z
  .string()
  .regex(
    /^(?:[0-9.]+(?::[0-9]{1,5})?|\[[0-9A-Fa-f:.]+\](?::[0-9]{1,5})?|[0-9A-Fa-f:.]+)$/,
    'must be ADDRESS or ADDRESS:PORT of a name server',
  );

const Address6 = z.string().refine(text => isIPv6(text), 'must be an IPv6 address');

/** The limits of shared/domain/flow-limits.ts, where a misspelt one must not go unnoticed. */
const Limits = z
  .strictObject({
    ...FlowLimits.shape,
    quota: z.strictObject(QuotaLease.shape).optional(),
    expiresAt: z.iso
      .datetime({ offset: true, error: 'must be a time such as "2027-01-31T12:00:00Z"' })
      .transform(text => Date.parse(text))
      .optional(),
  })
  .refine(limits => limits.whenFull === undefined || limits.concurrentFlows !== undefined, {
    path: ['whenFull'],
    error: 'says what happens beyond "concurrentFlows", which is not set',
  });

const EgressObject = z
  .strictObject(
    {
      address: Address.optional(),
      /** Flows of both families then leave this way. */
      address6: Address6.optional(),
      interface: z.string().min(1).max(15).optional(),
      dnsServers: z.array(DnsServer).max(8).optional(),
      /** Of all that leaves this way, whoever uses it. */
      limits: Limits.optional(),
    },
    { error: 'must be "direct", or an object with "address" or "interface", "dnsServers" and "limits"' },
  )
  .refine(egress => egress.address === undefined || egress.interface === undefined, {
    path: ['interface'],
    error: 'cannot stand beside "address": leave one of them out',
  })
  .refine(egress => egress.address6 === undefined || isIPv4(egress.address ?? ''), {
    path: ['address6'],
    error: 'stands beside an IPv4 "address"; a way out of IPv6 alone has it as its "address"',
  })
  .refine(
    egress =>
      egress.dnsServers === undefined || egress.address !== undefined || egress.interface !== undefined,
    { path: ['dnsServers'], error: 'needs "address" or "interface": what is direct asks the system' },
  );

/** `"direct"` is the way out without a word. */
const Egress = z.preprocess(value => (value === 'direct' ? {} : value), EgressObject);
export type EgressConfig = z.infer<typeof EgressObject>;

const Tls = z.strictObject({
  certFile: z.string().min(1),
  keyFile: z.string().min(1),
  /** False: clients without TLS are served as well. */
  required: z.boolean().default(true),
});

const Hop = z.strictObject({
  protocol: z.enum(['socks5', 'http', 'shadowsocks']),
  host: z.string().min(1).max(253),
  port: z.int().min(1).max(65_535),
  username: z.string().min(1).max(255).optional(),
  secret: z.string().min(1).max(1024).optional(),
  method: ShadowsocksMethodId.optional(),
});

/** Who needs no login, and as whom. */
const OpenTo = z.strictObject({
  sourceAddresses: z.array(OpenRange).min(1, 'must name at least one address').max(256),
  credential: z.string().min(1).max(64),
});

const Listener = z.strictObject({
  name: z.string().min(1).max(64),
  protocols: z.array(EndpointProtocol).min(1, 'must name at least one protocol'),
  host: Address.default('127.0.0.1'),
  port: z.int().min(1).max(65_535),
  egress: Egress.default({}),
  openTo: OpenTo.optional(),
  /** Shadowsocks: the cipher, and the password of the listener (standalone-shadowsocks.ts). */
  method: ShadowsocksMethodId.optional(),
  password: z.string().min(1).max(255).optional(),
  tls: Tls.optional(),
  chain: z.array(Hop).max(MAX_CHAIN_HOPS).optional(),
});

const Credential = z
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
    limits: Limits.optional(),
  })
  .refine(
    credential => (credential.secret === undefined) !== (credential.verifier === undefined),
    'needs either "secret" or "verifier"',
  );

const Fields = z.strictObject({
  listeners: z.array(Listener).min(1, 'must hold at least one listener').max(1_024),
  credentials: z.array(Credential).min(1, 'must hold at least one credential').max(65_536),
  allowTargets: AllowTargets,
  /** Usage is kept in a spool here; without it, usage is only counted and shown at the end. */
  dataDir: z.string().min(1).optional(),
  threads: Threads.default(1),
  firewall: Firewall,
  metrics: Metrics.optional(),
});
type Fields = z.infer<typeof Fields>;

interface Problem {
  path: (string | number)[];
  message: string;
}

export const StandaloneFile = Fields.superRefine((file, context) => {
  const problems = [
    ...nameProblems(file),
    ...egressProblems(file),
    ...openToProblems(file),
    ...file.listeners.flatMap(({ chain = [] }, index) =>
      chainProblems(chain).map(({ at, field, message }) => ({
        path: ['listeners', index, 'chain', at, field],
        message,
      })),
    ),
    ...shadowsocksServices(file).problems,
  ];
  for (const { path, message } of problems) context.addIssue({ code: 'custom', path, message });
});

/** The way out as a text: listeners with the same one share a slot, and its limits. */
export function egressKey({ limits: _shared, ...way }: EgressConfig): string {
  const { address = null, address6 = null, dnsServers = [] } = way;
  return JSON.stringify([address, address6, way.interface ?? null, dnsServers]);
}

/** Names that are taken, ports that are taken, names that lead nowhere. */
function nameProblems({ listeners, credentials }: Fields): Problem[] {
  const problems: Problem[] = [];
  const names = new Map<string, number>();
  const places = new Map<string, number>();
  listeners.forEach(({ name, host, port }, index) => {
    const same = names.get(name);
    if (same !== undefined)
      problems.push({
        path: ['listeners', index, 'name'],
        message: `is the name of listeners[${same}] already`,
      });
    const taken = places.get(`${host} ${port}`);
    if (taken !== undefined)
      problems.push({
        path: ['listeners', index, 'port'],
        message: `is the port of listeners[${taken}] already`,
      });
    names.set(name, index);
    places.set(`${host} ${port}`, index);
  });
  const users = new Set<string>();
  credentials.forEach(({ username, listeners: allowed }, index) => {
    if (users.has(username))
      problems.push({
        path: ['credentials', index, 'username'],
        message: 'is taken by another credential',
      });
    users.add(username);
    for (const name of allowed ?? [])
      if (!names.has(name))
        problems.push({
          path: ['credentials', index, 'listeners'],
          message: `names "${name}", which is no listener of this file`,
        });
  });
  return problems;
}

/** Limits belong to the way out, so they are written once, or alike. */
function egressProblems({ listeners }: Fields): Problem[] {
  const problems: Problem[] = [];
  const known = new Map<string, { index: number; limits: string }>();
  listeners.forEach(({ egress }, index) => {
    if (egress.limits === undefined) return;
    const limits = JSON.stringify(egress.limits);
    const first = known.get(egressKey(egress));
    if (first === undefined) known.set(egressKey(egress), { index, limits });
    else if (first.limits !== limits)
      problems.push({
        path: ['listeners', index, 'egress', 'limits'],
        message: `differ from those of listeners[${first.index}], which leaves the same way: write them once`,
      });
  });
  return problems;
}

function openToProblems({ listeners, credentials }: Fields): Problem[] {
  const problems: Problem[] = [];
  listeners.forEach(({ name, protocols, openTo }, index) => {
    if (!openTo) return;
    const say = (field: string[], message: string) =>
      problems.push({ path: ['listeners', index, 'openTo', ...field], message });
    if (protocols.includes('shadowsocks'))
      say([], 'is not for Shadowsocks: whoever has no key cannot speak it');
    const credential = credentials.find(one => one.username === openTo.credential);
    if (!credential) say(['credential'], `names "${openTo.credential}", which is no credential of this file`);
    else if (credential.listeners && !credential.listeners.includes(name))
      say(['credential'], `names "${openTo.credential}", which may not use this listener`);
  });
  return problems;
}
