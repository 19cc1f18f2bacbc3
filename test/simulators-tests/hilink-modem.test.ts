/** The HiLink simulator behaves as the recorded sticks do: sessions, tokens, the dial, the knobs, and what it does not know. */
import { createServer } from 'node:net';
import * as assert from 'uvu/assert';
import { type CarrierLink, VirtualCarrier } from '../simulators/carrier';
import { type HilinkModem, startHilinkModem } from '../simulators/hilink-modem';
import { identityOf } from '../simulators/hilink-replies';
import { type FakeClock, fakeClock } from '../support/clock';
import { suite } from '../support/suite';

const test = suite('HiLink simulator');

let clock: FakeClock;
let carrier: VirtualCarrier;
let modem: HilinkModem;
let links: CarrierLink[];
let base = '';

test.beforeEach(async () => {
  clock = fakeClock();
  links = [];
  carrier = new VirtualCarrier({
    pool: ['198.18.9.10', '198.18.9.11'],
    clock,
    apply: async link => void links.push(link),
    onFailure: error => {
      throw error;
    },
    registrationDelayMs: 3000,
    connectDelayMs: 2000,
  });
  let port = 0;
  modem = await startHilinkModem({
    identity: identityOf(9, 1),
    carrier,
    wanAddress: session => `10.9.1.${session}`,
    dnsServers: ['198.18.9.2'],
    bytes: async () => ({ up: 1, down: 2 }),
    listen: () =>
      new Promise(resolve => {
        const server = createServer().listen({ host: '127.0.0.1', port }, () => {
          const bound = server.address();
          if (bound !== null && typeof bound === 'object') port = bound.port;
          base = `http://127.0.0.1:${port}`;
          resolve(server);
        });
      }),
  });
  await carrier.powerOn();
});
test.afterEach(async () => {
  await modem.close();
  await carrier.close();
});

const get = async (path: string, headers: Record<string, string> = {}) => {
  const response = await fetch(`${base}${path}`, { headers: { connection: 'close', ...headers } });
  assert.is(response.status, 200);
  return response.text();
};
const element = (xml: string, name: string) => new RegExp(`<${name}>([^<]*)</${name}>`).exec(xml)?.[1];
const session = async () => {
  const xml = await get('/api/webserver/SesTokInfo');
  return { cookie: element(xml, 'SesInfo') ?? '', token: element(xml, 'TokInfo') ?? '' };
};
const post = async (path: string, body: string, who: { cookie: string; token: string }) => {
  const response = await fetch(`${base}/api/${path}`, {
    method: 'POST',
    body: `<?xml version="1.0" encoding="UTF-8"?><request>${body}</request>`,
    headers: { connection: 'close', cookie: who.cookie, __RequestVerificationToken: who.token },
  });
  return { text: await response.text(), next: response.headers.get('__RequestVerificationToken') ?? '' };
};
const connection = async (who: { cookie: string }) =>
  element(await get('/api/monitoring/status', { cookie: who.cookie }), 'ConnectionStatus');

test('registers, connects and then has an address: 902, 900, 901', async () => {
  const who = await session();
  assert.is(await connection(who), '902');
  await clock.advance(3000);
  assert.is(await connection(who), '900');
  await clock.advance(2000);
  assert.is(await connection(who), '901');
  assert.equal(links.at(-1), {
    ...{ address: '198.18.9.10', carries: true, credit: true },
    ...{ address6: null, carries6: true },
  });
  const xml = await get('/api/monitoring/status', { cookie: who.cookie });
  assert.is(xml.match(/<maxsignal>/g)?.length, 2);
  assert.is(element(xml, 'SignalStrength'), '');
  assert.is(element(xml, 'PrimaryDns'), '198.18.9.2');
});

test('a token is good for one POST, which brings the next', async () => {
  const who = await session();
  const first = await post('dialup/mobile-dataswitch', '<dataswitch>0</dataswitch>', who);
  assert.match(first.text, /<response>OK<\/response>/);
  const again = await post('dialup/mobile-dataswitch', '<dataswitch>1</dataswitch>', who);
  assert.is(element(again.text, 'code'), '125003');
  const next = await post('dialup/mobile-dataswitch', '<dataswitch>1</dataswitch>', {
    ...who,
    token: first.next,
  });
  assert.match(next.text, /OK/);
});

test('a second client takes the session away', async () => {
  const mine = await session();
  await session();
  assert.is(element(await get('/api/monitoring/status', { cookie: mine.cookie }), 'code'), '125002');
});

test('the data switch takes the address, and the next connection has another; a sticky carrier gives it again', async () => {
  const reconnect = async () => {
    await carrier.switchData(false);
    assert.is(links.at(-1)?.address, null);
    await carrier.switchData(true);
    await clock.advance(2000);
    return links.at(-1)?.address;
  };
  await clock.advance(5000);
  assert.is(await reconnect(), '198.18.9.11');
  assert.is(await reconnect(), '198.18.9.10');
  carrier.set({ sticky: true });
  assert.is(await reconnect(), '198.18.9.10');
});

test("wrong bodies get the stick's own numbers", async () => {
  const code = async (path: string, body: string) =>
    element((await post(path, body, await session())).text, 'code');
  assert.is(await code('dialup/mobile-dataswitch', '<dataswitch>2</dataswitch>'), '100006');
  await clock.advance(3000);
  assert.is(await code('dialup/dial', '<Action>1</Action>'), '100004');
});

test('what it does not know is a fault, not waved through', async () => {
  const who = await session();
  assert.equal(modem.faults(), []);
  assert.is(element(await get('/api/sms/sms-count', { cookie: who.cookie }), 'code'), '100002');
  assert.equal(
    modem.faults().map(fault => fault.path),
    ['/api/sms/sms-count'],
  );
});

test('hangs with the connection open, dies with it refused, and comes back on the same port', async () => {
  await modem.setMode('hang');
  const controller = new AbortController();
  const hanging = fetch(`${base}/api/webserver/SesTokInfo`, { signal: controller.signal }).then(
    () => 'answered',
    () => 'given up',
  );
  controller.abort();
  assert.is(await hanging, 'given up');
  await modem.setMode('dead');
  await fetch(`${base}/`).then(
    () => assert.unreachable(),
    error => assert.is(error.cause.code, 'ECONNREFUSED'),
  );
  await modem.setMode('up');
  assert.ok((await session()).token);
});

test('identities have a valid IMEI and differ', () => {
  const imei = identityOf(3, 7).imei;
  const sum = [...imei].reverse().reduce((total, digit, i) => {
    const value = Number(digit) * (i % 2 === 1 ? 2 : 1);
    return total + (value > 9 ? value - 9 : value);
  }, 0);
  assert.is(sum % 10, 0);
  assert.is(imei.length, 15);
  assert.is.not(imei, identityOf(3, 8).imei);
});

test.run();
