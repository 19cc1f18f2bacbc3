/** The 2022 edition over TCP: against messages built from primitives, at every split, with clocks that differ. */
import assert from 'node:assert/strict';
import { openClient2022 } from '@mastline/shared/protocols/shadowsocks/client-2022';
import { createSaltStore, SALT_KEEP_MS } from '@mastline/shared/protocols/shadowsocks/salt-store';
import type { ShadowsocksUsers } from '@mastline/shared/protocols/shadowsocks/users';
import { everySplit } from '../../../support/chunks';
import { type FakeClock, fakeClock } from '../../../support/clock';
import { suite } from '../../../support/suite';
import {
  EXAMPLE_ADDRESS,
  EXAMPLE_TARGET,
  ecb,
  methodOf,
  request2022,
  run,
  scripted,
  seal as sealUnit,
  u16,
  u64,
  VECTORS,
  type Vector,
} from './reference';
import { feedAll, open, randomly, seal, server } from './support';

const test = suite('shadowsocks 2022 streams');

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
const saltsOf = (clock: FakeClock) => createSaltStore({ capacity: 1024, keepMs: SALT_KEEP_MS, clock });
const now = fakeClock().now();

for (const vector of VECTORS) {
  const method = methodOf(vector.name);

  for (const identified of [false, true])
    test(`${vector.name}${identified ? ' with identity' : ''}: takes a request as the specification builds it, at every split`, () => {
      const bytes = request2022(vector, {
        nowMs: now,
        identified,
        padding: run(0, 3),
        payload: Buffer.from('hello'),
      });
      for (const parts of everySplit(bytes)) {
        const step = feedAll(
          server(method, identified ? several(vector) : one(vector)).handshake('a'),
          parts,
        );
        assert.equal(step.kind, 'request');
        if (step.kind !== 'request') return;
        assert.deepEqual(step.target, EXAMPLE_TARGET);
        assert.equal(step.payload.toString(), 'hello');
        assert.equal(step.user, 'one');
      }
    });

  test(`${vector.name}: answers as the specification builds it`, () => {
    const served = server(method, one(vector), { random: scripted(vector.responseSalt) });
    const step = served.handshake('a').feed(request2022(vector, { nowMs: now, padding: run(0, 1) }));
    assert.equal(step.kind, 'request');
    if (step.kind !== 'request') return;
    const wire = Buffer.concat([
      seal(step.stream.sealer, Buffer.from('first')),
      seal(step.stream.sealer, Buffer.from('second')),
    ]);
    const units = [
      Buffer.concat([Buffer.from([1]), u64(Math.floor(now / 1000)), vector.requestSalt, u16(5)]),
      Buffer.from('first'),
      u16(6),
      Buffer.from('second'),
    ].map((plain, at) => sealUnit(method.cipher, vector.responseKey, at, plain));
    assert.deepEqual(wire, Buffer.concat([vector.responseSalt, ...units]));
  });

  test(`${vector.name}: a client's request is what the specification builds, with identity and without`, () => {
    for (const identified of [false, true]) {
      const clock = fakeClock();
      const keys = identified ? [vector.serverKey, vector.key] : [vector.key];
      const context = { clock, random: scripted(vector.requestSalt), salts: saltsOf(clock) };
      const client = openClient2022(method, { keys, target: EXAMPLE_TARGET }, context);
      const expected = request2022(vector, { nowMs: now, identified, payload: Buffer.from('hello') });
      assert.deepEqual(seal(client.sealer, Buffer.from('hello')), expected);
    }
  });

  test(`${vector.name}: a client takes the response as the specification builds it, at every split, and no other`, () => {
    const response = (parts: { type?: number; seconds?: number; salt?: Buffer }) => {
      const seconds = parts.seconds ?? Math.floor(now / 1000);
      const header = Buffer.concat([
        Buffer.from([parts.type ?? 1]),
        u64(seconds),
        parts.salt ?? vector.requestSalt,
        u16(5),
      ]);
      return Buffer.concat([
        vector.responseSalt,
        sealUnit(method.cipher, vector.responseKey, 0, header),
        sealUnit(method.cipher, vector.responseKey, 1, Buffer.from('first')),
      ]);
    };
    const ask = () => {
      const clock = fakeClock();
      const context = { clock, random: scripted(vector.requestSalt), salts: saltsOf(clock) };
      return openClient2022(method, { keys: [vector.key], target: EXAMPLE_TARGET }, context);
    };
    for (const parts of everySplit(response({}))) {
      const { opener } = ask();
      assert.equal(
        Buffer.concat(parts.map(part => open(opener, part) ?? Buffer.from('broken'))).toString(),
        'first',
      );
    }
    for (const [bytes, cause] of [
      [response({ type: 0 }), 'bad-header'],
      [response({ salt: run(1, method.saltBytes) }), 'bad-header'],
      [response({ seconds: Math.floor(now / 1000) - 31 }), 'clock-skew'],
    ] as const) {
      const { opener } = ask();
      assert.equal(open(opener, bytes), null);
      assert.equal(opener.cause, cause);
    }
  });

  test(`${vector.name}: any flipped bit of a request is silence`, () => {
    for (const identified of [false, true]) {
      const bytes = request2022(vector, { nowMs: now, identified, payload: Buffer.from('hello') });
      for (let at = 0; at < bytes.length; at += 1) {
        const bent = Buffer.from(bytes);
        bent[at] = (bent[at] ?? 0) ^ (1 << (at % 8));
        const step = server(method, identified ? several(vector) : one(vector))
          .handshake('a')
          .feed(bent);
        assert.equal(step.kind, 'silent', `byte ${at}`);
      }
    }
  });

  test(`${vector.name}: megabytes pass both ways in pieces of every size`, () => {
    const served = server(method, several(vector));
    const context = { clock: served.clock, random: randomly, salts: saltsOf(served.clock) };
    const client = openClient2022(
      method,
      { keys: [vector.serverKey, vector.key], target: EXAMPLE_TARGET },
      context,
    );
    const first = Buffer.alloc(100_000, 5);
    const step = feedAll(served.handshake('a'), [seal(client.sealer, first)]);
    assert.ok(step.kind === 'request' && step.payload.equals(first));
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
      for (let at = 0, size = 1; at < wire.length; at += size, size = (size * 7 + 3) % 90_000)
        opened.push(open(opener, wire.subarray(at, Math.min(wire.length, at + size))) ?? Buffer.alloc(0));
      assert.ok(Buffer.concat(opened).equals(plain));
    }
  });
}

const [vector] = VECTORS as [Vector];
const method = methodOf(vector.name);

test('30 seconds of difference are taken, 31 are silence, either way', () => {
  for (const [skew, kind] of [
    [30, 'request'],
    [-30, 'request'],
    [31, 'silent'],
    [-31, 'silent'],
  ] as const) {
    const step = server(method, one(vector))
      .handshake('a')
      .feed(request2022(vector, { nowMs: now + skew * 1000, payload: Buffer.from('x') }));
    assert.equal(step.kind, kind, `${skew} s`);
    if (step.kind === 'silent') assert.equal(step.cause, 'clock-skew');
  }
});

test('a repeated request is silence for as long as its timestamp is good', async () => {
  const served = server(method, one(vector));
  const bytes = request2022(vector, { nowMs: now + 30_000, payload: Buffer.from('x') });
  assert.equal(served.handshake('a').feed(bytes).kind, 'request');
  for (const [wait, cause] of [
    [0, 'replayed'],
    [59_000, 'replayed'],
    [3_000, 'clock-skew'],
  ] as const) {
    await served.clock.advance(wait);
    assert.deepEqual(served.handshake('a').feed(bytes), { kind: 'silent', cause });
  }
});

test('a late request does not use up its salt', async () => {
  const served = server(method, one(vector));
  const bytes = request2022(vector, { nowMs: now + 40_000, payload: Buffer.from('x') });
  assert.deepEqual(served.handshake('a').feed(bytes), { kind: 'silent', cause: 'clock-skew' });
  await served.clock.advance(20_000);
  assert.equal(served.handshake('a').feed(bytes).kind, 'request');
});

test('requests that make no sense are silence', () => {
  const nowMs = now;
  const cases = {
    'a response': { nowMs, type: 1, payload: Buffer.from('x') },
    'neither padding nor payload': { nowMs },
    'padding beyond the header': { nowMs, padding: run(0, 4), paddingLength: 5 },
    'an unknown address type': {
      nowMs,
      address: Buffer.from([7, 1, 1, 1, 1, 0, 80]),
      payload: Buffer.from('x'),
    },
    'an empty name': { nowMs, address: Buffer.from([3, 0, 0, 80]), payload: Buffer.from('x') },
    'half an address': { nowMs, address: EXAMPLE_ADDRESS.subarray(0, 6), paddingLength: 0 },
  };
  for (const [what, parts] of Object.entries(cases)) {
    const step = server(method, one(vector)).handshake('a').feed(request2022(vector, parts));
    assert.deepEqual(step, { kind: 'silent', cause: 'bad-header' }, what);
  }
});

test('an empty variable header is silence', () => {
  const fixed = Buffer.concat([Buffer.from([0]), u64(Math.floor(now / 1000)), u16(0)]);
  const bytes = Buffer.concat([
    vector.requestSalt,
    sealUnit(method.cipher, vector.requestKey, 0, fixed),
    sealUnit(method.cipher, vector.requestKey, 1, Buffer.alloc(0)),
  ]);
  for (const parts of everySplit(bytes))
    assert.deepEqual(feedAll(server(method, one(vector)).handshake('a'), parts), {
      kind: 'silent',
      cause: 'bad-header',
    });
});

test('padding alone opens a request without payload', () => {
  const step = server(method, one(vector))
    .handshake('a')
    .feed(request2022(vector, { nowMs: now, padding: run(0, 900) }));
  assert.ok(step.kind === 'request' && step.payload.length === 0);
});

test('a client without first payload sends 1 to 900 bytes of padding, never the same', () => {
  const lengths = new Set<number>();
  for (let i = 0; i < 40; i += 1) {
    const clock = fakeClock();
    const context = { clock, random: randomly, salts: saltsOf(clock) };
    const client = openClient2022(method, { keys: [vector.key], target: EXAMPLE_TARGET }, context);
    const bytes = seal(client.sealer, Buffer.alloc(0));
    const bare = 16 + 27 + EXAMPLE_ADDRESS.length + 2 + 16;
    assert.ok(bytes.length > bare && bytes.length <= bare + 900, `${bytes.length}`);
    lengths.add(bytes.length);
    assert.equal(server(method, one(vector)).handshake('a').feed(bytes).kind, 'request');
  }
  assert.ok(lengths.size > 10);
});

test('an unknown identity, and a known one with another key, are silence', () => {
  const stranger = openClient2022(
    method,
    { keys: [vector.serverKey, run(0x77, 16)], target: EXAMPLE_TARGET },
    { clock: fakeClock(), random: randomly, salts: saltsOf(fakeClock()) },
  );
  assert.deepEqual(
    server(method, several(vector))
      .handshake('a')
      .feed(seal(stranger.sealer, Buffer.from('x'))),
    {
      kind: 'silent',
      cause: 'unknown-user',
    },
  );
  const bytes = request2022(vector, {
    nowMs: now,
    identified: true,
    payload: Buffer.from('x'),
    requestKey: run(0x66, 16),
  });
  assert.deepEqual(server(method, several(vector)).handshake('a').feed(bytes), {
    kind: 'silent',
    cause: 'unknown-user',
  });
  assert.deepEqual(
    ecb(vector.identityKey, ecb(vector.identityKey, vector.identity), 'decrypt'),
    vector.identity,
  );
});

test('a client knows several servers in a row: each header opens with its key and names the next', () => {
  const keys = [run(0x31, 16), vector.serverKey, vector.key];
  const clock = fakeClock();
  const context = { clock, random: scripted(vector.requestSalt), salts: saltsOf(clock) };
  const client = openClient2022(method, { keys, target: EXAMPLE_TARGET }, context);
  const bytes = seal(client.sealer, Buffer.from('hello'));
  // A relay takes the first header off; what is left is the request of the server behind it.
  const relayed = Buffer.concat([bytes.subarray(0, 16), bytes.subarray(32)]);
  const step = server(method, several(vector)).handshake('a').feed(relayed);
  assert.ok(step.kind === 'request' && step.user === 'one' && step.payload.toString() === 'hello');
});

test('users are exchanged for what begins from now on', () => {
  const served = server(method, several(vector));
  const begun = served.handshake('a');
  served.setUsers({ kind: 'identified', serverKey: vector.serverKey, users: [] });
  const bytes = request2022(vector, { nowMs: now, identified: true, payload: Buffer.from('x') });
  assert.deepEqual(served.handshake('a').feed(bytes), { kind: 'silent', cause: 'unknown-user' });
  assert.equal(begun.feed(bytes).kind, 'request');
  assert.throws(() => server(method, { kind: 'keys', users: [] }), { code: 'shadowsocks/bad-users' });
});

test('more new streams than salts can be remembered are silence, not replays', () => {
  const clock = fakeClock();
  const salts = createSaltStore({ capacity: 2, keepMs: SALT_KEEP_MS, clock });
  const served = server(method, one(vector), { clock, salts });
  const causes = Array.from({ length: 3 }, () => {
    const client = openClient2022(
      method,
      { keys: [vector.key], target: EXAMPLE_TARGET },
      { clock, random: randomly, salts: saltsOf(clock) },
    );
    const step = served.handshake('a').feed(seal(client.sealer, Buffer.from('x')));
    return step.kind === 'silent' ? step.cause : step.kind;
  });
  assert.deepEqual(causes, ['request', 'request', 'salts-full']);
});

test('payload is counted by the sealed bytes that went out, at every cut of a response and a request', () => {
  const served = server(method, one(vector));
  const clock = served.clock;
  const context = { clock, random: randomly, salts: saltsOf(clock) };
  const client = openClient2022(method, { keys: [vector.key], target: EXAMPLE_TARGET }, context);
  const requestHead = 16 + 27 + EXAMPLE_ADDRESS.length + 2;
  const sealed = seal(client.sealer, Buffer.alloc(70_000));
  const step = feedAll(served.handshake('a'), [sealed]);
  if (step.kind !== 'request') return assert.fail(step.kind);
  const firstRequest = 0xffff - 259 - 2;
  checkCuts(client.sealer, sealed, [
    [requestHead, firstRequest],
    [34, 70_000 - firstRequest],
  ]);
  checkCuts(step.stream.sealer, seal(step.stream.sealer, Buffer.alloc(70_000)), [
    [16 + 11 + 16 + 16, 65_535],
    [34, 70_000 - 65_535],
  ]);
  checkCuts(step.stream.sealer, seal(step.stream.sealer, Buffer.alloc(70_000)), [
    [18, 65_535],
    [34, 4_465],
  ]);
});

/** `spans`: bytes that are no payload (the tag before included), then payload. */
function checkCuts(
  sealer: { payloadWithin(bytes: number): number },
  sealed: Buffer,
  spans: [number, number][],
): void {
  const isPayload = spans.flatMap(([front, payload]) => [
    ...Array(front).fill(false),
    ...Array(payload).fill(true),
  ]);
  assert.equal(sealed.length, isPayload.length + 16);
  let payload = 0;
  for (let cut = 0; cut <= sealed.length; cut += 1) {
    assert.equal(sealer.payloadWithin(cut), payload, `cut at ${cut}`);
    if (isPayload[cut]) payload += 1;
  }
}

test('no bent response opens, and the client says why', () => {
  const clock = fakeClock();
  const context = { clock, random: scripted(vector.requestSalt), salts: saltsOf(clock) };
  const client = openClient2022(method, { keys: [vector.key], target: EXAMPLE_TARGET }, context);
  const header = Buffer.concat([Buffer.from([1]), u64(Math.floor(now / 1000)), vector.requestSalt, u16(5)]);
  const sealed = sealUnit(method.cipher, vector.responseKey, 0, header);
  assert.equal(open(client.opener, Buffer.concat([vector.responseSalt, sealed, Buffer.alloc(21, 1)])), null);
  assert.equal(client.opener.cause, 'forged');
});

test.run();
