/** Which profile a stick gets, by what its USB side and the modem itself say. */
import assert from 'node:assert/strict';
import { loadCatalogue } from '@mastline/firmware-profiles/catalogue';
import { type Fingerprint, fits, matchProfile } from '@mastline/shared/profile/match';
import fc from 'fast-check';
import { suite } from '../support/suite';

const test = suite('profile matching');
const profiles = loadCatalogue();

test('two models of one USB id get the generic profile until the modem has said its name', () => {
  const unnamed = aStick({ vendorId: '2c7c', productId: '0125', speaks: ['at'] });
  const match = matchProfile(profiles, unnamed);
  assert.equal(match?.profile.id, 'generic/at');
  assert.deepEqual(match?.undecided, ['quectel/ec25', 'quectel/eg25-g']);
  const named = { ...unnamed, identity: { model: 'EG25-G', hardware: null, firmware: 'EG25GGBR07A08M2G' } };
  assert.equal(matchProfile(profiles, named)?.profile.id, 'quectel/eg25-g');
});

test('a USB product text decides before anybody has asked the modem', () => {
  const match = matchProfile(
    profiles,
    aStick({ vendorId: '2c7c', productId: '0125', usbProduct: 'EC25-AF', speaks: ['at'] }),
  );
  assert.equal(match?.profile.id, 'quectel/ec25');
  assert.deepEqual(match?.because, ['USB id 2c7c:0125', 'USB product "EC25-AF"']);
});

test('one model alone on its USB id is chosen by it', () => {
  const match = matchProfile(
    profiles,
    aStick({ vendorId: '2c7c', productId: '0801', speaks: ['mbim', 'at'] }),
  );
  assert.equal(match?.profile.id, 'quectel/rm520n');
});

for (const [hardware, firmware, expected] of [
  ['CL2E3372HM', '22.329.63.00.1460', 'huawei/e3372h-153'],
  ['CL4E3372HM', '10.0.5.1', 'huawei/e3372h-320'],
  ['CL1E3372SM', '22.200.09.00.00', 'huawei/e3372s'],
] as const)
  test(`the E3372 of hardware ${hardware} is ${expected}`, () => {
    const stick = aStick({ vendorId: '12d1', productId: '14dc', speaks: ['hilink'] });
    const match = matchProfile(profiles, { ...stick, identity: { model: 'E3372', hardware, firmware } });
    assert.equal(match?.profile.id, expected);
  });

test('a HiLink stick of a model without a profile is driven by the generic one', () => {
  const stick = aStick({ vendorId: '12d1', productId: '14dc', speaks: ['hilink'] });
  const match = matchProfile(profiles, {
    ...stick,
    identity: { model: 'E8372h', hardware: null, firmware: null },
  });
  assert.equal(match?.profile.id, 'generic/hilink');
  assert.deepEqual(match?.undecided, []);
});

test('a modem that is not on USB is known by its own word', () => {
  const match = matchProfile(
    profiles,
    aStick({ speaks: ['at'], identity: { model: 'RM520N-GL', hardware: null, firmware: null } }),
  );
  assert.equal(match?.profile.id, 'quectel/rm520n');
});

test('of several generic profiles the first driver the stick offers wins', () => {
  assert.equal(matchProfile(profiles, aStick({ speaks: ['mbim', 'at'] }))?.profile.id, 'generic/mbim');
  assert.equal(matchProfile(profiles, aStick({ speaks: ['at', 'mbim'] }))?.profile.id, 'generic/at');
});

test('a stick that no driver can talk to has no profile', () => {
  assert.equal(matchProfile(profiles, aStick({ vendorId: '2c7c', productId: '0125', speaks: [] })), null);
});

test('the order of the catalogue changes nothing', async () => {
  const sticks = [
    aStick({ vendorId: '2c7c', productId: '0125', speaks: ['at'] }),
    aStick({ vendorId: '12d1', productId: '14dc', speaks: ['hilink', 'at'] }),
    aStick({ speaks: ['mbim', 'hilink', 'at'] }),
  ];
  await fc.assert(
    fc.property(fc.shuffledSubarray(profiles, { minLength: profiles.length }), shuffled => {
      for (const stick of sticks)
        assert.deepEqual(matchProfile(shuffled, stick), matchProfile(profiles, stick));
    }),
  );
});

test('patterns agree with the regular expression they stand for', async () => {
  const piece = fc.stringMatching(/^[ab*]{1,6}$/);
  await fc.assert(
    fc.property(piece, fc.stringMatching(/^[ab]{0,8}$/), (pattern, text) => {
      const expression = new RegExp(`^${pattern.replaceAll('*', '.*')}$`);
      assert.equal(fits(pattern, text), expression.test(text), `${pattern} on ${text}`);
    }),
    { numRuns: 2000 },
  );
});

function aStick(said: Partial<Fingerprint>): Fingerprint {
  return { vendorId: null, productId: null, usbProduct: null, speaks: [], identity: null, ...said };
}

test.run();
