/** Every test file goes through the one door and calls `run()`; nothing is switched off in the source. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { suite } from '../support/suite';

const folder = join(import.meta.dirname, '..');
const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter(
  path => path.endsWith('.test.ts') && !path.includes('node_modules'),
);
const test = suite('test files');

test('there are many', () => assert.ok(files.length >= 10, `only ${files.length}`));

test('each imports suite from support/suite and runs each suite it makes', () => {
  for (const file of files) {
    const text = readFileSync(join(folder, file), 'utf8');
    assert.match(
      text,
      /import \{ suite \} from '[./]*support\/suite'/,
      `${file} does not use test/support/suite.ts`,
    );
    assert.doesNotMatch(text, /^import .* from 'uvu';$/m, `${file} goes to uvu by the back door`);
    const made = [...text.matchAll(/^(?:const|let) (\w+) = suite\(/gm)].map(match => match[1]);
    assert.ok(made.length > 0, `${file} makes no suite`);
    for (const name of made)
      assert.ok(text.includes(`\n${name}.run();`), `${file}: ${name}.run() is missing`);
  }
});

test('none is focused', () => {
  for (const file of files)
    assert.doesNotMatch(
      readFileSync(join(folder, file), 'utf8'),
      /\.only\(/,
      `${file} runs only a part of itself`,
    );
});

test.run();
