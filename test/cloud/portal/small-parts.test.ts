/** The portal's pure parts: destinations after log-in, curl commands, CSV, times. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import fc from 'fast-check';
import { csvOf } from '../../../cloud/app/csv';
import { curlCommand } from '../../../cloud/app/curl-command';
import { loginPath, safeDestination } from '../../../cloud/app/login-redirect';
import { lookOf, zoneOf } from '../../../cloud/app/look.server';
import { formatAgo, formatMoment, formatUtc } from '../../../cloud/app/time';
import { suite } from '../../support/suite';

const test = suite('portal parts');

test('a destination after log-in never leaves the portal', () => {
  assert.equal(safeDestination('/usage?range=7d'), '/usage?range=7d');
  for (const bad of [
    null,
    '',
    'https://evil.example/',
    '//evil.example',
    '/\\evil.example',
    '/\t/evil.example',
    '/\n/evil.example',
    'javascript:alert(1)',
    '/login',
    '/login?to=/login',
    '/logout',
  ])
    assert.equal(safeDestination(bad), '/dashboard', String(bad));
});

test('whatever the destination says, a browser stays on this host', async () => {
  const base = 'https://portal.example';
  await fc.assert(
    fc.property(fc.string({ unit: 'binary' }), text => {
      for (const to of [text, `/${text}`, `//${text}`])
        assert.equal(new URL(safeDestination(to), base).origin, base);
    }),
    { numRuns: 500 },
  );
});

test('the way back to a page is kept, a form or a script is not repeated', () => {
  const get = (path: string) => loginPath(new Request(`http://x${path}`));
  assert.equal(get('/dashboard'), '/login');
  assert.equal(get('/usage.data?range=7d&_routes=a'), '/login?to=%2Fusage%3Frange%3D7d');
  assert.equal(get('/usage.csv?range=7d'), '/login?to=%2Fusage%3Frange%3D7d');
  assert.equal(loginPath(new Request('http://x/organization', { method: 'POST' })), '/login');
});

test('a shell hands curl exactly the user name and secret that were meant', async () => {
  await fc.assert(
    fc.property(
      fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 30 }),
      fc.string({ unit: 'grapheme-ascii', minLength: 1, maxLength: 30 }),
      (username, secret) => {
        const command = curlCommand({
          protocol: 'socks5',
          host: '2001:db8::7',
          port: 1080,
          username,
          secret,
          echoUrl: 'https://api.ipify.org',
        });
        const seen = execFileSync('/bin/sh', [
          '-c',
          `curl() { printf '%s\\n' "$@" END; }; ${command}`,
        ]).toString();
        assert.equal(
          seen,
          `--proxy\nsocks5h://[2001:db8::7]:1080\n--proxy-user\n${username}:${secret}\nhttps://api.ipify.org\nEND\n`,
        );
      },
    ),
    { numRuns: 40 },
  );
});

test('CSV quotes what must be quoted and defuses formulas', () => {
  assert.equal(
    csvOf(
      ['a', 'b'],
      [
        ['x, "y"', 1],
        ['=HYPERLINK("http://evil")', -2],
      ],
    ),
    'a,b\r\n"x, ""y""",1\r\n"\'=HYPERLINK(""http://evil"")",-2\r\n',
  );
});

test('times are written in the zone that is asked for', () => {
  const at = Date.UTC(2026, 10, 23, 23, 5);
  assert.equal(formatMoment(at, 'UTC'), '23 Nov, 23:05');
  assert.equal(formatMoment(at, 'Asia/Tokyo'), '24 Nov, 08:05');
  assert.equal(formatUtc(at), '2026-11-23 23:05 UTC');
  assert.equal(formatAgo(at - 150_000, at), '2 min ago');
  assert.equal(formatAgo(at + 5_000, at), 'just now');
});

test('nonsense in the look and zone cookies falls back instead of failing the page', () => {
  const asked = (cookie: string) => new Request('http://x/', { headers: { cookie } });
  assert.equal(zoneOf(asked('mastline_zone=Europe%2FBerlin')), 'Europe/Berlin');
  for (const cookie of [
    'mastline_zone=%E0%A4%A',
    'mastline_zone=Mars/Base',
    `mastline_zone=${'x'.repeat(99)}`,
    'a',
  ])
    assert.equal(zoneOf(asked(cookie)), 'UTC', cookie);
  assert.equal(lookOf(asked('mastline_look=dark; a=b')), 'dark');
  assert.equal(lookOf(asked('mastline_look=pink')), 'system');
});

test.run();
