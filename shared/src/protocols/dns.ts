/**
 * DNS messages as one needs them who asks for addresses (RFC 1035 section 4): a question to bytes, and bytes to what
 * the answer to that question says and how long it holds. Pure; sending, repeating and keeping are the asker's work.
 *
 *     | ID | flags, RCODE | counts 4 × 2 | question: name, type, class | answers | authority | additional |
 *     record: | name | type 2 | class 2 | TTL 4 | length 2 | data |
 */
import { formatIpv6 } from './socks5';

export interface DnsQuestion {
  /** In lower case, without its final dot. */
  name: string;
  type: 'A' | 'AAAA';
}

export type DnsAnswer =
  /** `ttlS`: the least of all records on the way, aliases included. */
  | { kind: 'found'; addresses: string[]; ttlS: number }
  /**
   * No such record, and whether the name exists at all. `ttlS`: what the zone allows to keep this (RFC 2308 section
   * 5); null when it says nothing, and then it should not be kept.
   */
  | { kind: 'none'; exists: boolean; ttlS: number | null }
  /** Ask again by TCP. */
  | { kind: 'truncated' }
  /** The server says that it cannot or will not. */
  | { kind: 'failed'; rcode: number };

const TYPES = { A: 1, AAAA: 28 } as const;
const TYPE_CNAME = 5;
const TYPE_SOA = 6;
const TYPE_OPT = 41;
const CLASS_IN = 1;
const HEADER_BYTES = 12;
/** What passes every path unfragmented (DNS flag day 2020). */
const UDP_BYTES = 1_232;
const NXDOMAIN = 3;
/** Of one answer; more than anybody tries. */
const MAX_ADDRESSES = 16;
const MAX_ALIASES = 16;

/** A server that answers with this does not know EDNS (RFC 6891 section 7): ask without. */
export const RCODE_FORMAT_ERROR = 1;

/** The question as a message, recursion desired; with `edns`, for answers of up to 1232 bytes. */
export function dnsQuery(id: number, question: DnsQuestion, edns: boolean): Buffer {
  const name = Buffer.from(`.${question.name}`, 'latin1');
  // Dots become lengths, from the end.
  for (let at = name.length - 1, length = 0; at >= 0; at -= 1) {
    length += 1;
    if (name[at] !== 0x2e) continue;
    name[at] = length - 1;
    length = 0;
  }
  const head = Buffer.from([id >> 8, id & 0xff, 0x01, 0x00, 0, 1, 0, 0, 0, 0, 0, edns ? 1 : 0]);
  const tail = Buffer.from([0, 0, TYPES[question.type], 0, CLASS_IN]);
  const opt = edns ? [0, 0, TYPE_OPT, UDP_BYTES >> 8, UDP_BYTES & 0xff, 0, 0, 0, 0, 0, 0] : [];
  return Buffer.concat([head, name, tail, Buffer.from(opt)]);
}

/** What `message` says to the question of this id; null when it is malformed or answers another one. */
export function readDnsAnswer(message: Buffer, id: number, question: DnsQuestion): DnsAnswer | null {
  if (message.length < HEADER_BYTES || message.readUInt16BE(0) !== id) return null;
  const [flags, rcode] = [message[2] ?? 0, (message[3] ?? 0) & 0x0f];
  const isResponse = (flags & 0xf8) === 0x80;
  if (!isResponse) return null;
  const reader = new Reader(message);
  const questions = message.readUInt16BE(4);
  // Servers that cannot read a question cannot repeat it.
  if (questions === 0 && rcode !== 0 && rcode !== NXDOMAIN) return { kind: 'failed', rcode };
  if (questions !== 1 || !reader.isQuestion(question)) return null;
  if ((flags & 0x02) !== 0) return { kind: 'truncated' };
  if (rcode !== 0 && rcode !== NXDOMAIN) return { kind: 'failed', rcode };
  const records = reader.records(message.readUInt16BE(6));
  const authority = records && reader.records(message.readUInt16BE(8));
  return authority ? answerOf(question, { records, authority, exists: rcode === 0 }) : null;
}

interface DnsRecord {
  owner: string;
  type: number;
  ttlS: number;
  data: Buffer;
  /** What an alias stands for; empty for other records. */
  alias: string;
}

function answerOf(
  question: DnsQuestion,
  message: { records: DnsRecord[]; authority: DnsRecord[]; exists: boolean },
): DnsAnswer | null {
  const { records, authority, exists } = message;
  let owner = question.name;
  let ttlS = Number.POSITIVE_INFINITY;
  for (let aliases = 0; ; aliases += 1) {
    const alias = records.find(record => record.type === TYPE_CNAME && record.owner === owner);
    if (!alias) break;
    if (aliases === MAX_ALIASES) return null;
    owner = alias.alias;
    ttlS = Math.min(ttlS, alias.ttlS);
  }
  const type = TYPES[question.type];
  const length = question.type === 'A' ? 4 : 16;
  const addresses: string[] = [];
  for (const record of records) {
    if (record.type !== type || record.owner !== owner || record.data.length !== length) continue;
    ttlS = Math.min(ttlS, record.ttlS);
    if (addresses.length < MAX_ADDRESSES)
      addresses.push(length === 4 ? record.data.join('.') : formatIpv6(record.data));
  }
  if (addresses.length > 0) return { kind: 'found', addresses, ttlS };
  // MINIMUM is the last field of SOA (RFC 1035 section 3.3.13): two names and five numbers.
  const soa = authority.find(record => record.type === TYPE_SOA && record.data.length >= 22);
  const keptS = soa ? Math.min(soa.ttlS, soa.data.readUInt32BE(soa.data.length - 4), ttlS) : null;
  return { kind: 'none', exists, ttlS: keptS };
}

class Reader {
  readonly #bytes: Buffer;
  #at = HEADER_BYTES;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  isQuestion({ name, type }: DnsQuestion): boolean {
    const read = this.#name(this.#at);
    if (read === null || read.end + 4 > this.#bytes.length) return false;
    this.#at = read.end + 4;
    return (
      read.name === name &&
      this.#bytes.readUInt16BE(read.end) === TYPES[type] &&
      this.#bytes.readUInt16BE(read.end + 2) === CLASS_IN
    );
  }

  /** The next `count` records, those of other classes left out; null when they are not all there. */
  records(count: number): DnsRecord[] | null {
    const records: DnsRecord[] = [];
    for (let nth = 0; nth < count; nth += 1) {
      const owner = this.#name(this.#at);
      if (owner === null || owner.end + 10 > this.#bytes.length) return null;
      const fixed = this.#bytes.subarray(owner.end, owner.end + 10);
      const begin = owner.end + 10;
      const end = begin + fixed.readUInt16BE(8);
      if (end > this.#bytes.length) return null;
      this.#at = end;
      if (fixed.readUInt16BE(2) !== CLASS_IN) continue;
      const type = fixed.readUInt16BE(0);
      const alias = type === TYPE_CNAME ? this.#name(begin) : { name: '', end };
      if (alias === null || alias.end !== end) return null;
      const ttlS = fixed.readUInt32BE(4);
      records.push({
        owner: owner.name,
        type,
        // A TTL with its highest bit set is none (RFC 2181 section 8).
        ttlS: ttlS > 0x7fffffff ? 0 : ttlS,
        data: this.#bytes.subarray(begin, end),
        alias: alias.name,
      });
    }
    return records;
  }

  /** The name at `at` in lower case, and the first byte behind it. Pointers must lead backward, so they end. */
  #name(at: number): { name: string; end: number } | null {
    const bytes = this.#bytes;
    const labels: string[] = [];
    let end: number | null = null;
    let length = 0;
    let here = at;
    let limit = at;
    for (;;) {
      const size = bytes[here];
      if (size === undefined) return null;
      if (size === 0) return { name: labels.join('.'), end: end ?? here + 1 };
      if ((size & 0xc0) === 0xc0) {
        const low = bytes[here + 1];
        if (low === undefined) return null;
        end ??= here + 2;
        const to = ((size & 0x3f) << 8) | low;
        if (to >= limit) return null;
        here = to;
        limit = to;
        continue;
      }
      length += size + 1;
      if (size > 63 || length > 254 || here + 1 + size > bytes.length) return null;
      // A dot within a label is not one between two.
      labels.push(
        bytes
          .toString('latin1', here + 1, here + 1 + size)
          .toLowerCase()
          .replaceAll('.', '\\.'),
      );
      here += 1 + size;
    }
  }
}
