/** Who answered a probe: replies as carriers and services give them. */
import { type ProbeReply, whoAnswered } from '@mastline/agent/modem-plane/health/captive';
import * as assert from 'uvu/assert';
import { suite } from '../../../support/suite';

const test = suite('who answered a probe');
const URL = 'http://echo.example/ip';
const reply = (over: Partial<ProbeReply>): ProbeReply => ({
  status: 200,
  location: undefined,
  contentType: 'text/plain',
  body: '',
  ...over,
});
const html = 'text/html; charset=utf-8';

const rows: [string, ProbeReply, 'service' | 'page' | 'no credit'][] = [
  ['an address', reply({ body: '198.51.100.7\n' }), 'service'],
  [
    'an address in JSON',
    reply({ body: '{"ip":"198.51.100.7"}', contentType: 'application/json' }),
    'service',
  ],
  ['204 without anything', reply({ status: 204 }), 'service'],
  ['a service in trouble', reply({ status: 502, body: 'bad gateway' }), 'service'],
  [
    "a service in trouble, in its server's HTML",
    reply({ status: 503, contentType: html, body: '<html>nginx</html>' }),
    'service',
  ],
  ['a service that moved to TLS', reply({ status: 301, location: 'https://echo.example/ip' }), 'service'],
  ['a service that moved within itself', reply({ status: 302, location: '/v2/ip' }), 'service'],
  ['a redirect to a portal', reply({ status: 302, location: 'http://hello.carrier.example/' }), 'page'],
  ['a redirect to nowhere', reply({ status: 302 }), 'page'],
  ['a redirect to a shop', reply({ status: 307, location: 'http://c.example/TopUp?x=1' }), 'no credit'],
  ['a German shop', reply({ status: 302, location: 'https://c.example/guthaben-aufladen' }), 'no credit'],
  [
    'a page with a greeting',
    reply({ contentType: html, body: '<!doctype html><title>Welcome</title>' }),
    'page',
  ],
  [
    'a page that says it',
    reply({ contentType: html, body: '<html>Your balance is too low</html>' }),
    'no credit',
  ],
  [
    'a page without a type',
    reply({ contentType: undefined, body: '  <html><body>hi</body></html>' }),
    'page',
  ],
  ['a Russian page', reply({ contentType: html, body: '<html>Пополните баланс</html>' }), 'no credit'],
  [
    'a page with a wrong status',
    reply({ status: 403, contentType: html, body: '<html>No credit left</html>' }),
    'no credit',
  ],
  ['511', reply({ status: 511 }), 'page'],
  ['402', reply({ status: 402 }), 'no credit'],
];
for (const [name, of, who] of rows)
  test(`${name}: ${who}`, () => {
    const answerer = whoAnswered(URL, of);
    const said = answerer.kind === 'service' ? 'service' : answerer.credit ? 'no credit' : 'page';
    assert.is(said, who);
  });

test('never shows what stands behind the question mark: it may be the subscriber', () => {
  const answerer = whoAnswered(URL, reply({ status: 302, location: 'http://c.example/topup?msisdn=49151' }));
  assert.not.match(answerer.problem, /49151/);
  assert.match(answerer.problem, /c\.example\/topup/);
});

test.run();
