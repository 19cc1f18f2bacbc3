/** Datagrams of both editions: against packets built from primitives, with replays, late ones and several users. */
import assert from 'node:assert/strict';
import { hkdfSync } from 'node:crypto';
import { AddressMemo, addressBytes, readAddress } from '@mastline/shared/protocols/shadowsocks/address';
import { AeadPacketClient } from '@mastline/shared/protocols/shadowsocks/aead-packets';
import { keyFromPassword } from '@mastline/shared/protocols/shadowsocks/keys';
import { PacketClient2022 } from '@mastline/shared/protocols/shadowsocks/packet-client-2022';
import { WINDOW_PACKETS } from '@mastline/shared/protocols/shadowsocks/packet-window';
import {
  MAX_SESSIONS,
  type PacketOutcome,
  SESSION_KEEP_MS,
} from '@mastline/shared/protocols/shadowsocks/packets';
import { createSaltStore } from '@mastline/shared/protocols/shadowsocks/salt-store';
import type { ShadowsocksUsers } from '@mastline/shared/protocols/shadowsocks/users';
import { fakeClock } from '../../../support/clock';
import { suite } from '../../../support/suite';
import {
  EXAMPLE_ADDRESS,
  EXAMPLE_TARGET,
  ecb,
  methodOf,
  open as openUnit,
  run,
  scripted,
  seal as sealUnit,
  u16,
  u64,
  VECTORS,
  type Vector,
} from './reference';
import { randomly, server } from './support';

const test = suite('shadowsocks datagrams');
const now = fakeClock().now();
const out = Buffer.alloc(70_000);

const causeOf = (outcome: PacketOutcome<string, string>) =>
  outcome.kind === 'drop' ? outcome.cause : outcome.kind;
const taken = (outcome: PacketOutcome<string, string>) => {
  if (outcome.kind === 'drop') throw new Error(`dropped: ${outcome.cause}`);
  return outcome;
};

for (const name of ['aes-128-gcm', 'aes-256-gcm', 'chacha20-ietf-poly1305']) {
  const method = methodOf(name);
  const key = keyFromPassword('one', method.keyBytes);
  const users: ShadowsocksUsers<string> = { kind: 'keys', users: [{ user: 'one', key }] };
  const packet = (plain: Buffer, salt = run(1, method.saltBytes)) => {
    const session = Buffer.from(hkdfSync('sha1', key, salt, 'ss-subkey', method.keyBytes));
    return Buffer.concat([salt, sealUnit(method.cipher, session, 0, plain)]);
  };

  test(`${name}: takes and answers datagrams as the specification builds them`, () => {
    const salt = run(50, method.saltBytes);
    const { packets } = server(method, users, { random: scripted(salt) });
    const got = taken(
      packets.open(packet(Buffer.concat([EXAMPLE_ADDRESS, Buffer.from('ping')])), '192.0.2.1:1000'),
    );
    assert.deepEqual(got.target, EXAMPLE_TARGET);
    assert.equal(got.payload.toString(), 'ping');
    assert.equal(got.session.user, 'one');
    const from = addressBytes({ host: '203.0.113.5', port: 53 });
    const bytes = packets.seal(got.session, { from, payload: Buffer.from('pong') }, out);
    const expected = packet(
      Buffer.concat([Buffer.from([1, 203, 0, 113, 5, 0, 53]), Buffer.from('pong')]),
      salt,
    );
    assert.deepEqual(out.subarray(0, bytes), expected);
  });

  test(`${name}: its own client and server understand each other, also with empty and large payloads`, () => {
    const { packets } = server(method, users);
    const client = new AeadPacketClient(method, key, randomly);
    for (const size of [0, 1, 1400, 60_000]) {
      const sent = client.seal(EXAMPLE_TARGET, Buffer.alloc(size, 3), out);
      const got = taken(packets.open(Buffer.from(out.subarray(0, sent)), 'a:1'));
      assert.ok(got.payload.equals(Buffer.alloc(size, 3)));
      const back = packets.seal(got.session, { from: EXAMPLE_ADDRESS, payload: got.payload }, out);
      const answer = client.open(Buffer.from(out.subarray(0, back)));
      assert.ok(answer?.payload.equals(got.payload) && answer.from.host === 'example.org');
    }
  });

  test(`${name}: any flipped bit drops a datagram, and so does a replay`, () => {
    const bytes = packet(Buffer.concat([EXAMPLE_ADDRESS, Buffer.from('ping')]));
    const { packets } = server(method, users);
    for (let at = 0; at < bytes.length; at += 1) {
      const bent = Buffer.from(bytes);
      bent[at] = (bent[at] ?? 0) ^ (1 << (at % 8));
      assert.equal(causeOf(packets.open(bent, 'a:1')), 'unknown-user');
    }
    for (let length = 0; length < bytes.length; length += 1)
      assert.equal(causeOf(packets.open(bytes.subarray(0, length), 'a:1')), 'unknown-user');
    assert.equal(packets.open(bytes, 'a:1').kind, 'packet');
    assert.equal(causeOf(packets.open(bytes, 'b:1')), 'replayed');
  });
}

const aes = methodOf('aes-256-gcm');

test('AEAD sessions belong to a source and a user, and are kept while something hangs on them', async () => {
  const users = ['anna', 'ben'].map(user => ({ user, key: keyFromPassword(user, 32) }));
  const served = server(aes, { kind: 'keys', users });
  const ask = (user: string, source: string) => {
    const client = new AeadPacketClient(aes, keyFromPassword(user, 32), randomly);
    return taken(
      served.packets.open(
        Buffer.from(out.subarray(0, client.seal(EXAMPLE_TARGET, Buffer.from(user), out))),
        source,
      ),
    );
  };
  const first = ask('anna', 'a:1').session;
  first.association = 'socket';
  assert.equal(ask('anna', 'a:1').session, first);
  assert.notEqual(ask('anna', 'a:2').session, first);
  assert.equal(ask('ben', 'a:1').session.user, 'ben');
  assert.equal(served.packets.sessions, 3);
  await served.clock.advance(SESSION_KEEP_MS);
  ask('ben', 'c:1');
  assert.equal(served.packets.sessions, 2);
  assert.equal(ask('anna', 'a:1').session, first);
  served.setUsers({ kind: 'keys', users: users.slice(1) });
  assert.equal(served.packets.sessions, 1);
});

test('AEAD datagrams without a sensible address are dropped', () => {
  const key = keyFromPassword('one', 32);
  const { packets } = server(aes, { kind: 'keys', users: [{ user: 'one', key }] });
  for (const [at, plain] of [
    Buffer.alloc(7, 9),
    Buffer.from([3, 200, 1, 1, 1, 1, 1]),
    Buffer.from([1, 1, 1, 1, 1, 0, 0]),
  ].entries()) {
    const salt = run(at, 32);
    const session = Buffer.from(hkdfSync('sha1', key, salt, 'ss-subkey', 32));
    const bytes = Buffer.concat([salt, sealUnit(aes.cipher, session, 0, plain)]);
    assert.equal(causeOf(packets.open(bytes, 'a:1')), 'bad-header');
  }
});

test('sessions have a bound', () => {
  const key = keyFromPassword('one', 16);
  const method = methodOf('aes-128-gcm');
  const clock = fakeClock();
  const packetSalts = createSaltStore({ capacity: 8192, keepMs: null, clock });
  const { packets } = server(method, { kind: 'keys', users: [{ user: 'one', key }] }, { clock, packetSalts });
  const client = new AeadPacketClient(method, key, randomly);
  const ask = (source: string) =>
    packets.open(Buffer.from(out.subarray(0, client.seal(EXAMPLE_TARGET, Buffer.from('x'), out))), source);
  for (let at = 0; at < MAX_SESSIONS; at += 1) assert.equal(ask(`a:${at}`).kind, 'packet');
  assert.equal(causeOf(ask('b:1')), 'too-many-sessions');
  assert.equal(ask('a:7').kind, 'packet');
});

interface PacketParts {
  number: number;
  identified?: boolean;
  nowMs?: number;
  type?: number;
  padding?: Buffer;
  address?: Buffer;
  session?: Buffer;
  payload?: string;
}

/** A client's 2022 datagram (SIP022 section 3.2, SIP023), built from primitives. */
function packet2022(vector: Vector, parts: PacketParts): Buffer {
  const separate = Buffer.concat([vector.clientSession, u64(parts.number)]);
  const padding = parts.padding ?? Buffer.alloc(0);
  const body = Buffer.concat([
    Buffer.from([parts.type ?? 0]),
    u64(Math.floor((parts.nowMs ?? now) / 1000)),
    u16(padding.length),
    padding,
    parts.address ?? EXAMPLE_ADDRESS,
    Buffer.from(parts.payload ?? 'ping'),
  ]);
  const sealed = sealUnit(methodOf(vector.name).cipher, vector.clientSessionKey, separate.subarray(4), body);
  if (!parts.identified) return Buffer.concat([ecb(vector.key, separate), sealed]);
  const whitened = vector.identity.map((byte, at) => byte ^ (separate[at] ?? 0)) as Buffer;
  return Buffer.concat([ecb(vector.serverKey, separate), ecb(vector.serverKey, whitened), sealed]);
}

const one = (vector: Vector): ShadowsocksUsers<string> => ({
  kind: 'keys',
  users: [{ user: 'one', key: vector.key }],
});
const several = (vector: Vector): ShadowsocksUsers<string> => ({
  kind: 'identified',
  serverKey: vector.serverKey,
  users: [
    { user: 'zoe', key: run(0x11, vector.key.length) },
    { user: 'one', key: vector.key },
  ],
});

for (const vector of VECTORS) {
  const method = methodOf(vector.name);

  for (const identified of [false, true])
    test(`${vector.name}${identified ? ' with identity' : ''}: takes and answers datagrams as the specification builds them`, () => {
      const users = identified ? several(vector) : one(vector);
      const { packets } = server(method, users, { random: scripted(vector.serverSession) });
      for (const number of [0, 1, 2 ** 33]) {
        const got = taken(
          packets.open(packet2022(vector, { number, identified, padding: run(0, number % 5) }), 'a:1'),
        );
        assert.deepEqual(
          [got.target, got.payload.toString(), got.session.user],
          [EXAMPLE_TARGET, 'ping', 'one'],
        );
      }
      const { session } = taken(packets.open(packet2022(vector, { number: 2 ** 33 + 1, identified }), 'b:2'));
      for (const number of [0, 1]) {
        const bytes = packets.seal(session, { from: EXAMPLE_ADDRESS, payload: Buffer.from('pong') }, out);
        // Responses have no identity headers; the separate header is under the user's key.
        const separate = ecb(vector.key, out.subarray(0, 16), 'decrypt');
        assert.deepEqual(separate, Buffer.concat([vector.serverSession, u64(number)]));
        const body = openUnit(
          method.cipher,
          vector.serverSessionKey,
          separate.subarray(4),
          out.subarray(16, bytes),
        );
        const head = [
          Buffer.from([1]),
          u64(Math.floor(now / 1000)),
          vector.clientSession,
          u16(0),
          EXAMPLE_ADDRESS,
        ];
        assert.deepEqual(body, Buffer.concat([...head, Buffer.from('pong')]));
      }
    });

  test(`${vector.name}: a client's datagrams are what the specification builds`, () => {
    for (const identified of [false, true]) {
      const context = { clock: fakeClock(), random: scripted(vector.clientSession) };
      const keys = identified ? [vector.serverKey, vector.key] : [vector.key];
      const client = new PacketClient2022(method, keys, context);
      for (const number of [0, 1]) {
        const bytes = client.seal(EXAMPLE_TARGET, Buffer.from('ping'), out);
        assert.deepEqual(out.subarray(0, bytes), packet2022(vector, { number, identified }));
      }
    }
  });

  test(`${vector.name}: its own client and server understand each other, also with empty and large payloads`, () => {
    const served = server(method, several(vector));
    const client = new PacketClient2022(method, [vector.serverKey, vector.key], {
      clock: served.clock,
      random: randomly,
    });
    for (const size of [0, 1, 1400, 60_000]) {
      const sent = client.seal(EXAMPLE_TARGET, Buffer.alloc(size, 3), out);
      const got = taken(served.packets.open(Buffer.from(out.subarray(0, sent)), `a:${size}`));
      assert.ok(got.payload.equals(Buffer.alloc(size, 3)));
      const back = served.packets.seal(got.session, { from: EXAMPLE_ADDRESS, payload: got.payload }, out);
      const answer = Buffer.from(out.subarray(0, back));
      assert.ok(client.open(answer)?.payload.equals(got.payload));
      assert.equal(client.open(answer), null);
    }
    assert.equal(served.packets.sessions, 1);
  });

  test(`${vector.name}: any flipped bit drops a datagram`, () => {
    for (const identified of [false, true]) {
      const bytes = packet2022(vector, { number: 5, identified });
      const { packets } = server(method, identified ? several(vector) : one(vector));
      for (let at = 0; at < bytes.length; at += 1) {
        const bent = Buffer.from(bytes);
        bent[at] = (bent[at] ?? 0) ^ (1 << (at % 8));
        assert.equal(packets.open(bent, 'a:1').kind, 'drop', `byte ${at}`);
      }
      for (let length = 0; length < bytes.length; length += 1)
        assert.equal(packets.open(bytes.subarray(0, length), 'a:1').kind, 'drop');
      assert.equal(packets.sessions, 0);
      assert.equal(packets.open(bytes, 'a:1').kind, 'packet');
    }
  });
}

const [vector] = VECTORS as [Vector];
const method = methodOf(vector.name);

test('a packet number is taken once, in any order, and not when it has left the window', () => {
  const { packets } = server(method, one(vector));
  const ask = (number: number) => causeOf(packets.open(packet2022(vector, { number }), 'a:1'));
  for (const number of [3, 1, 5000, 4999, 5000 - WINDOW_PACKETS + 1])
    assert.equal(ask(number), 'packet', `${number}`);
  for (const number of [3, 1, 5000, 4999, 5000 - WINDOW_PACKETS])
    assert.equal(ask(number), 'replayed', `${number}`);
});

test('a forged packet does not move the window', () => {
  const { packets } = server(method, one(vector));
  assert.equal(packets.open(packet2022(vector, { number: 1 }), 'a:1').kind, 'packet');
  const forged = packet2022(vector, { number: 1_000_000 });
  forged[40] = (forged[40] ?? 0) ^ 1;
  assert.equal(packets.open(forged, 'a:1').kind, 'drop');
  assert.equal(packets.open(packet2022(vector, { number: 2 }), 'a:1').kind, 'packet');
});

test('each datagram must be within 30 seconds of our clock', () => {
  for (const [skew, cause] of [
    [30, 'packet'],
    [-30, 'packet'],
    [31, 'clock-skew'],
    [-31, 'clock-skew'],
  ] as const) {
    const { packets } = server(method, one(vector));
    assert.equal(
      causeOf(packets.open(packet2022(vector, { number: 0, nowMs: now + skew * 1000 }), 'a:1')),
      cause,
    );
  }
});

test('a replay stays one for as long as its timestamp is good, though its association is gone', async () => {
  const served = server(method, one(vector));
  const bytes = packet2022(vector, { number: 0, nowMs: now + 30_000 });
  assert.equal(served.packets.open(bytes, 'a:1').kind, 'packet');
  await served.clock.advance(59_000);
  assert.equal(causeOf(served.packets.open(bytes, 'a:1')), 'replayed');
});

test('2022 datagrams that make no sense are dropped', () => {
  const cases: PacketParts[] = [
    { number: 0, type: 1 },
    { number: 0, address: Buffer.from([9, 1, 1, 1, 1, 0, 80]) },
    { number: 0, address: Buffer.from([1, 1, 1, 1, 1, 0, 0]) },
    { number: 0, address: Buffer.from([3, 250, 1, 1, 1, 0, 1]) },
  ];
  for (const parts of cases)
    assert.equal(
      causeOf(server(method, one(vector)).packets.open(packet2022(vector, parts), 'a:1')),
      'bad-header',
    );
});

test('a session follows its client to another address, and ends with its user', () => {
  const served = server(method, several(vector));
  const ask = (number: number, source: string) =>
    served.packets.open(packet2022(vector, { number, identified: true }), source);
  const first = taken(ask(0, 'a:1')).session;
  first.association = 'socket';
  assert.equal(taken(ask(1, 'b:2')).session, first);
  served.setUsers({
    kind: 'identified',
    serverKey: vector.serverKey,
    users: [{ user: 'new', key: run(0x22, 16) }],
  });
  assert.equal(served.packets.sessions, 0);
  assert.equal(causeOf(ask(2, 'a:1')), 'unknown-user');
});

test("a server's session is never the client's", () => {
  const { packets } = server(method, one(vector), {
    random: scripted(vector.clientSession, vector.serverSession),
  });
  const { session } = taken(packets.open(packet2022(vector, { number: 0 }), 'a:1'));
  packets.seal(session, { from: EXAMPLE_ADDRESS, payload: Buffer.from('x') }, out);
  assert.deepEqual(ecb(vector.key, out.subarray(0, 16), 'decrypt').subarray(0, 8), vector.serverSession);
});

test('a client does not give its server session up for a third one within a minute', async () => {
  const clock = fakeClock();
  const client = new PacketClient2022(method, [vector.key], { clock, random: randomly });
  const answerOfNewServer = () => {
    const { packets } = server(method, one(vector), { clock });
    const sent = client.seal(EXAMPLE_TARGET, Buffer.from('ping'), out);
    const { session } = taken(packets.open(Buffer.from(out.subarray(0, sent)), 'a:1'));
    return Buffer.from(
      out.subarray(0, packets.seal(session, { from: EXAMPLE_ADDRESS, payload: Buffer.from('x') }, out)),
    );
  };
  assert.ok(client.open(answerOfNewServer()));
  assert.ok(client.open(answerOfNewServer()));
  assert.equal(client.open(answerOfNewServer()), null);
  await clock.advance(60_000);
  assert.ok(client.open(answerOfNewServer()));
});

test('sessions of another server are a fault', () => {
  const a = server(aes, { kind: 'keys', users: [{ user: 'one', key: run(0, 32) }] });
  const b = server(method, one(vector));
  const { session } = taken(b.packets.open(packet2022(vector, { number: 0 }), 'a:1'));
  assert.throws(() => a.packets.seal(session, { from: EXAMPLE_ADDRESS, payload: out }, out), {
    code: 'shadowsocks/foreign-session',
  });
});

test('a remembered address is the same as one read anew', () => {
  const memo = new AddressMemo();
  const addresses = [
    EXAMPLE_ADDRESS,
    EXAMPLE_ADDRESS,
    Buffer.from([1, 1, 2, 3, 4, 0, 9]),
    Buffer.from([1, 1, 2, 3, 4, 1, 9]),
    Buffer.from([1, 1, 2]),
  ];
  for (const address of addresses) {
    const bytes = Buffer.concat([Buffer.from('xx'), address, Buffer.from('rest')]);
    assert.deepEqual(memo.read(bytes, 2), readAddress(bytes, 2));
  }
});

test.run();
