/** A LAN of public addresses, for real: interfaces, routes and kernel of a network namespace. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import type { LanStory } from './lan-in-namespace';

const test = suite('a LAN of public addresses', { needs: ['unshare', 'ip'] });
const PROGRAM = join(import.meta.dirname, 'lan-in-namespace.ts');

test('flows into a network go on until the host joins it; then they are cut, and new ones refused', async () => {
  const asRoot = process.getuid?.() === 0 ? [] : ['--map-root-user'];
  const { stdout } = await promisify(execFile)(
    'unshare',
    [...asRoot, '--net', process.execPath, '--import', 'tsx', PROGRAM],
    { timeout: 25_000, killSignal: 'SIGKILL' },
  );
  const story: LanStory = JSON.parse(stdout);
  assert.equal(story, {
    echoed: ['ping', 'ping'],
    datagrams: ['ping'],
    cut: 2,
    replies: [2, 2, 2],
    refusals: { 'private-target': 7 },
  });
});

test.run();
