/**
 * Names to addresses, asked through the modem that will carry the flow: from its source address and of its own name
 * servers, so that the answer fits the modem's network and no query leaks through another link. What may be reached
 * is judged afterwards, on the addresses (gate.ts).
 */
import { lookup, Resolver } from 'node:dns';
import { isIPv4 } from 'node:net';
import { codeOf } from '@mastline/shared/base/coded-error';
import type { RefusalReason } from '@mastline/shared/protocols/refusal';
import type { Egress } from '../ports';
import { familiesOf } from './source-address';

export type Resolution = { ok: true; addresses: string[] } | { ok: false; reason: RefusalReason };

/** One query to one server; c-ares doubles it with each further try. */
const QUERY_TIMEOUT_MS = 2_000;
const QUERY_TRIES = 2;
/** More than anybody can try within the dial deadline. */
const MAX_ADDRESSES = 8;

/** A lookup under way. `cancel` stops its queries; the promise then settles with a failure. */
export interface Lookup {
  result: Promise<Resolution>;
  cancel(): void;
}

/** Resolves `name` for a flow through `egress`. */
export function resolveName(name: string, egress: Pick<Egress, 'sourceAddress' | 'dnsServers'>): Lookup {
  if (isLocalhost(name))
    return {
      result: Promise.resolve({ ok: true, addresses: ['127.0.0.1', '::1'] }),
      cancel: () => undefined,
    };
  return egress.dnsServers.length === 0 ? askSystem(name, egress) : askServers(name, egress);
}

/** These names are the machine itself for everybody and are never asked of a server (RFC 6761 section 6.3). */
function isLocalhost(name: string): boolean {
  return /^(?:.+\.)?localhost\.?$/i.test(name);
}

/** The machine's own resolver. Its queries cannot be cancelled; their answer is then nobody's. */
function askSystem(name: string, egress: Pick<Egress, 'sourceAddress'>): Lookup {
  const families = familiesOf(egress.sourceAddress);
  const family = families.length === 2 ? 0 : (families[0] ?? 0);
  const result = new Promise<Resolution>(settle => {
    lookup(name, { all: true, family }, (error, entries) => {
      if (error) settle({ ok: false, reason: reasonOf(codeOf(error)) });
      else settle(found(entries.map(entry => entry.address)));
    });
  });
  return { result, cancel: () => undefined };
}

function askServers(name: string, egress: Pick<Egress, 'sourceAddress' | 'dnsServers'>): Lookup {
  const resolver = new Resolver({ timeout: QUERY_TIMEOUT_MS, tries: QUERY_TRIES });
  resolver.setServers(egress.dnsServers);
  const source = egress.sourceAddress;
  if (source !== null && !source.startsWith('127.'))
    if (isIPv4(source)) resolver.setLocalAddress(source);
    else resolver.setLocalAddress('0.0.0.0', source);
  const queries = familiesOf(source).map(
    family =>
      new Promise<string[] | { code: string | undefined }>(settle => {
        const done = (error: Error | null, addresses: string[]) =>
          settle(error ? { code: codeOf(error) } : addresses);
        if (family === 4) resolver.resolve4(name, done);
        else resolver.resolve6(name, done);
      }),
  );
  const result = Promise.all(queries).then((answers): Resolution => {
    const addresses = answers.flatMap(answer => (Array.isArray(answer) ? answer : []));
    if (addresses.length > 0) return found(addresses);
    // A name with an A record only answers ENODATA for AAAA; the more telling failure is the other one.
    const codes = answers.flatMap(answer => (Array.isArray(answer) ? [] : [answer.code]));
    return { ok: false, reason: reasonOf(codes.find(code => code !== 'ENODATA') ?? codes[0]) };
  });
  return { result, cancel: () => resolver.cancel() };
}

function found(addresses: string[]): Resolution {
  return addresses.length === 0
    ? { ok: false, reason: 'name-not-found' }
    : { ok: true, addresses: addresses.slice(0, MAX_ADDRESSES) };
}

function reasonOf(code: string | undefined): RefusalReason {
  switch (code) {
    case 'ENOTFOUND':
    case 'ENODATA':
    case 'ENONAME':
      return 'name-not-found';
    case 'ETIMEOUT':
    case 'ECANCELLED':
    case 'EAI_AGAIN':
      return 'resolver-timeout';
    default:
      return 'resolver-failed';
  }
}
