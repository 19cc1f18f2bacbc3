/**
 * An endpoint's settings as a person types them, and what procedures take. Pure. A stored secret is never in a form:
 * an empty password field keeps it.
 */
import type { ChainInput, EndpointView, OpenToInput, ProtocolsInput } from './api-types';
import { words } from './limits-form';

/** What an endpoint can speak, as one choice. */
export const SPEAKS = [
  ['socks5,http', 'SOCKS5 and HTTP'],
  ['socks5', 'SOCKS5 only'],
  ['http', 'HTTP only'],
  ['shadowsocks', 'Shadowsocks'],
] as const;

/** The best first. */
const METHODS = [
  '2022-blake3-aes-128-gcm',
  '2022-blake3-aes-256-gcm',
  'chacha20-ietf-poly1305',
  'aes-256-gcm',
  'aes-128-gcm',
] as const;
/** For a choice: each is called what it is. */
export const METHOD_CHOICES = METHODS.map(method => [method, method] as const);

export const HOP_PROTOCOLS = [
  ['socks5', 'SOCKS5'],
  ['http', 'HTTP'],
  ['shadowsocks', 'Shadowsocks'],
] as const;

export interface ProtocolValues {
  speaks: string;
  method: string;
  tls: string;
}

export function protocolValues(endpoint: EndpointView): ProtocolValues {
  const { protocols, method, tls } = endpoint;
  const both = protocols.includes('socks5') && protocols.includes('http');
  return {
    speaks: both ? 'socks5,http' : (protocols[0] ?? ''),
    method: method ?? METHODS[0],
    tls: tls ?? '',
  };
}

export function readProtocols(form: FormData, id: string): { values: ProtocolValues; input: ProtocolsInput } {
  const values = { speaks: text(form, 'speaks'), method: text(form, 'method'), tls: text(form, 'tls') };
  const shadowsocks = values.speaks === 'shadowsocks';
  const known = SPEAKS.some(([value]) => value === values.speaks);
  return {
    values,
    // The server judges what the choices do not offer.
    input: {
      id,
      protocols: (known ? values.speaks.split(',') : []) as ProtocolsInput['protocols'],
      method: shadowsocks ? (values.method as ProtocolsInput['method']) : null,
      // Hidden beside Shadowsocks, where it would mean nothing.
      tls: shadowsocks || values.tls === '' ? null : (values.tls as ProtocolsInput['tls']),
    },
  };
}

export interface OpenToValues {
  sourceAddresses: string;
  credentialId: string;
}

export function openToValues({ openTo }: EndpointView, first: string): OpenToValues {
  return {
    sourceAddresses: (openTo?.sourceAddresses ?? []).join('\n'),
    credentialId: openTo?.credentialId ?? first,
  };
}

/** No address means: nobody without a login. */
export function readOpenTo(form: FormData, id: string): { values: OpenToValues; input: OpenToInput } {
  const values = {
    sourceAddresses: text(form, 'sourceAddresses'),
    credentialId: text(form, 'credentialId'),
  };
  const sourceAddresses = words(values.sourceAddresses);
  const { credentialId } = values;
  return {
    values,
    input: { id, openTo: sourceAddresses.length === 0 ? null : { sourceAddresses, credentialId } },
  };
}

export interface HopValues {
  id: string;
  protocol: string;
  host: string;
  port: string;
  username: string;
  method: string;
  /** A password is stored for it. */
  hasSecret: boolean;
  remove: boolean;
}

const BLANK: HopValues = {
  id: '',
  protocol: 'socks5',
  host: '',
  port: '',
  username: '',
  method: METHODS[0],
  hasSecret: false,
  remove: false,
};

/** What is there, and an empty one to add, as long as there may be more. */
export function hopValues({ chain }: EndpointView, max: number): HopValues[] {
  const hops = chain.map(hop => ({
    id: hop.id,
    protocol: hop.protocol,
    host: hop.host,
    port: String(hop.port),
    username: hop.username ?? '',
    method: hop.method ?? METHODS[0],
    hasSecret: hop.hasSecret,
    remove: false,
  }));
  return hops.length < max ? [...hops, BLANK] : hops;
}

/** `rows[at]` is the row of the form that hop `at` was typed in: empty ones and those to remove are no hops. */
export function readChain(
  form: FormData,
  endpoint: Pick<EndpointView, 'id' | 'chain'>,
): { values: HopValues[]; input: ChainInput; rows: number[] } {
  const values: HopValues[] = [];
  const hops: ChainInput['hops'] = [];
  const rows: number[] = [];
  for (let row = 0; form.has(`hop.${row}.protocol`); row += 1) {
    const field = (name: string) => text(form, `hop.${row}.${name}`);
    const secret = form.get(`hop.${row}.secret`);
    const id = field('id');
    const value: HopValues = {
      id,
      protocol: field('protocol'),
      host: field('host'),
      port: field('port'),
      username: field('username'),
      method: field('method'),
      hasSecret: endpoint.chain.some(hop => hop.id === id && hop.hasSecret),
      remove: form.has(`hop.${row}.remove`),
    };
    values.push(value);
    const empty =
      id === '' && value.host === '' && value.port === '' && value.username === '' && secret === '';
    if (empty || value.remove) continue;
    rows.push(row);
    const shadowsocks = value.protocol === 'shadowsocks';
    hops.push({
      id: id === '' ? null : id,
      protocol: value.protocol as ChainInput['hops'][number]['protocol'],
      host: value.host,
      port: value.port === '' ? Number.NaN : Number(value.port),
      username: shadowsocks || value.username === '' ? null : value.username,
      // As it was typed: a password may begin with a space.
      secret: typeof secret === 'string' && secret !== '' ? secret : null,
      method: shadowsocks ? (value.method as ChainInput['hops'][number]['method']) : null,
    });
  }
  return { values, input: { id: endpoint.id, hops }, rows };
}

function text(form: FormData, name: string): string {
  const value = form.get(name);
  return typeof value === 'string' ? value.trim() : '';
}
