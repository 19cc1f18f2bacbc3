/** What we may ship under Apache-2.0: every installed runtime package has a licence from the list. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from '../support/suite';

const root = join(import.meta.dirname, '../..');
const allowed =
  /^(MIT(-0)?|ISC|BSD-[23]-Clause|BSD|0BSD|Apache-2\.0|CC0-1\.0|CC-BY-4\.0|Unlicense|BlueOak-1\.0\.0|Python-2\.0|PostgreSQL|OFL-1\.1|WTFPL|Zlib)$/;
/** Packages whose manifest says too little, read by a person. */
const read: Record<string, string> = {};

interface LockEntry {
  dev?: boolean;
  devOptional?: boolean;
  link?: boolean;
  license?: string;
}

const test = suite('licences');

test('every runtime dependency may be shipped under Apache-2.0', () => {
  const lock = JSON.parse(readFileSync(join(root, 'package-lock.json'), 'utf8')) as {
    packages: Record<string, LockEntry>;
  };
  const wrong: string[] = [];
  let seen = 0;
  for (const [path, entry] of Object.entries(lock.packages)) {
    if (!path.includes('node_modules/') || entry.dev || entry.devOptional || entry.link) continue;
    const manifest = join(root, path, 'package.json');
    if (!existsSync(manifest)) continue; // optional packages of other platforms
    seen += 1;
    const licence =
      entry.license ?? String(JSON.parse(readFileSync(manifest, 'utf8')).license ?? 'none given');
    const choices = licence.replace(/[()]/g, '').split(/ OR /);
    const fine = choices.some(choice => choice.split(/ AND /).every(part => allowed.test(part.trim())));
    if (!fine && read[path] === undefined) wrong.push(`${path}: ${licence}`);
  }
  assert.ok(seen > 100, `only ${seen} packages seen`);
  assert.deepEqual(wrong, []);
});

test.run();
