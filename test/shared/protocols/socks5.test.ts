import { SOCKS5_CONNECTED, Socks5Handshake, type Socks5Step } from '@mastline/shared/protocols/socks5';
import { Socks5Client } from '@mastline/shared/protocols/socks5-client';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { everySplit } from '../../support/chunks';
import { suite } from '../../support/suite';
import { cuts, nearly, singleBytes } from './mutations';
import { holds } from './property';

const test = suite('SOCKS5');
const hex = (text: string) => Buffer.from(text.replaceAll(' ', ''), 'hex');

interface Run {
  sent: string;
  end: Socks5Step;
  login: string | null;
}

/** Feeds `chunks` as a session would, accepting the login "user"/"pass" only. */
function play(chunks: Buffer[], withoutPassword = false): Run {
  const handshake = new Socks5Handshake({ withoutPassword });
  const sent: Buffer[] = [];
  let login: string | null = null;
  let after: Buffer[] = [];
  let end: Socks5Step = { kind: 'more' };
  for (const [index, chunk] of chunks.entries()) {
    // The parser may not keep views: the memory is overwritten as a shared read buffer would be.
    const memory = Buffer.from(chunk);
    handshake.feed(memory);
    for (;;) {
      end = handshake.next();
      if (end.kind === 'reply') sent.push(Buffer.from(end.bytes));
      else if (end.kind === 'authenticate') {
        login = `${end.username}/${end.secret}`;
        handshake.authenticated(login === 'user/pass');
      } else break;
    }
    if (end.kind === 'refuse') sent.push(end.bytes);
    if (end.kind === 'request') {
      after = chunks.slice(index + 1);
      end = { ...end, surplus: Buffer.concat([end.surplus, ...after]) };
      break;
    }
    if (end.kind === 'refuse') break;
    memory.fill(0xee);
  }
  return { sent: Buffer.concat(sent).toString('hex'), end, login };
}

const LOGIN = '05 01 02  01 04 75736572 04 70617373';

test('reads a request with password, however it is cut, and gives the surplus back', () => {
  const requests: [string, string, number][] = [
    ['05 01 00 01 5db8d822 0050', '93.184.216.34', 80],
    ['05 01 00 03 0b 6578616d706c652e636f6d 01bb', 'example.com', 443],
    ['05 01 00 04 20010db8000000000000000000000001 01bb', '2001:db8:0:0:0:0:0:1', 443],
  ];
  for (const [request, host, port] of requests) {
    const bytes = Buffer.concat([hex(LOGIN), hex(request), Buffer.from('surplus')]);
    for (const split of everySplit(bytes)) {
      const { sent, end, login } = play(split);
      assert.is(sent, '05020100');
      assert.is(login, 'user/pass');
      if (end.kind !== 'request') throw new Error(`got ${end.kind}`);
      assert.is(end.command, 'connect');
      assert.equal(end.target, { host, port });
      assert.is(end.surplus.toString(), 'surplus');
    }
  }
});

const refusals: [string, string, string, string][] = [
  ['a wrong secret', '05 01 02 01 04 75736572 04 77726f6e', 'bad-credentials', '05020101'],
  ['a client that offers no password', '05 01 00', 'credentials-required', '05ff'],
  ['an empty list of methods', '05 00', 'credentials-required', '05ff'],
  ['SOCKS4, in its own words', '04 01 0050 5db8d822 00', 'unsupported-protocol', '005b000000000000'],
  ['a wrong version in the greeting', '06 01 02', 'unsupported-protocol', ''],
  ['a wrong version of the password message', '05 01 02 05', 'bad-request', '05020101'],
  [
    'a wrong version in the request',
    `${LOGIN} 04 01 00 01 01010101 0050`,
    'bad-request',
    '05020100 05010001000000000000',
  ],
  [
    'a reserved byte that is not zero',
    `${LOGIN} 05 01 01 01 01010101 0050`,
    'bad-request',
    '05020100 05010001000000000000',
  ],
  [
    'an unknown command',
    `${LOGIN} 05 09 00 01 01010101 0050`,
    'command-not-supported',
    '05020100 05070001000000000000',
  ],
  [
    'an unknown address type',
    `${LOGIN} 05 01 00 02`,
    'address-type-not-supported',
    '05020100 05080001000000000000',
  ],
  ['port 0', `${LOGIN} 05 01 00 01 01010101 0000`, 'bad-request', '05020100 05010001000000000000'],
  ['an empty name', `${LOGIN} 05 01 00 03 00 0050`, 'bad-request', '05020100 05010001000000000000'],
  [
    'a name with a blank',
    `${LOGIN} 05 01 00 03 03 612062 0050`,
    'bad-request',
    '05020100 05010001000000000000',
  ],
];
for (const [what, bytes, reason, answer] of refusals)
  test(`refuses ${what}`, () => {
    for (const split of everySplit(hex(bytes))) {
      const { sent, end } = play(split);
      assert.is(end.kind, 'refuse');
      assert.is(end.kind === 'refuse' && end.reason, reason);
      assert.is(sent, answer.replaceAll(' ', ''));
    }
  });

test('takes no password where the client is known by its address', () => {
  const { sent, end } = play([hex('05 02 00 02 05 01 00 01 01010101 0050')], true);
  assert.is(sent, '0500');
  assert.is(end.kind, 'request');
});

test('knows BIND and UDP ASSOCIATE (which may name port 0)', () => {
  const udp = play([hex(`${LOGIN} 05 03 00 01 00000000 0000`)]).end;
  assert.is(udp.kind === 'request' && udp.command, 'udp-associate');
  const bind = play([hex(`${LOGIN} 05 02 00 01 01010101 0050`)]).end;
  assert.is(bind.kind === 'request' && bind.command, 'bind');
});

test('a name that is an address literal is an address, an obscure number is nothing', () => {
  const named = (name: string) =>
    play([
      Buffer.concat([
        hex(`${LOGIN} 05 01 00 03`),
        Buffer.from([name.length]),
        Buffer.from(name),
        hex('0050'),
      ]),
    ]).end;
  const target = (step: Socks5Step) => (step.kind === 'request' ? step.target.host : step.kind);
  assert.is(target(named('127.0.0.1')), '127.0.0.1');
  assert.is(target(named('::1')), '::1');
  assert.is(target(named('EXAMPLE.com.')), 'example.com');
  for (const obscure of ['2130706433', '0x7f000001', '127.1', '0177.0.0.1', 'fe80::1%eth0', 'a..b', '-a.com'])
    assert.is(target(named(obscure)), 'refuse', obscure);
});

test('never throws and never keeps asking, whatever it is fed', () => {
  holds(
    fc.property(fc.array(fc.uint8Array({ maxLength: 40 }), { maxLength: 30 }), chunks => {
      const handshake = new Socks5Handshake({ withoutPassword: chunks.length % 2 === 0 });
      for (const chunk of chunks) {
        handshake.feed(Buffer.from(chunk));
        for (let steps = 0; ; steps += 1) {
          if (steps > 5) throw new Error('does not come to rest');
          const step = handshake.next();
          if (step.kind === 'authenticate') handshake.authenticated(true);
          else if (step.kind !== 'reply') break;
        }
      }
    }),
    3000,
  );
});

test('a conversation that is nearly right ends the same way however it is cut', () => {
  const requests = [
    '05 01 00 01 5db8d822 0050',
    '05 01 00 03 0b 6578616d706c652e636f6d 01bb',
    '05 03 00 04 20010db8000000000000000000000001 01bb',
  ];
  const words = ['\x05\x01\x00\x03', '\x04\x01', '\xff', '\x7f\x00\x00\x01'];
  const conversation = fc.constantFrom(...requests).chain(one => nearly(hex(LOGIN + one), words));
  holds(
    fc.property(conversation, cuts, fc.boolean(), (bytes, cut, withoutPassword) => {
      const whole = play([bytes], withoutPassword);
      assert.equal(play(cut(bytes), withoutPassword), whole);
      assert.equal(play(singleBytes(bytes), withoutPassword), whole);
    }),
    2000,
  );
});

test("the client never throws, and comes to the same end however a hop's answer is cut", () => {
  const answers = [
    '05 02 01 00 05 00 00 01 7f000001 0050 6869',
    '05 00 05 00 00 03 03 612e62 0050',
    '05 02 01 00 05 05',
  ];
  const end = (chunks: Buffer[]) => {
    const client = new Socks5Client({ host: 'a.example', port: 1 }, { username: 'u', secret: 's' });
    const said: string[] = [];
    for (const [at, chunk] of chunks.entries()) {
      client.feed(chunk);
      for (let step = client.next(); step.kind !== 'more'; step = client.next()) {
        if (step.kind === 'send') {
          said.push(step.bytes.toString('hex'));
          continue;
        }
        if (step.kind === 'failed') return [...said, step.cause, step.reply];
        return [...said, Buffer.concat([step.surplus, ...chunks.slice(at + 1)]).toString('hex')];
      }
    }
    return said;
  };
  const answer = fc.constantFrom(...answers).chain(one => nearly(hex(one)));
  holds(
    fc.property(answer, cuts, (bytes, cut) => {
      const whole = end([bytes]);
      assert.equal(end(cut(bytes)), whole);
      assert.equal(end(singleBytes(bytes)), whole);
    }),
    2000,
  );
});

test('client and server understand each other, however bytes are cut', () => {
  for (const host of ['example.com', '10.1.2.3', '2001:db8::7', '::ffff:1.2.3.4']) {
    const client = new Socks5Client({ host, port: 8080 }, { username: 'user', secret: 'pass' });
    const server = new Socks5Handshake({ withoutPassword: false });
    const toServer = [client.greeting()];
    let reached: Socks5Step | null = null;
    let surplus: string | null = null;
    while (toServer.length > 0) {
      const bytes = toServer.shift() ?? Buffer.alloc(0);
      for (const byte of bytes) {
        server.feed(Buffer.from([byte]));
        for (let step = server.next(); step.kind !== 'more'; step = server.next()) {
          if (step.kind === 'authenticate') server.authenticated(step.secret === 'pass');
          let reply: Buffer | null = step.kind === 'reply' ? step.bytes : null;
          if (step.kind === 'request') {
            reached = step;
            reply = Buffer.concat([SOCKS5_CONNECTED, Buffer.from('hi')]);
          }
          for (const part of reply ?? []) {
            client.feed(Buffer.from([part]));
            const answer = client.next();
            if (answer.kind === 'send') toServer.push(answer.bytes);
            else if (answer.kind === 'connected') surplus = answer.surplus.toString();
            else assert.is(answer.kind, 'more');
          }
          if (step.kind === 'request') break;
        }
      }
    }
    assert.is(reached?.kind, 'request');
    assert.is(surplus, '', 'byte by byte, nothing had come behind the reply');
    if (reached?.kind === 'request' && !host.includes(':')) assert.is(reached.target.host, host);
  }
});

test('the client names why it failed', () => {
  const failure = (...replies: string[]) => {
    const client = new Socks5Client({ host: 'a.example', port: 1 }, { username: 'u', secret: 's' });
    for (const reply of replies) {
      client.feed(hex(reply));
      const step = client.next();
      if (step.kind === 'failed') return `${step.cause} ${step.reply}`;
    }
    return 'none';
  };
  assert.is(failure('48 54'), 'not-socks5 null');
  assert.is(failure('05 ff'), 'no-method null');
  assert.is(failure('05 02', '01 01'), 'bad-credentials null');
  assert.is(failure('05 00', '05 05 00 01 00000000 0000'), 'refused 5');
  assert.throws(() => new Socks5Client({ host: 'a', port: 1 }, { username: 'x'.repeat(256), secret: 's' }));
});

test.run();
