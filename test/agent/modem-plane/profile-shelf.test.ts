/** Which profiles an agent goes by, when the cloud ships some beside its own. */
import { ProfileShelf } from '@mastline/agent/modem-plane/profile-shelf';
import { type Log, quietLog } from '@mastline/agent/observe/log';
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import type { Profile } from '@mastline/shared/profile/schema';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';

const test = suite('profile shelf');
const own = loadCatalogue();
const ec25 = own.find(one => one.id === 'quectel/ec25') as Profile;

function shelf() {
  const complaints: string[] = [];
  const changes: string[][] = [];
  const log = { ...quietLog, error: (message: string) => void complaints.push(message) } as Log;
  const made = new ProfileShelf({ own: () => own, log });
  made.onChange(changed => changes.push([...changed].sort()));
  return { shelf: made, complaints, changes };
}

test('a shipped profile stands beside the others, and before one of the same id', () => {
  const on = shelf();
  assert.is(on.shelf.all(), own);
  const better = { ...ec25, rotation: ec25.rotation.slice(0, 1) };
  const other = { ...ec25, id: 'simcom/sim7600', vendor: 'SIMCom', model: 'SIM7600' };
  assert.ok(on.shelf.adopt([better, other]));
  assert.is(on.shelf.all().length, own.length + 1);
  assert.is(on.shelf.all().find(one => one.id === 'quectel/ec25')?.rotation.length, 1);
  assert.equal(on.changes, [['quectel/ec25', 'simcom/sim7600']]);
  assert.not(on.shelf.adopt([better, other]), 'no news');
  assert.is(on.shelf.all(), on.shelf.all());
  // Withdrawn: the agent's own hold again.
  on.shelf.adopt([]);
  assert.equal(on.shelf.all(), own);
  assert.equal(on.changes[1], ['quectel/ec25', 'simcom/sim7600']);
});

test('one that cannot be read is named and passed over, the rest holds', () => {
  const on = shelf();
  const newer = { ...ec25, id: 'quectel/next', format: 2 };
  const good = { ...ec25, id: 'quectel/other' };
  on.shelf.adopt([newer, good]);
  assert.is(on.complaints.length, 1);
  assert.ok(on.shelf.all().some(one => one.id === 'quectel/other'));
  assert.not(on.shelf.all().some(one => one.id === 'quectel/next'));
});

test('what says the same in other order or twice is no change', () => {
  const on = shelf();
  on.shelf.adopt([ec25]);
  assert.equal(on.changes, []);
});

test.run();
