/** The grammar of parameters in user names. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  formatUsername,
  MAX_TTL_MS,
  MIN_TTL_MS,
  parseUsername,
  type UsernameParameters,
} from '@mastline/shared/protocols/username-parameters';
import fc from 'fast-check';
import { suite } from '../../support/suite';
import { holds } from './property';

const test = suite('username parameters');

const parsed = (text: string): UsernameParameters => {
  const result = parseUsername(text);
  if (result.kind === 'invalid') throw new Error(`${result.parameter}: ${result.problem}`);
  return result.username;
};

test('a plain name has no parameters', () => {
  assert.deepEqual(parsed('alice'), { name: 'alice' });
  assert.deepEqual(parsed('Alice@example.org'), { name: 'Alice@example.org' });
});

test('all parameters, in any order', () => {
  assert.deepEqual(parsed('alice-session-abc12-ttl-10m-modem-3-country-de-carrier-xyz-rotate-1'), {
    name: 'alice',
    session: 'abc12',
    ttlMs: 600_000,
    modem: 3,
    country: 'DE',
    carrier: 'xyz',
    rotate: 1,
  });
  assert.deepEqual(parsed('alice-rotate-7-modem-0'), { name: 'alice', rotate: 7, modem: 0 });
});

test('words and codes ignore case; names and sessions do not', () => {
  assert.deepEqual(parsed('Alice-SESSION-AbC-Ttl-1H-Country-dE-CARRIER-Xyz'), {
    name: 'Alice',
    session: 'AbC',
    ttlMs: 3_600_000,
    country: 'DE',
    carrier: 'xyz',
  });
});

test('a dash in a name is written twice, wherever it stands', () => {
  assert.deepEqual(parsed('my--box-session-a'), { name: 'my-box', session: 'a' });
  assert.deepEqual(parsed('a--session--b'), { name: 'a-session-b' });
  assert.deepEqual(parsed('--a'), { name: '-a' });
  assert.deepEqual(parsed('a---session-x'), { name: 'a-', session: 'x' });
});

test('an unknown or misspelt parameter is named, with the valid ones', () => {
  for (const [text, word] of [
    ['alice-sesion-abc', 'sesion'],
    ['my-box', 'box'],
    ['alice-', ''],
    ['alice-session-a-b', 'b'],
    ['alice-constructor-1', 'constructor'],
  ] as const) {
    const result = parseUsername(text);
    assert.ok(result.kind === 'invalid', text);
    assert.equal(result.parameter, word);
    assert.match(result.problem, /known are session, ttl, modem, carrier, country, rotate/);
  }
});

test('each value has bounds, and the error says which', () => {
  const bad: [string, string, RegExp][] = [
    ['alice-session-', 'session', /1 to 32/],
    ['alice-session', 'session', /1 to 32/],
    [`alice-session-${'x'.repeat(33)}`, 'session', /1 to 32/],
    ['alice-session-ä', 'session', /letters/],
    ['alice-session-a-ttl-9s', 'ttl', /from 10s to 7d/],
    ['alice-session-a-ttl-8d', 'ttl', /from 10s to 7d/],
    ['alice-session-a-ttl-10', 'ttl', /s, m, h or d/],
    ['alice-session-a-ttl-1.5m', 'ttl', /whole number/],
    ['alice-ttl-10m', 'ttl', /needs a session/],
    ['alice-modem-65536', 'modem', /0 to 65535/],
    ['alice-modem-x', 'modem', /slot/],
    ['alice-modem-+1', 'modem', /slot/],
    ['alice-country-deu', 'country', /two letters/],
    ['alice-country-1a', 'country', /two letters/],
    ['alice-carrier-', 'carrier', /1 to 32/],
    ['alice-rotate-0', 'rotate', /from 1/],
    ['alice-rotate-1000000000', 'rotate', /999999999/],
    ['alice-modem-1-MODEM-2', 'modem', /twice/],
    ['', 'name', /begins with the name/],
    ['-session-a', 'name', /begins with the name/],
    ['x'.repeat(65), 'name', /at most 64/],
    ['al ice', 'name', /printable/],
    ['al:ice', 'name', /printable/],
    ['aliçe', 'name', /printable/],
    ['x'.repeat(256), 'name', /255 bytes/],
  ];
  for (const [text, parameter, problem] of bad) {
    const result = parseUsername(text);
    assert.ok(result.kind === 'invalid', text);
    assert.equal(result.parameter, parameter, text);
    assert.match(result.problem, problem, text);
  }
});

test('the edges of the bounds are taken', () => {
  assert.equal(parsed('a-session-b-ttl-10s').ttlMs, MIN_TTL_MS);
  assert.equal(parsed('a-session-b-ttl-7d').ttlMs, MAX_TTL_MS);
  assert.equal(parsed('a-session-b-ttl-604800s').ttlMs, MAX_TTL_MS);
  assert.equal(parsed('a-modem-65535').modem, 65_535);
  assert.equal(parsed('a-rotate-999999999').rotate, 999_999_999);
});

const word = fc.stringMatching(/^[A-Za-z0-9_]{1,32}$/);
const username = fc.record(
  {
    name: fc.stringMatching(/^[!-9;-~]{1,64}$/),
    session: word,
    ttlMs: fc.integer({ min: 10, max: 604_800 }).map(seconds => seconds * 1000),
    modem: fc.integer({ min: 0, max: 65_535 }),
    carrier: word.map(text => text.toLowerCase()),
    country: fc.stringMatching(/^[A-Z]{2}$/),
    rotate: fc.integer({ min: 1, max: 999_999_999 }),
  },
  { requiredKeys: ['name', 'session'] },
);

test('what is written reads back as the same', () => {
  holds(
    fc.property(username, one => {
      const text = (() => {
        try {
          return formatUsername(one as UsernameParameters);
        } catch (error) {
          // Names full of dashes double in length and may no longer fit into 255 bytes.
          assert.match(String(error), /255 bytes/);
          return null;
        }
      })();
      if (text !== null) assert.deepEqual(parsed(text), one);
    }),
    1000,
  );
  assert.throws(() => formatUsername({ name: 'a', modem: -1 }), { code: 'username/invalid' });
  assert.throws(() => formatUsername({ name: 'a', ttlMs: 60_000 }), { code: 'username/invalid' });
  assert.throws(() => formatUsername({ name: 'a', session: 'b', ttlMs: 10_500 }), {
    code: 'username/invalid',
  });
});

test('no text throws, and what is taken is written the same way again', () => {
  const pieces = fc.array(
    fc.constantFrom('-', '--', 'a', 'session', 'ttl', '10m', 'modem', '3', 'x y', 'é', 'country', 'de'),
    { maxLength: 12 },
  );
  holds(
    fc.property(
      fc.oneof(
        fc.fullUnicodeString({ maxLength: 300 }),
        pieces.map(parts => parts.join('')),
      ),
      text => {
        const result = parseUsername(text);
        if (result.kind === 'parsed')
          assert.deepEqual(parsed(formatUsername(result.username)), result.username);
      },
    ),
    3000,
  );
});

test('the examples of agent/README.md are what they say', () => {
  const text = readFileSync(join(import.meta.dirname, '../../../agent/README.md'), 'utf8');
  const section = /\n## User names\n([\s\S]*?)\n## /.exec(text)?.[1] ?? '';
  const [good = '', bad = ''] = section.split('| user name | answer |');
  const rows = (part: string) => [...part.matchAll(/^\| `([^`]+)` \| (.*) \|$/gm)];
  assert.ok(rows(good).length >= 6 && rows(bad).length >= 6, 'the tables are there');
  for (const [, username = ''] of rows(good)) parsed(username);
  assert.equal(parsed('big--client-modem-3').name, 'big-client');
  for (const [, username = '', answer] of rows(bad)) {
    const result = parseUsername(username);
    assert.ok(result.kind === 'invalid', username);
    assert.equal(`"${result.parameter}": ${result.problem}`, answer, username);
  }
});

test.run();
