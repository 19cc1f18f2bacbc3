/** Our reader and writer of DNS messages against another's (dns-packet), and against garbage. */
import { type DnsQuestion, dnsQuery, readDnsAnswer } from '@mastline/shared/protocols/dns';
import {
  type Answer,
  AUTHORITATIVE_ANSWER,
  decode,
  encode,
  type Packet,
  TRUNCATED_RESPONSE,
} from 'dns-packet';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { holds } from './property';

const test = suite('DNS messages');
const QUESTION: DnsQuestion = { name: 'www.example.com', type: 'A' };
const SERVFAIL = 2;
const NXDOMAIN = 3;

const response = (overrides: Partial<Packet> = {}): Packet => ({
  type: 'response',
  id: 7,
  flags: AUTHORITATIVE_ANSWER,
  questions: [{ name: QUESTION.name, type: QUESTION.type, class: 'IN' }],
  answers: [],
  ...overrides,
});
const read = (overrides: Partial<Packet>, question = QUESTION) =>
  readDnsAnswer(encode(response(overrides)), 7, question);
const a = (name: string, data: string, ttl = 60): Answer => ({ type: 'A', name, ttl, data });
const cname = (name: string, data: string, ttl = 60): Answer => ({ type: 'CNAME', name, ttl, data });
const soa = (ttl: number, minimum: number): Answer => ({
  type: 'SOA',
  name: 'example.com',
  ttl,
  data: {
    mname: 'ns.example.com',
    rname: 'me.example.com',
    serial: 1,
    refresh: 2,
    retry: 3,
    expire: 4,
    minimum,
  },
});

const label = fc.stringMatching(/^[a-z0-9_]([a-z0-9_-]{0,20}[a-z0-9_])?$/);
const domain = fc.array(label, { minLength: 1, maxLength: 6 }).map(labels => labels.join('.'));

test('another reader reads our questions', () => {
  holds(
    fc.property(
      domain,
      fc.nat(0xffff),
      fc.constantFrom('A', 'AAAA'),
      fc.boolean(),
      (name, id, type, edns) => {
        const packet = decode(dnsQuery(id, { name, type } as DnsQuestion, edns));
        assert.is(packet.id, id);
        assert.is(packet.type, 'query');
        assert.is((packet.flags ?? 0) & 0x100, 0x100, 'recursion desired');
        assert.equal(packet.questions, [{ name, type, class: 'IN' }]);
        assert.equal(
          packet.additionals?.map(one => [one.type, 'udpPayloadSize' in one && one.udpPayloadSize]),
          edns ? [['OPT', 1_232]] : [],
        );
      },
    ),
  );
});

test('we read the answers of another writer', () => {
  const address = fc.ipV4();
  holds(
    fc.property(
      domain,
      fc.array(address, { minLength: 1, maxLength: 16 }),
      fc.nat(100_000),
      (name, addresses, ttl) => {
        const packet = response({
          questions: [{ name, type: 'A', class: 'IN' }],
          answers: addresses.map((one, at) => a(name.toUpperCase(), one, ttl + at)),
        });
        assert.equal(readDnsAnswer(encode(packet), 7, { name, type: 'A' }), {
          kind: 'found',
          addresses,
          ttlS: ttl,
        });
      },
    ),
  );
  assert.equal(
    readDnsAnswer(
      encode(
        response({
          questions: [{ name: 'a', type: 'AAAA', class: 'IN' }],
          answers: [{ type: 'AAAA', name: 'a', ttl: 9, data: '2001:db8::1' }],
        }),
      ),
      7,
      { name: 'a', type: 'AAAA' },
    ),
    { kind: 'found', addresses: ['2001:db8:0:0:0:0:0:1'], ttlS: 9 },
  );
});

test('aliases are followed, the shortest time on the way counts, and addresses of other names do not', () => {
  const answers = [
    a('elsewhere.example', '10.0.0.1', 1),
    cname('cdn.example', 'edge.example', 20),
    cname(QUESTION.name, 'cdn.example', 300),
    a('edge.example', '192.0.2.1', 40),
  ];
  assert.equal(read({ answers }), { kind: 'found', addresses: ['192.0.2.1'], ttlS: 20 });
  assert.equal(read({ answers: [a('elsewhere.example', '10.0.0.1')] }), {
    kind: 'none',
    exists: true,
    ttlS: null,
  });
  const circle = [cname(QUESTION.name, 'b.example'), cname('b.example', QUESTION.name)];
  assert.is(read({ answers: circle }), null);
});

test('what is not there is kept as long as the zone allows, an alias to it included', () => {
  assert.equal(read({ authorities: [soa(300, 60)] }), { kind: 'none', exists: true, ttlS: 60 });
  assert.equal(read({ authorities: [soa(30, 60)], flags: NXDOMAIN }), {
    kind: 'none',
    exists: false,
    ttlS: 30,
  });
  assert.equal(read({ flags: NXDOMAIN }), { kind: 'none', exists: false, ttlS: null });
  assert.equal(read({ answers: [cname(QUESTION.name, 'b.example', 5)], authorities: [soa(300, 60)] }), {
    kind: 'none',
    exists: true,
    ttlS: 5,
  });
});

test('failures, cut answers, and servers that cannot repeat a question', () => {
  assert.equal(read({ flags: SERVFAIL }), { kind: 'failed', rcode: SERVFAIL });
  assert.equal(read({ flags: 1, questions: [] }), { kind: 'failed', rcode: 1 });
  assert.equal(read({ flags: TRUNCATED_RESPONSE, answers: [a(QUESTION.name, '192.0.2.1')] }), {
    kind: 'truncated',
  });
});

test('a message that answers something else is no answer', () => {
  const answers = [a(QUESTION.name, '192.0.2.1')];
  const good = encode(response({ answers }));
  assert.ok(readDnsAnswer(good, 7, QUESTION));
  assert.is(readDnsAnswer(good, 8, QUESTION), null, 'another id');
  assert.is(readDnsAnswer(good, 7, { ...QUESTION, name: 'example.com' }), null, 'another name');
  assert.is(readDnsAnswer(good, 7, { ...QUESTION, type: 'AAAA' }), null, 'another type');
  assert.is(
    readDnsAnswer(encode({ ...response({ answers }), type: 'query' }), 7, QUESTION),
    null,
    'a question',
  );
  assert.is(read({ answers, questions: [] }), null, 'no question');
});

test('cut and garbled messages are refused, never misread, and end', () => {
  const good = encode(
    response({
      answers: [cname(QUESTION.name, 'edge.example'), a('edge.example', '192.0.2.1')],
      authorities: [soa(1, 1)],
    }),
  );
  for (let length = 0; length < good.length; length += 1)
    assert.is(readDnsAnswer(good.subarray(0, length), 7, QUESTION), null, `first ${length} bytes`);
  holds(
    fc.property(fc.array(fc.tuple(fc.nat(good.length - 1), fc.nat(255)), { maxLength: 6 }), changes => {
      const bytes = Buffer.from(good);
      for (const [at, value] of changes) bytes[at] = value;
      const answer = readDnsAnswer(bytes, 7, QUESTION);
      if (answer?.kind === 'found') assert.ok(answer.addresses.length > 0 && answer.ttlS >= 0);
    }),
    3_000,
  );
  holds(
    fc.property(fc.uint8Array({ maxLength: 600 }), bytes => {
      assert.is(readDnsAnswer(Buffer.from(bytes), 7, QUESTION), null);
    }),
    500,
  );
  // A pointer to itself, and two that point to each other.
  const loop = Buffer.concat([good.subarray(0, 12), Buffer.from([0xc0, 12, 0, 1, 0, 1])]);
  assert.is(readDnsAnswer(loop, 7, QUESTION), null);
});

test.run();
