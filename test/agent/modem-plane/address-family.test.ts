/** What may be asked from which address: another family would be asked by another link. */
import { askFrom, familyOf, serversFor, urlsFor } from '@mastline/agent/modem-plane/address-family';
import { exitOf } from '@mastline/agent/modem-plane/exit-address';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';

const test = suite('address family');
const SIX = '2001:db8::2';
const SERVERS = ['192.0.2.1', '192.0.2.1:5353', '2001:db8::53', '[2001:db8::53]:5353'];

test('name servers of the other family are not asked', () => {
  assert.equal(serversFor('10.0.0.1', SERVERS), ['192.0.2.1', '192.0.2.1:5353']);
  assert.equal(serversFor(SIX, SERVERS), ['2001:db8::53', '[2001:db8::53]:5353']);
  assert.equal(serversFor(null, SERVERS), SERVERS);
});

test('services are asked by name, or by an address of the family', () => {
  const urls = ['http://192.0.2.1/ip', 'http://[2001:db8::1]:8080/ip', 'https://echo.example/ip'];
  assert.equal(urlsFor('10.0.0.1', urls), ['http://192.0.2.1/ip', 'https://echo.example/ip']);
  assert.equal(urlsFor(SIX, urls), ['http://[2001:db8::1]:8080/ip', 'https://echo.example/ip']);
  assert.is(familyOf(null), 4);
});

test('a resolver is bound to the address, or not used at all', () => {
  const said: unknown[][] = [];
  const resolver = {
    setServers: (servers: readonly string[]) => void said.push(['servers', ...servers]),
    setLocalAddress: (...addresses: string[]) => void said.push(addresses),
  };
  assert.is(askFrom(resolver, SIX, ['192.0.2.1']), false);
  assert.equal(said, []);
  assert.is(askFrom(resolver, SIX, SERVERS), true);
  assert.equal(said, [
    ['servers', '2001:db8::53', '[2001:db8::53]:5353'],
    ['0.0.0.0', SIX],
  ]);
});

test('an exit is an IPv4 address, or a /64 however it is spelled', () => {
  assert.is(exitOf('2001:db8:0:7::2'), exitOf('2001:0db8:0000:0007:aaaa:bbbb:cccc:dddd'));
  assert.is.not(exitOf('2001:db8:0:7::2'), exitOf('2001:db8:0:8::2'));
  assert.is.not(exitOf('198.51.100.1'), exitOf('198.51.100.2'));
});

test.run();
