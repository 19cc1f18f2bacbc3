import { isIP, isIPv6 } from 'node:net';
import { formatAuthority, normalizeHost, parseAuthority } from '@mastline/shared/protocols/target';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';
import { nearly } from './mutations';
import { holds } from './property';

const test = suite('targets');

test('what is written as an authority is read again, and the default port may be left out', () => {
  const label = fc.stringMatching(/^[a-z]([a-z0-9-]{0,10}[a-z0-9])?$/);
  const host = fc.oneof(
    fc.ipV4(),
    fc.ipV6().filter(isIPv6),
    fc.array(label, { minLength: 1, maxLength: 4 }).map(labels => labels.join('.')),
  );
  holds(
    fc.property(host, fc.integer({ min: 1, max: 65_535 }), (host, port) => {
      const target = { host: host.toLowerCase(), port };
      assert.equal(parseAuthority(formatAuthority(target), null), target);
      assert.equal(parseAuthority(formatAuthority(target, port), port), target);
    }),
    1_000,
  );
});

test('whatever is taken for a host has one spelling, and is no number that a resolver could read as an address', () => {
  const bases = ['example.com.', '127.0.0.1', '::ffff:127.0.0.1', '0x7f.1', 'A_b.EXAMPLE', 'xn--a.b'];
  const words = ['.', '..', '-', '0x', '%eth0', '@', ' ', '１', '。', '/'];
  const near = fc.constantFrom(...bases).chain(base => nearly(Buffer.from(base), words));
  holds(
    fc.property(
      fc.oneof(
        near.map(bytes => bytes.toString('latin1')),
        fc.fullUnicodeString(),
      ),
      text => {
        const host = normalizeHost(text);
        if (host === null) return;
        assert.is(normalizeHost(host), host);
        assert.match(host, /^[\x21-\x7e]+$/);
        // WHATWG URL reads numbers in every notation: where it finds an address, so must we have.
        const url = `http://${host}/`;
        if (isIP(host) === 0 && URL.canParse(url)) assert.is(isIP(new URL(url).hostname), 0, host);
      },
    ),
    5_000,
  );
});

test('random authorities never throw, and what is read has a host and a port', () => {
  const near = fc
    .constantFrom('[::1]:80', 'a.example:443', '1.2.3.4:1')
    .chain(base => nearly(Buffer.from(base)));
  holds(
    fc.property(
      fc.oneof(
        near.map(bytes => bytes.toString('latin1')),
        fc.fullUnicodeString(),
      ),
      text => {
        const target = parseAuthority(text, null);
        if (target)
          assert.ok(normalizeHost(target.host) === target.host && target.port > 0 && target.port < 65_536);
      },
    ),
    3_000,
  );
});

test.run();
