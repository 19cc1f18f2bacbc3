/**
 * Who the simulated nodes are: everything about node `n` follows from the seed and `n`, so that the process that puts it
 * into the database and the one that plays it need not tell each other. Records too: what node `n` counted under a
 * sequence can be computed again when the ledger is checked, instead of being kept.
 */
import { createHash, createPrivateKey, type KeyObject } from 'node:crypto';
import type { UsageRecord } from '@mastline/shared/domain/usage';
import { PERIOD_MS } from '@mastline/shared/domain/usage-period';

export interface FleetShape {
  seed: number;
  modems: number;
  /** Epoch milliseconds of the first period. */
  startMs: number;
  /** Time between two commits of a node, milliseconds. */
  everyMs: number;
}

/** PKCS #8 header of a raw Ed25519 private key (RFC 8410 section 7). */
const PKCS8 = Buffer.from('302e020100300506032b657004220420', 'hex');

const digest = (text: string) => createHash('sha256').update(text).digest();

/** A UUID (version 8, RFC 9562 section 5.8) made of a name: the same each time. */
export function uuidOf(seed: number, name: string): string {
  const bytes = digest(`${seed} ${name}`).subarray(0, 16);
  bytes.writeUInt8((bytes.readUInt8(6) & 0x0f) | 0x80, 6);
  bytes.writeUInt8((bytes.readUInt8(8) & 0x3f) | 0x80, 8);
  const hex = bytes.toString('hex');
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20)}`;
}

export function deviceKeyOf(seed: number, index: number): KeyObject {
  return createPrivateKey({
    key: Buffer.concat([PKCS8, digest(`${seed} key ${index}`)]),
    format: 'der',
    type: 'pkcs8',
  });
}

/** Nodes of one customer, and how many credentials it has. */
export const NODES_PER_CUSTOMER = 100;
export const CREDENTIALS_PER_CUSTOMER = 4;
/** Nodes of one host. */
export const NODES_PER_HOST = 50;

export const nodeIdOf = (seed: number, index: number) => uuidOf(seed, `node ${index}`);
export const endpointIdOf = (seed: number, index: number) => uuidOf(seed, `endpoint ${index}`);
export const epochOf = (seed: number, index: number) => uuidOf(seed, `epoch ${index}`);
export const hostOf = (seed: number, index: number) =>
  uuidOf(seed, `host ${Math.floor(index / NODES_PER_HOST)}`);
export const customerOf = (seed: number, index: number) =>
  uuidOf(seed, `customer ${Math.floor(index / NODES_PER_CUSTOMER)}`);
export const credentialIdOf = (seed: number, index: number, which: number) =>
  uuidOf(seed, `credential ${Math.floor(index / NODES_PER_CUSTOMER)} ${which}`);
export const imeiOf = (index: number, slot: number) => `35${String(index * 256 + slot).padStart(13, '0')}`;

const mixed = (a: number, b: number) => (Math.imul(a + 1, 2_654_435_761) ^ Math.imul(b + 1, 40_503)) >>> 0;
export const upBytesOf = (index: number, sequence: number) => 500 + (mixed(index, sequence) % 200_000);
export const downBytesOf = (index: number, sequence: number) => 1_000 + (mixed(sequence, index) % 5_000_000);

/** A few thousand names that each record would otherwise have to be hashed for anew; bounded by credentials and nodes there are. */
const named = new Map<string, string>();
function remembered(name: string, make: () => string): string {
  let value = named.get(name);
  if (value === undefined) {
    value = make();
    named.set(name, value);
  }
  return value;
}

/** The record that node `index` has under `sequence`. A liar names others' endpoints, credentials and times. */
export function recordOf(
  shape: FleetShape,
  of: { index: number; sequence: number; skewMs: number; isLiar: boolean },
): UsageRecord {
  const { index, sequence } = of;
  const turn = Math.floor((sequence - 1) / shape.modems);
  const at = shape.startMs + turn * shape.everyMs + of.skewMs;
  const lie = of.isLiar ? sequence % 4 : 0;
  const endpointOf = lie === 3 ? index + 1 : index;
  const which = turn % CREDENTIALS_PER_CUSTOMER;
  const periodStart =
    lie === 1 ? 0 : lie === 2 ? 4_000_000_000_000 - (4_000_000_000_000 % PERIOD_MS) : at - (at % PERIOD_MS);
  return {
    sequence,
    periodStart: Math.max(0, periodStart),
    endpointId: remembered(`e ${endpointOf}`, () => endpointIdOf(shape.seed, endpointOf)),
    credentialId: remembered(`c ${Math.floor(index / NODES_PER_CUSTOMER)} ${which}`, () =>
      credentialIdOf(shape.seed, index, which),
    ),
    slot: (sequence - 1) % shape.modems,
    imei: imeiOf(index, (sequence - 1) % shape.modems),
    upBytes: upBytesOf(index, sequence),
    downBytes: downBytesOf(index, sequence),
    flows: 1,
  };
}
