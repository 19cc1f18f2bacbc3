/** Every method that a profile names for AT is one that the AT driver has. */
import assert from 'node:assert/strict';
import * as commands from '@mastline/agent/modem-plane/drivers/at/commands';
import { WAYS } from '@mastline/agent/modem-plane/drivers/at/data-call';
import { SIGNAL_ROWS } from '@mastline/agent/modem-plane/drivers/at/radio';
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import { AtSettings, ConnectMethod, SignalMethod } from '@mastline/shared/profile/schema';
import { suite } from '../support/suite';

const test = suite('AT methods of the profiles');
const ofOthers = /^(hilink|mbim)-/;

test('every signal and connect method that is not of another driver is known to AT', () => {
  const signals = SignalMethod.options.filter(method => !ofOthers.test(method));
  assert.deepEqual(Object.keys(SIGNAL_ROWS).sort(), [...signals].sort());
  const ways = ConnectMethod.options.filter(method => !ofOthers.test(method));
  assert.deepEqual(Object.keys(WAYS).sort(), [...ways].sort());
});

test('every word of the AT settings has its command', () => {
  const { shape } = AtSettings;
  assert.deepEqual(Object.keys(commands.iccid).sort(), [...shape.iccid.element.options].sort());
  assert.deepEqual([...Object.keys(commands.pinTries), 'none'].sort(), [...shape.pinTries.options].sort());
  assert.deepEqual(Object.keys(commands.leaveNetwork).sort(), [...shape.deregister.options].sort());
  assert.deepEqual(Object.keys(commands.joinNetwork).sort(), [...shape.deregister.options].sort());
  assert.deepEqual([...Object.keys(commands.modes), 'none'].sort(), [...shape.modes.options].sort());
  assert.deepEqual(Object.keys(commands.restart).sort(), [...shape.reset.options].sort());
  assert.deepEqual(Object.keys(commands.counters).sort(), [...shape.counters.element.options].sort());
});

test('every AT profile has a way to connect, to hear its signal, and to rotate', () => {
  const at = loadCatalogue().filter(profile => profile.at);
  assert.ok(at.length >= 10);
  for (const profile of at) {
    assert.ok(
      profile.connect.methods.some(method => WAYS[method]),
      profile.id,
    );
    assert.ok(
      profile.signal.methods.some(method => SIGNAL_ROWS[method]),
      profile.id,
    );
    for (const { method } of profile.rotation)
      if (method === 'mode-toggle') assert.notEqual(profile.at?.modes, 'none', profile.id);
  }
});

test.run();
