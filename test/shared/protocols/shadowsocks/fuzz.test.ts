/** Random bytes, random cuts and random damage: nothing throws, nothing forged opens, nothing authentic is lost. */
import assert from 'node:assert/strict';
import { openAeadClient } from '@mastline/shared/protocols/shadowsocks/aead-stream';
import { openClient2022 } from '@mastline/shared/protocols/shadowsocks/client-2022';
import { parseShadowsocksLink } from '@mastline/shared/protocols/shadowsocks/link';
import { SHADOWSOCKS_METHODS, type ShadowsocksMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import { createSaltStore } from '@mastline/shared/protocols/shadowsocks/salt-store';
import type { ShadowsocksStream } from '@mastline/shared/protocols/shadowsocks/stream';
import type { ShadowsocksUsers } from '@mastline/shared/protocols/shadowsocks/users';
import fc from 'fast-check';
import { fakeClock } from '../../../support/clock';
import { suite } from '../../../support/suite';
import { holds } from '../property';
import { EXAMPLE_TARGET, run } from './reference';
import { feedAll, open, randomly, seal, server } from './support';

const test = suite('shadowsocks fuzz');
const methods = Object.values(SHADOWSOCKS_METHODS);

const bytes = (maxLength: number) => fc.uint8Array({ maxLength }).map(made => Buffer.from(made));
const key = (method: ShadowsocksMethod) => run(3, method.keyBytes);
const users = (method: ShadowsocksMethod): ShadowsocksUsers<string> => ({
  kind: 'keys',
  users: [{ user: 'one', key: key(method) }],
});

function clientOf(method: ShadowsocksMethod): ShadowsocksStream {
  if (method.edition === 'aead')
    return openAeadClient(method, { key: key(method), target: EXAMPLE_TARGET }, randomly);
  const clock = fakeClock();
  const salts = createSaltStore({ capacity: 4, keepMs: 60_000, clock });
  return openClient2022(
    method,
    { keys: [key(method)], target: EXAMPLE_TARGET },
    { clock, random: randomly, salts },
  );
}

/** `whole` cut at the given fractions. */
function cut(whole: Buffer, fractions: number[]): Buffer[] {
  const at = [0, ...fractions.map(one => Math.floor(one * whole.length)).sort((a, b) => a - b), whole.length];
  return at.slice(1).map((end, index) => whole.subarray(at[index], end));
}

const fractions = fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { maxLength: 12 });

for (const method of methods) {
  test(`${method.name}: random first bytes never throw and never open`, () => {
    const served = server(method, users(method));
    holds(
      fc.property(fc.array(bytes(90), { maxLength: 6 }), parts => {
        assert.notEqual(feedAll(served.handshake('a'), parts).kind, 'request');
      }),
      400,
    );
  });

  test(`${method.name}: random datagrams never throw and never open`, () => {
    const served = server(method, users(method));
    holds(
      fc.property(bytes(300), packet => {
        assert.equal(served.packets.open(packet, 'a:1').kind, 'drop');
      }),
      400,
    );
  });

  test(`${method.name}: what is sealed in random pieces opens in other random pieces, both ways`, () => {
    const served = server(method, users(method));
    const pieces = fc.array(
      fc.oneof(
        bytes(40),
        fc.nat(70_000).map(length => Buffer.alloc(length, 5)),
      ),
      { maxLength: 5 },
    );
    holds(
      fc.property(pieces, pieces, fractions, (up, down, cuts) => {
        const client = clientOf(method);
        const wire = Buffer.concat([
          seal(client.sealer, Buffer.alloc(0)),
          ...up.map(plain => seal(client.sealer, plain)),
        ]);
        const handshake = served.handshake('a');
        const got: Buffer[] = [];
        let stream: ShadowsocksStream | null = null;
        for (const part of cut(wire, cuts)) {
          if (stream) {
            got.push(open(stream.opener, part) ?? assert.fail('broken'));
            continue;
          }
          const step = handshake.feed(part);
          assert.notEqual(step.kind, 'silent');
          if (step.kind !== 'request') continue;
          stream = step.stream;
          got.push(step.payload);
        }
        assert.ok(stream && Buffer.concat(got).equals(Buffer.concat(up)));
        const { sealer } = stream;
        const back = cut(Buffer.concat(down.map(plain => seal(sealer, plain))), cuts);
        const answered = back.map(part => open(client.opener, part) ?? assert.fail('broken'));
        assert.ok(Buffer.concat(answered).equals(Buffer.concat(down)));
      }),
      40,
    );
  });

  test(`${method.name}: a damaged stream gives out a true beginning at most, then nothing`, () => {
    const served = server(method, users(method));
    holds(
      fc.property(
        fc.nat(4000),
        fc.double({ min: 0, max: 0.9999, noNaN: true }),
        fc.integer({ min: 1, max: 255 }),
        (length, where, flip) => {
          const client = clientOf(method);
          const step = served.handshake('a').feed(seal(client.sealer, Buffer.alloc(0)));
          if (step.kind !== 'request') return assert.fail(step.kind);
          const plains = [Buffer.alloc(length, 1), Buffer.alloc(length + 1, 2), Buffer.alloc(5, 3)];
          const wire = Buffer.concat(plains.map(plain => seal(client.sealer, plain)));
          const at = Math.floor(where * wire.length);
          wire[at] = (wire[at] ?? 0) ^ flip;
          const whole = Buffer.concat(plains);
          let got = 0;
          for (let from = 0; from < wire.length; from += 1000) {
            const opened = open(step.stream.opener, wire.subarray(from, from + 1000));
            if (opened === null) break;
            assert.ok(opened.equals(whole.subarray(got, got + opened.length)));
            got += opened.length;
          }
          assert.equal(step.stream.opener.cause === null ? 'whole' : 'broken', 'broken');
          assert.ok(got < whole.length);
        },
      ),
      60,
    );
  });
}

test('random texts are links only when they parse; nothing throws', () => {
  const text = fc.oneof(
    fc.string(),
    fc.string().map(tail => `ss://${tail}`),
    fc.webUrl().map(url => url.replace(/^\w+:/, 'ss:')),
  );
  holds(
    fc.property(text, one => void parseShadowsocksLink(one)),
    2000,
  );
});

test.run();
