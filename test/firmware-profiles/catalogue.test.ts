/** Checks over all profiles that ship, and that a wrong one is refused by the name of its field. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { catalogueDirectory, loadCatalogue, parseProfile } from '@mastline/firmware-profiles/catalogue';
import { CodedError } from '@mastline/shared/base/coded-error';
import { evidenceOf, type Profile } from '@mastline/shared/profile/schema';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const test = suite('firmware profiles');
const profiles = loadCatalogue();
const folders: { remove(): Promise<void> }[] = [];

test.afterEach(async () => {
  for (const folder of folders.splice(0)) await folder.remove();
});

const SHIPPED = [
  'generic/at',
  'generic/hilink',
  'generic/mbim',
  'huawei/e3131',
  'huawei/e3372h-153',
  'huawei/e3372h-320',
  'huawei/e3372s',
  'quectel/ec25',
  'quectel/eg25-g',
  'quectel/em12',
  'quectel/ep06',
  'quectel/rm500q',
  'quectel/rm520n',
];

test('every promised model ships, and each id once', () => {
  const ids = profiles.map(profile => profile.id);
  assert.equal(new Set(ids).size, ids.length);
  for (const id of SHIPPED) assert.ok(ids.includes(id), `${id} is missing`);
});

test('no two profiles of the same vendor and driver answer to the same identity', () => {
  const seen = new Map<string, string>();
  for (const { id, match } of profiles) {
    const claim = match.generic ?? JSON.stringify(match.identity);
    assert.equal(seen.get(claim), undefined, `${id} and ${seen.get(claim)} both claim ${claim}`);
    seen.set(claim, id);
  }
});

test('every section says where it comes from, and every source is used', () => {
  for (const profile of profiles) {
    const used = new Set<string>();
    const sections = evidenceOf(profile);
    assert.ok(sections.length >= 9, profile.id);
    for (const [, evidence] of sections) for (const key of evidence.from) used.add(key);
    assert.deepEqual([...used].sort(), Object.keys(profile.sources).sort(), profile.id);
  }
});

test('nothing claims to be proven on hardware before somebody has had the hardware', () => {
  for (const profile of profiles)
    for (const [path, evidence] of evidenceOf(profile))
      assert.equal(evidence.onHardware, false, `${profile.id} ${path.join('.')}`);
});

test('no profile carries a command or speaks of changing an identity', () => {
  for (const profile of profiles) {
    const { sources, ...rest } = profile;
    assert.ok(Object.keys(sources).length > 0);
    for (const text of stringsOf(withoutNotes(rest)))
      assert.doesNotMatch(text, /^AT[+^$&]|EGMR|IMEI|\r|\n/i, `${profile.id}: "${text}"`);
  }
});

test('each driver that a profile names finds its methods in the profile', () => {
  const own: Record<string, RegExp> = {
    hilink: /^hilink-/,
    mbim: /^mbim-/,
    at: /^(?!hilink-|mbim-)/,
  };
  for (const profile of profiles)
    for (const { kind } of profile.drivers) {
      // MBIM needs nothing but its own standard; AT and HiLink differ by firmware.
      if (kind === 'mbim') continue;
      for (const methods of [profile.signal.methods, profile.connect.methods])
        assert.ok(
          methods.some(method => own[kind]?.test(method)),
          `${profile.id}: no method of the ${kind} driver among ${methods.join(', ')}`,
        );
    }
});

test('a rotation that takes the data away stays away for at least 4 s', () => {
  for (const { id, rotation } of profiles)
    for (const entry of rotation)
      if (entry.method !== 'reset') assert.ok(entry.dwellSeconds >= 4, `${id} ${entry.method}`);
});

test('a misspelt field is refused by its name', () => {
  const wrong = { ...sample(), rotaton: [] };
  assert.throws(() => parseProfile(wrong, 'x.json'), coded('profile/invalid', /rotaton/));
});

const contradictions: [string, (profile: Profile) => unknown, RegExp][] = [
  ['an AT driver without AT settings', p => ({ ...p, at: undefined }), /^ {2}- at: must be there/m],
  [
    'a source that is not listed',
    p => ({ ...p, sources: {} }),
    /match\.evidence\.from\[0\]: .*not among the sources/,
  ],
  [
    'a port role without a rule',
    p => ({ ...p, ports: { ...p.ports, rules: [] } }),
    /drivers\[0\]\.port: no rule/,
  ],
  [
    'qeng without its unit',
    p => ({ ...p, signal: { ...p.signal, qengLteSinr: undefined } }),
    /signal\.qengLteSinr: is needed/,
  ],
  [
    'a rotation method named twice',
    p => ({ ...p, rotation: [...p.rotation, ...p.rotation] }),
    /rotation: names a method twice/,
  ],
  [
    'recovery out of order',
    p => ({ ...p, recovery: [...p.recovery].reverse() }),
    /recovery: must be in the order/,
  ],
  [
    'a model without USB ids',
    p => ({ ...p, match: { ...p.match, usb: [] } }),
    /match\.usb: needs at least one/,
  ],
  [
    'an unknown method',
    p => ({ ...p, connect: { ...p.connect, methods: ['magic'] } }),
    /connect\.methods\[0\]: /,
  ],
  ['a newer form', p => ({ ...p, format: 2 }), /format: /],
];
for (const [what, change, expected] of contradictions)
  test(`refuses ${what}`, () => {
    assert.throws(() => parseProfile(change(sample()), 'x.json'), coded('profile/invalid', expected));
  });

test('reads a folder that somebody else made, and insists that the id is the path', async () => {
  const { path: folder } = await temporary();
  assert.throws(() => loadCatalogue(folder), coded('profile/no-catalogue', /no firmware profiles/));
  mkdirSync(join(folder, 'acme'));
  const file = join(folder, 'acme/x1.json');
  writeFileSync(file, JSON.stringify({ ...sample(), id: 'acme/x1' }));
  assert.deepEqual(
    loadCatalogue(folder).map(profile => profile.id),
    ['acme/x1'],
  );
  writeFileSync(file, JSON.stringify(sample()));
  assert.throws(() => loadCatalogue(folder), coded('profile/misplaced', /must be "acme\/x1"/));
  writeFileSync(file, '{"format":1,');
  assert.throws(() => loadCatalogue(folder), coded('profile/invalid', /acme\/x1\.json is not JSON/));
  writeFileSync(file, Buffer.alloc(200_000, ' '));
  assert.throws(() => loadCatalogue(folder), coded('profile/invalid', /200000 bytes/));
});

test('finds the profiles beside a bundle, and names the places when there are none', async () => {
  const { path: root } = await temporary();
  const bundle = pathToFileURL(join(root, 'agent/dist/main.js')).href;
  assert.throws(() => catalogueDirectory(bundle), coded('profile/no-catalogue', /Install Mastline again/));
  mkdirSync(join(root, 'firmware-profiles/generic'), { recursive: true });
  writeFileSync(join(root, 'firmware-profiles/generic/at.json'), '{}');
  assert.equal(catalogueDirectory(bundle), join(root, 'firmware-profiles'));
});

async function temporary() {
  const folder = await tempDir('profiles');
  folders.push(folder);
  return folder;
}

function sample(): Profile {
  const found = profiles.find(profile => profile.id === 'quectel/ec25');
  assert.ok(found);
  return structuredClone(found);
}

function coded(code: string, text: RegExp) {
  return (error: unknown) => {
    assert.ok(error instanceof CodedError, String(error));
    assert.equal(error.code, code);
    assert.match(error.userMessage, text);
    return true;
  };
}

function* stringsOf(value: unknown): Generator<string> {
  if (typeof value === 'string') yield value;
  else if (typeof value === 'object' && value !== null)
    for (const part of Object.values(value)) yield* stringsOf(part);
}

/** Notes are prose for people. */
function withoutNotes(value: object): unknown {
  return JSON.parse(JSON.stringify(value, (key, part) => (key === 'note' ? undefined : part)));
}

test.run();
