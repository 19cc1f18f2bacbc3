/** AEAD over TCP: against messages built from node:crypto's primitives, at every split, and with several users. */
import assert from 'node:assert/strict';
import { hkdfSync } from 'node:crypto';
import { openAeadClient } from '@mastline/shared/protocols/shadowsocks/aead-stream';
import { keyFromPassword } from '@mastline/shared/protocols/shadowsocks/keys';
import type { ShadowsocksMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import type { StreamSealer } from '@mastline/shared/protocols/shadowsocks/stream';
import {
  MAX_AEAD_USERS,
  type ShadowsocksUsers,
  TRIALS_PER_SECOND,
} from '@mastline/shared/protocols/shadowsocks/users';
import { everySplit } from '../../../support/chunks';
import { suite } from '../../../support/suite';
import { EXAMPLE_ADDRESS, EXAMPLE_TARGET, methodOf, run, scripted, seal as sealUnit, u16 } from './reference';
import { feedAll, open, randomly, seal, server } from './support';

const test = suite('shadowsocks AEAD streams');
const methods = ['aes-128-gcm', 'aes-256-gcm', 'chacha20-ietf-poly1305'].map(methodOf);
const keyOf = (method: ShadowsocksMethod, password = 'one') => keyFromPassword(password, method.keyBytes);
const one = (method: ShadowsocksMethod): ShadowsocksUsers<string> => ({
  kind: 'keys',
  users: [{ user: 'one', key: keyOf(method) }],
});

/** A request of one chunk, built without the codec. */
function request(method: ShadowsocksMethod, plain: Buffer, salt = run(1, method.saltBytes)): Buffer {
  const key = Buffer.from(hkdfSync('sha1', keyOf(method), salt, 'ss-subkey', method.keyBytes));
  return Buffer.concat([
    salt,
    sealUnit(method.cipher, key, 0, u16(plain.length)),
    sealUnit(method.cipher, key, 1, plain),
  ]);
}

for (const method of methods) {
  test(`${method.name}: takes a request as the specification builds it, at every split`, () => {
    const bytes = request(method, Buffer.concat([EXAMPLE_ADDRESS, Buffer.from('hello')]));
    for (const parts of everySplit(bytes)) {
      const step = feedAll(server(method, one(method)).handshake('192.0.2.1'), parts);
      assert.equal(step.kind, 'request');
      if (step.kind !== 'request') return;
      assert.deepEqual(step.target, EXAMPLE_TARGET);
      assert.equal(step.payload.toString(), 'hello');
      assert.equal(step.user, 'one');
    }
  });

  test(`${method.name}: answers as the specification builds it`, () => {
    const salt = run(77, method.saltBytes);
    const served = server(method, one(method), { random: scripted(salt) });
    const step = served.handshake('a').feed(request(method, EXAMPLE_ADDRESS));
    assert.equal(step.kind, 'request');
    if (step.kind !== 'request') return;
    const first = seal(step.stream.sealer, Buffer.from('first'));
    const second = seal(step.stream.sealer, Buffer.from('second'));
    const key = Buffer.from(hkdfSync('sha1', keyOf(method), salt, 'ss-subkey', method.keyBytes));
    const expected = [salt, u16(5), Buffer.from('first'), u16(6), Buffer.from('second')].map((plain, at) =>
      at === 0 ? plain : sealUnit(method.cipher, key, at - 1, plain),
    );
    assert.deepEqual(Buffer.concat([first, second]), Buffer.concat(expected));
  });

  test(`${method.name}: a client's request is what the specification builds`, () => {
    const salt = run(1, method.saltBytes);
    const client = openAeadClient(method, { key: keyOf(method), target: EXAMPLE_TARGET }, scripted(salt));
    const plain = Buffer.concat([EXAMPLE_ADDRESS, Buffer.from('hello')]);
    assert.deepEqual(seal(client.sealer, Buffer.from('hello')), request(method, plain));
  });

  test(`${method.name}: megabytes pass both ways in pieces of every size`, () => {
    const served = server(method, one(method));
    const client = openAeadClient(method, { key: keyOf(method), target: EXAMPLE_TARGET }, randomly);
    const handshake = served.handshake('a');
    const step = handshake.feed(seal(client.sealer, Buffer.alloc(0)));
    assert.equal(step.kind, 'request');
    if (step.kind !== 'request') return;
    for (const [sealer, opener] of [
      [client.sealer, step.stream.opener],
      [step.stream.sealer, client.opener],
    ] as const) {
      const plain = Buffer.alloc(1 << 20);
      randomly(plain);
      const sealed: Buffer[] = [];
      for (let at = 0, size = 1; at < plain.length; at += size, size = Math.min(size * 3 + 1, 300_000))
        sealed.push(seal(sealer, plain.subarray(at, Math.min(plain.length, at + size))));
      const wire = Buffer.concat(sealed);
      const opened: Buffer[] = [];
      for (let at = 0, size = 1; at < wire.length; at += size, size = (size * 7 + 3) % 70_000)
        opened.push(open(opener, wire.subarray(at, Math.min(wire.length, at + size))) ?? Buffer.alloc(0));
      assert.ok(Buffer.concat(opened).equals(plain));
    }
  });

  test(`${method.name}: any flipped bit of a request is silence or a stream that stops`, () => {
    const bytes = request(method, Buffer.concat([EXAMPLE_ADDRESS, Buffer.from('hello')]));
    for (let at = 0; at < bytes.length; at += 1) {
      const bent = Buffer.from(bytes);
      bent[at] = (bent[at] ?? 0) ^ (1 << (at % 8));
      const step = server(method, one(method)).handshake('a').feed(bent);
      assert.equal(step.kind, 'silent', `byte ${at}`);
    }
  });
}

const aes = methodOf('aes-256-gcm');

test('a repeated request is silence, and only an authentic one is remembered', () => {
  const served = server(aes, one(aes));
  const bytes = request(aes, EXAMPLE_ADDRESS);
  const forged = Buffer.from(bytes);
  forged[40] = (forged[40] ?? 0) ^ 1;
  assert.deepEqual(served.handshake('a').feed(forged), { kind: 'silent', cause: 'unknown-user' });
  assert.equal(served.handshake('a').feed(bytes).kind, 'request');
  assert.deepEqual(served.handshake('b').feed(bytes), { kind: 'silent', cause: 'replayed' });
});

test('silence is for ever: bytes that follow change nothing', () => {
  const handshake = server(aes, one(aes)).handshake('a');
  assert.equal(handshake.feed(Buffer.alloc(100)).kind, 'silent');
  assert.equal(handshake.feed(request(aes, EXAMPLE_ADDRESS)).kind, 'silent');
});

test('each probe gets silence: other protocols, noise of every length', () => {
  const probes = [
    'GET / HTTP/1.1\r\nHost: x\r\n\r\n',
    '\x16\x03\x01\x02\x00\x01',
    '\x05\x01\x00',
    'SSH-2.0-OpenSSH_9\r\n',
  ];
  for (const text of probes) {
    const bytes = Buffer.concat([Buffer.from(text, 'latin1'), Buffer.alloc(64, 0x20)]);
    assert.deepEqual(server(aes, one(aes)).handshake('a').feed(bytes), {
      kind: 'silent',
      cause: 'unknown-user',
    });
  }
  for (let length = 0; length < 50; length += 1)
    assert.deepEqual(server(aes, one(aes)).handshake('a').feed(Buffer.alloc(length)), { kind: 'more' });
  assert.equal(server(aes, one(aes)).handshake('a').feed(Buffer.alloc(50)).kind, 'silent');
});

test('authentic requests that make no sense are silence', () => {
  const cases: Buffer[] = [
    Buffer.concat([Buffer.from([9]), Buffer.alloc(10)]),
    Buffer.from([3, 0, 0, 80]),
    Buffer.concat([Buffer.from([1, 127, 0, 0, 1]), u16(0)]),
    Buffer.concat([Buffer.from([3, 5]), Buffer.from('a b/c'), u16(80)]),
  ];
  for (const plain of cases)
    assert.deepEqual(server(aes, one(aes)).handshake('a').feed(request(aes, plain)), {
      kind: 'silent',
      cause: 'bad-header',
    });
});

test('a chunk length of zero, or beyond 0x3fff, is no request', () => {
  for (const length of [0, 0x4000, 0xffff]) {
    const salt = run(9, 32);
    const key = Buffer.from(hkdfSync('sha1', keyOf(aes), salt, 'ss-subkey', 32));
    const bytes = Buffer.concat([salt, sealUnit(aes.cipher, key, 0, u16(length)), Buffer.alloc(100)]);
    assert.deepEqual(server(aes, one(aes)).handshake('a').feed(bytes), {
      kind: 'silent',
      cause: 'bad-header',
    });
  }
});

test('an address cut into several chunks is put together', () => {
  const salt = run(3, 32);
  const key = Buffer.from(hkdfSync('sha1', keyOf(aes), salt, 'ss-subkey', 32));
  const plains = [
    EXAMPLE_ADDRESS.subarray(0, 1),
    EXAMPLE_ADDRESS.subarray(1, 9),
    Buffer.concat([EXAMPLE_ADDRESS.subarray(9), Buffer.from('data')]),
  ];
  const units = plains.flatMap((plain, at) => [
    sealUnit(aes.cipher, key, at * 2, u16(plain.length)),
    sealUnit(aes.cipher, key, at * 2 + 1, plain),
  ]);
  const bytes = Buffer.concat([salt, ...units]);
  for (const parts of everySplit(bytes)) {
    const step = feedAll(server(aes, one(aes)).handshake('a'), parts);
    assert.ok(
      step.kind === 'request' && step.payload.toString() === 'data' && step.target.host === 'example.org',
    );
  }
});

test('addresses of all kinds pass both ends', () => {
  for (const host of ['203.0.113.9', '2001:db8:0:0:0:0:0:1', 'xn--bcher-kva.example', 'a'.repeat(60)]) {
    const client = openAeadClient(aes, { key: keyOf(aes), target: { host, port: 65_535 } }, randomly);
    const step = server(aes, one(aes))
      .handshake('a')
      .feed(seal(client.sealer, Buffer.alloc(0)));
    assert.ok(step.kind === 'request');
    if (step.kind === 'request') assert.deepEqual(step.target, { host, port: 65_535 });
  }
  for (const target of [
    { host: 'a b', port: 1 },
    { host: 'a', port: 0 },
    { host: 'a', port: 65_536 },
  ])
    assert.throws(() => openAeadClient(aes, { key: keyOf(aes), target }, randomly), {
      code: 'shadowsocks/bad-target',
    });
});

test('several users share a port, and each is told apart', () => {
  const names = Array.from({ length: MAX_AEAD_USERS }, (_, at) => `user${at}`);
  const users = names.map(user => ({ user, key: keyOf(aes, user) }));
  const served = server(aes, { kind: 'keys', users });
  for (const user of ['user0', 'user31', 'user63', 'user31']) {
    const client = openAeadClient(aes, { key: keyOf(aes, user), target: EXAMPLE_TARGET }, randomly);
    const step = served.handshake('192.0.2.7').feed(seal(client.sealer, Buffer.from('x')));
    assert.ok(step.kind === 'request' && step.user === user);
  }
  const wrong = openAeadClient(aes, { key: keyOf(aes, 'nobody'), target: EXAMPLE_TARGET }, randomly);
  assert.deepEqual(served.handshake('192.0.2.7').feed(seal(wrong.sealer, Buffer.from('x'))), {
    kind: 'silent',
    cause: 'unknown-user',
  });
});

test(
  'strangers use up their trials; known sources still get through, and time brings trials back',
  async () => {
    const users = ['anna', 'ben', 'carl', 'dora'].map(user => ({ user, key: keyOf(aes, user) }));
    const served = server(aes, { kind: 'keys', users });
    const ask = (source: string, user: string) => {
      const client = openAeadClient(aes, { key: keyOf(aes, user), target: EXAMPLE_TARGET }, randomly);
      return served.handshake(source).feed(seal(client.sealer, Buffer.from('x')));
    };
    assert.equal(ask('known', 'dora').kind, 'request');
    let probes = 0;
    for (let cause = ''; cause !== 'over-budget' && probes < TRIALS_PER_SECOND; probes += 1) {
      const step = served.handshake('probe').feed(Buffer.alloc(64, probes));
      cause = step.kind === 'silent' ? step.cause : step.kind;
    }
    assert.equal(probes, TRIALS_PER_SECOND / users.length + 1);
    assert.deepEqual(ask('new', 'anna'), { kind: 'silent', cause: 'over-budget' });
    assert.equal(ask('known', 'dora').kind, 'request');
    await served.clock.advance(100);
    assert.equal(ask('new', 'anna').kind, 'request');
  },
  { deadlineMs: 60_000 },
);

test('users may be exchanged; what is wrong with them is said without keys', () => {
  const served = server(aes, one(aes));
  const ask = (password: string) => {
    const client = openAeadClient(aes, { key: keyOf(aes, password), target: EXAMPLE_TARGET }, randomly);
    return served.handshake('a').feed(seal(client.sealer, Buffer.from('x'))).kind;
  };
  served.setUsers({ kind: 'keys', users: [{ user: 'two', key: keyOf(aes, 'two') }] });
  assert.equal(ask('one'), 'silent');
  assert.equal(ask('two'), 'request');
  const refused = (users: Parameters<typeof served.setUsers>[0], pattern: RegExp) =>
    assert.throws(() => served.setUsers(users), pattern);
  refused(
    { kind: 'keys', users: [{ user: 'x', key: Buffer.alloc(16) }] },
    /key of user 0 has 16 bytes instead of 32/,
  );
  const twice = [
    { user: 'x', key: run(0, 32) },
    { user: 'y', key: run(0, 32) },
  ];
  refused({ kind: 'keys', users: twice }, /key of user 1 is used twice/);
  const many = Array.from({ length: MAX_AEAD_USERS + 1 }, (_, at) => ({ user: `${at}`, key: run(at, 32) }));
  refused({ kind: 'keys', users: many }, /65 are more than 64/);
  refused({ kind: 'identified', serverKey: run(5, 32), users: [] }, /2022 edition only/);
  assert.equal(ask('two'), 'request');
});

test('payload is counted by the sealed bytes that went out, at every cut', () => {
  const served = server(aes, one(aes));
  const step = served.handshake('a').feed(request(aes, EXAMPLE_ADDRESS));
  if (step.kind !== 'request') return assert.fail(step.kind);
  for (const [size, head] of [
    [40_000, 32],
    [40_000, 0],
    [16_383, 0],
    [1, 0],
    [16_384, 0],
  ] as const) {
    const sealer: StreamSealer = step.stream.sealer;
    const sealed = seal(sealer, Buffer.alloc(size));
    // Which plaintext bytes stand where, spelled out byte by byte.
    const isPayload: boolean[] = Array(head).fill(false);
    for (let left = size; left > 0; left -= 0x3fff) {
      const chunk = Math.min(left, 0x3fff);
      isPayload.push(...Array(18).fill(false), ...Array(chunk).fill(true), ...Array(16).fill(false));
    }
    assert.equal(sealed.length, isPayload.length);
    let payload = 0;
    for (let cut = 0; cut <= sealed.length; cut += 1) {
      assert.equal(sealer.payloadWithin(cut), payload, `${size} bytes cut at ${cut}`);
      if (isPayload[cut]) payload += 1;
    }
  }
});

test('too little room is a fault before anything is lost', () => {
  const client = openAeadClient(aes, { key: keyOf(aes), target: EXAMPLE_TARGET }, randomly);
  assert.throws(() => client.sealer.seal(Buffer.alloc(100), Buffer.alloc(100)), {
    code: 'shadowsocks/no-room',
  });
  const step = server(aes, one(aes))
    .handshake('a')
    .feed(seal(client.sealer, Buffer.from('x')));
  assert.equal(step.kind, 'request');
  if (step.kind !== 'request') return;
  const sealed = seal(client.sealer, Buffer.from('again'));
  assert.throws(() => step.stream.opener.open(sealed, Buffer.alloc(4)), { code: 'shadowsocks/no-room' });
  assert.equal(open(step.stream.opener, sealed)?.toString(), 'again');
});

test('a stream that was bent stays broken and gives nothing out', () => {
  const client = openAeadClient(aes, { key: keyOf(aes), target: EXAMPLE_TARGET }, randomly);
  const step = server(aes, one(aes))
    .handshake('a')
    .feed(seal(client.sealer, Buffer.from('x')));
  if (step.kind !== 'request') return assert.fail(step.kind);
  const bent = seal(client.sealer, Buffer.from('secret'));
  // Only the tag is bent: the plaintext itself would come out right.
  bent[bent.length - 1] = (bent[bent.length - 1] ?? 0) ^ 0x80;
  const out = Buffer.alloc(1000, 0xaa);
  assert.equal(step.stream.opener.open(bent, out), -1);
  assert.ok(!out.includes('secret'));
  assert.equal(step.stream.opener.cause, 'forged');
  assert.equal(open(step.stream.opener, seal(client.sealer, Buffer.from('good'))), null);
});

test('a later chunk that says it is longer than 0x3fff breaks the stream', () => {
  const salt = run(9, 32);
  const key = Buffer.from(hkdfSync('sha1', keyOf(aes), salt, 'ss-subkey', 32));
  const step = server(aes, one(aes))
    .handshake('a')
    .feed(request(aes, EXAMPLE_ADDRESS, salt));
  if (step.kind !== 'request') return assert.fail(step.kind);
  assert.equal(open(step.stream.opener, sealUnit(aes.cipher, key, 2, u16(0x4000))), null);
  assert.equal(step.stream.opener.cause, 'bad-length');
});

test('a response under another key breaks the client, which says why', () => {
  const client = openAeadClient(aes, { key: keyOf(aes), target: EXAMPLE_TARGET }, randomly);
  assert.equal(open(client.opener, Buffer.alloc(200, 7)), null);
  assert.equal(client.opener.cause, 'forged');
});

test.run();
