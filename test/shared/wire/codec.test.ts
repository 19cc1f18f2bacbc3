import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeDownlink, decodeUplink, encodeDownlink, encodeUplink } from '@mastline/shared/wire/codec';
import { downlink } from '@mastline/shared/wire/downlink';
import { linkAuthorization, linkProof, parseLinkAuthorization } from '@mastline/shared/wire/enrolment';
import { MAX_BATCH_RECORDS, MAX_FRAME_BYTES } from '@mastline/shared/wire/limits';
import { uplink } from '@mastline/shared/wire/uplink';
import { PROTOCOL_VERSION } from '@mastline/shared/wire/version';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { holds } from '../protocols/property';

const test = suite('wire codec');
const GOLDEN = join(import.meta.dirname, '../../contract/golden/v1');

interface Golden {
  direction: 'uplink' | 'downlink';
  /** Fields that came after the first day: without them the message is still good. */
  optional?: string[];
  frame: { v: number; kind: string; body: Record<string, unknown> };
}
const goldens = readdirSync(GOLDEN).map(name => ({
  name,
  ...(JSON.parse(readFileSync(join(GOLDEN, name), 'utf8')) as Golden),
}));
const decode = (direction: Golden['direction'], frame: string) =>
  direction === 'uplink' ? decodeUplink(frame) : decodeDownlink(frame);

test('has a golden message for every kind of either direction', () => {
  const named = (direction: string) =>
    [
      ...new Set(goldens.filter(golden => golden.direction === direction).map(({ frame }) => frame.kind)),
    ].sort();
  assert.equal(named('uplink'), Object.keys(uplink).sort());
  assert.equal(named('downlink'), Object.keys(downlink).sort());
});

test('reads every golden message whole, and writes it as it was', () => {
  for (const { name, direction, frame } of goldens) {
    const decoded = decode(direction, JSON.stringify(frame));
    assert.is(decoded.is, 'message', `${name}: ${JSON.stringify(decoded)}`);
    if (decoded.is !== 'message') continue;
    assert.equal(decoded.message.body, frame.body, name);
    const { kind, body } = decoded.message;
    const again =
      direction === 'uplink'
        ? encodeUplink(kind as 'ping', body as never)
        : encodeDownlink(kind as 'pong', body as never);
    assert.equal(JSON.parse(again), { ...frame, v: PROTOCOL_VERSION }, name);
  }
});

test('keeps fields it does not know, at any depth', () => {
  for (const { name, direction, frame } of goldens) {
    const body = { ...frame.body, later: { a: [1] } };
    const decoded = decode(direction, JSON.stringify({ ...frame, body, trace: 'x' }));
    assert.ok(decoded.is === 'message', name);
    if (decoded.is === 'message') assert.equal(decoded.message.body, body, name);
  }
});

test('refuses a golden message cut at any byte, without a throw', () => {
  for (const { direction, frame } of goldens) {
    const bytes = Buffer.from(JSON.stringify(frame));
    for (let at = 0; at < bytes.length; at += 1)
      assert.equal(decode(direction, bytes.subarray(0, at).toString('utf8')), {
        is: 'refused',
        code: 'wire/not-json',
        detail: 'the frame is not JSON',
      });
  }
});

test('refuses each required field when it is missing, and names it; does without the optional ones', () => {
  for (const { name, direction, frame, optional = [] } of goldens)
    for (const field of Object.keys(frame.body)) {
      const { [field]: _left, ...rest } = frame.body;
      const decoded = decode(direction, JSON.stringify({ ...frame, body: rest }));
      if (optional.includes(field)) {
        assert.is(decoded.is, 'message', `${name} without ${field}`);
        continue;
      }
      assert.ok(decoded.is === 'refused' && decoded.code === 'wire/bad-body', `${name} without ${field}`);
      if (decoded.is === 'refused') assert.match(decoded.detail, field);
    }
});

test('hands up a kind it does not know, and is not fooled by names every object has', () => {
  for (const kind of ['weather', 'constructor', '__proto__', 'toString'])
    assert.equal(decodeUplink(JSON.stringify({ v: 7, kind, body: {} })), { is: 'unknown', kind, version: 7 });
  assert.is(decodeUplink('{"v":1,"kind":"welcome","body":{}}').is, 'unknown');
});

test('refuses what breaks a limit', () => {
  const code = (frame: string) => {
    const decoded = decodeUplink(frame);
    return decoded.is === 'refused' ? decoded.code : decoded.is;
  };
  assert.is(code(`"${'é'.repeat(MAX_FRAME_BYTES / 2)}"`), 'wire/too-large');
  assert.is(code('{"v":0,"kind":"ping","body":{"at":1}}'), 'wire/not-envelope');
  assert.is(code('[]'), 'wire/not-envelope');
  assert.is(code('null'), 'wire/not-envelope');
  const golden = goldens.find(({ frame }) => frame.kind === 'usage-batch')!;
  const [record] = golden.frame.body.records as Record<string, unknown>[];
  const batch = (records: unknown[]) =>
    JSON.stringify({ ...golden.frame, body: { ...golden.frame.body, records } });
  assert.is(code(batch(Array.from({ length: MAX_BATCH_RECORDS }, () => record))), 'message');
  assert.is(code(batch(Array.from({ length: MAX_BATCH_RECORDS + 1 }, () => record))), 'wire/bad-body');
  assert.is(code(batch([])), 'wire/bad-body');
  for (const change of [
    { sequence: 0 },
    { upBytes: -1 },
    { downBytes: 2 ** 53 },
    { flows: 0.5 },
    { periodStart: 61_000 },
    { slot: 65_536 },
    { endpointId: '' },
  ])
    assert.is(code(batch([{ ...record, ...change }])), 'wire/bad-body', JSON.stringify(change));
});

test('never throws and never repeats what was in a refused frame', () => {
  const secret = 's3cr3t-value';
  holds(
    fc.property(
      fc.oneof(
        fc.string(),
        fc.json(),
        fc.json().map(body => `{"v":1,"kind":"hello","body":${body}}`),
      ),
      text => {
        for (const decoded of [decodeUplink(text), decodeDownlink(text)])
          assert.ok(['message', 'unknown', 'refused'].includes(decoded.is));
      },
    ),
    500,
  );
  for (const frame of [`{"v":1,"kind":"ping","body":{"at":"${secret}"}}`, `{"v":"${secret}"}`, `{${secret}`])
    assert.not.match(JSON.stringify(decodeUplink(frame)), secret);
});

test('deep nesting is refused or read, not a crash', () => {
  const deep = `{"v":1,"kind":"ping","body":${'['.repeat(100_000)}${']'.repeat(100_000)}}`;
  assert.is(decodeUplink(deep).is, 'refused');
});

test('reads back the header that opens a link, and nothing that is not one', () => {
  const signature = Buffer.alloc(64, 7);
  const header = linkAuthorization('node-1', 'nonce-nonce-nonce-1', signature);
  assert.equal(parseLinkAuthorization(header), { nodeId: 'node-1', nonce: 'nonce-nonce-nonce-1', signature });
  assert.is(linkProof('a', 'b').toString(), 'mastline-link\na\nb');
  for (let at = 0; at < header.length; at += 1)
    assert.is(parseLinkAuthorization(header.slice(0, at)), undefined);
  for (const bad of [
    undefined,
    '',
    `${header} `,
    header.replace('node-1', 'no"de'),
    header.replace('Mastline', 'Basic'),
  ])
    assert.is(parseLinkAuthorization(bad), undefined);
});

test.run();
