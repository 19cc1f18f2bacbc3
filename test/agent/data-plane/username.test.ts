import { chooseModem, wordOf } from '@mastline/agent/data-plane/choose-modem';
import {
  MAX_SESSIONS,
  SESSION_TABLE_BYTES,
  SessionTable,
  sessionKey,
} from '@mastline/agent/data-plane/session-table';
import type { Egress, RotateOutcome, RotateSlot } from '@mastline/agent/ports';
import { REFUSALS } from '@mastline/shared/protocols/refusal';
import fc from 'fast-check';
import * as assert from 'uvu/assert';
import { holds } from '../../shared/protocols/property';
import { fakeClock } from '../../support/clock';
import { eventually } from '../../support/eventually';
import { freePort } from '../../support/free-port';
import { suite } from '../../support/suite';
import { basic, socks5, tcp } from './clients';
import { curl } from './peers';
import { credential, endpoint, memorySink, type Origin, readAll, SECRET, startOrigin, startRig } from './rig';

const test = suite('parameters in the user name', { needs: ['curl'] });
const HOST = '127.0.0.1';

function egress(slot: number, overrides: Partial<Egress> = {}): Egress {
  return {
    slot,
    sourceAddress: `127.1.0.${slot}`,
    dnsServers: [],
    ready: true,
    imei: null,
    guarded: [],
    ...overrides,
  };
}

const GERMAN = egress(1, { carrier: 'T-Mobile DE', country: 'DE' });
const FRENCH = egress(2, { carrier: 'Orange F', country: 'FR' });
const OTHER = egress(3, { carrier: 'T-Mobile DE', country: 'DE' });

async function rigFor(egresses: Egress[] = [GERMAN, FRENCH, OTHER], rotate?: RotateSlot) {
  const [port, clock, sink] = [await freePort(), fakeClock(), memorySink()];
  const rig = await startRig({
    sink,
    clock,
    ...(rotate ? { rotate } : {}),
    plan: {
      endpoints: [endpoint(port, { slots: egresses.map(one => one.slot) })],
      egresses,
      credentials: [credential(), credential({ id: 'c2', username: 'big-client' })],
    },
  });
  // The origin tells from which slot's address it was reached.
  const origin = await startOrigin(socket => {
    socket.on('data', () => {
      const slot = socket.remoteAddress?.split('.').at(-1) ?? '?';
      socket.end(`HTTP/1.1 200 OK\r\nContent-Length: ${slot.length}\r\nConnection: close\r\n\r\n${slot}`);
    });
  });
  return {
    ...rig,
    clock,
    sink,
    origin,
    apply: (next: Egress[]) => rig.plane.apply({ ...rig.plan, egresses: next }),
    close: async () => {
      await rig.close();
      await origin.close();
    },
  };
}

/** The slot that carried a request by this user name, over SOCKS5; or the code of the refusal. */
async function slotBySocks(port: number, origin: Origin, username: string): Promise<string | number> {
  const { socket, reply } = await socks5(
    port,
    { host: HOST, port: origin.port },
    { username, secret: SECRET },
  );
  if (!socket) return reply;
  socket.write('x');
  const answer = (await readAll(socket)).toString();
  socket.destroy();
  return answer.split('\r\n\r\n')[1] ?? '';
}

/** The same over HTTP; of a refusal, the status line, the reason and the page. */
async function slotByHttp(port: number, origin: Origin, username: string, secret = SECRET): Promise<string> {
  const client = await tcp(port);
  const login = basic({ username, secret });
  client.end(
    `GET http://${HOST}:${origin.port}/ HTTP/1.1\r\nHost: x\r\nConnection: close\r\nProxy-Authorization: ${login}\r\n\r\n`,
  );
  const answer = (await readAll(client)).toString();
  const [head = '', body = ''] = answer.split('\r\n\r\n');
  if (head.startsWith('HTTP/1.1 200')) return body;
  return `${head.split(' ')[1]} ${/code=(.*)\r/.exec(head)?.[1]} ${body.trim()}`;
}

test('without parameters the first slot that can carry is taken; names with dashes of their own go on working', async () => {
  const rig = await rigFor();
  assert.is(await slotBySocks(rig.port, rig.origin, 'alice'), '1');
  assert.is(await slotBySocks(rig.port, rig.origin, 'big-client'), '1');
  assert.is(await slotBySocks(rig.port, rig.origin, 'big--client-modem-2'), '2');
  await rig.close();
  const who = new Set(rig.sink.deltas.map(delta => `${delta.credentialId} ${delta.slot}`));
  assert.equal([...who].sort(), ['c1 1', 'c2 1', 'c2 2']);
});

test('modem, carrier and country choose, alone and together, over SOCKS5 and HTTP', async () => {
  const rig = await rigFor();
  const cases: [string, string][] = [
    ['alice-modem-3', '3'],
    ['alice-country-fr', '2'],
    ['alice-COUNTRY-FR', '2'],
    ['alice-carrier-orange_f', '2'],
    ['alice-carrier-t_mobile_de', '1'],
    ['alice-carrier-t_mobile_de-modem-3-country-de', '3'],
  ];
  for (const [name, slot] of cases) {
    assert.is(await slotBySocks(rig.port, rig.origin, name), slot, name);
    assert.is(await slotByHttp(rig.port, rig.origin, name), slot, name);
  }
  const answer = await curl(
    '-x',
    `socks5h://alice-country-fr:${SECRET}@${HOST}:${rig.port}`,
    `http://${HOST}:${rig.origin.port}/`,
  );
  assert.is(answer.out, '2');
  await rig.close();
});

test('a modem that is none of the endpoint, and one that cannot carry now, are different refusals', async () => {
  const rig = await rigFor([GERMAN, { ...FRENCH, ready: false }]);
  for (const name of ['alice-modem-9', 'alice-country-us', 'alice-modem-1-country-fr']) {
    assert.is(await slotBySocks(rig.port, rig.origin, name), REFUSALS['no-matching-modem'].socks5);
    assert.match(await slotByHttp(rig.port, rig.origin, name), /^503 no-matching-modem /);
  }
  assert.match(await slotByHttp(rig.port, rig.origin, 'alice-country-fr'), /^503 no-modem /);
  await rig.close();
});

test('what is wrong with a parameter is told to who knows the secret, and to nobody else', async () => {
  const rig = await rigFor();
  const cases: [string, RegExp][] = [
    ['alice-sesion-1', /"sesion": unknown parameter; known are session, ttl/],
    ['alice-modem-x', /"modem": must be the number of a slot/],
    ['alice-session-a-session-b', /"session": given twice/],
    ['alice-ttl-10m', /"ttl": needs a session/],
    ['alice-rotate-0', /"rotate": must be a whole number/],
    ['alice-', /unknown parameter/],
  ];
  for (const [name, told] of cases) {
    const answer = await slotByHttp(rig.port, rig.origin, name);
    assert.match(answer, /^400 bad-parameter /, name);
    assert.match(answer, told, name);
    assert.is(await slotBySocks(rig.port, rig.origin, name), REFUSALS['bad-parameter'].socks5, name);
    const stranger = await slotByHttp(rig.port, rig.origin, name, 'wrong');
    assert.is(stranger, `407 bad-credentials ${REFUSALS['bad-credentials'].page}`, name);
  }
  await rig.close();
  assert.is(rig.sink.total().flows, 0);
});

test('a session stays on its slot when others come, moves when its own goes, and stays there', async () => {
  const rig = await rigFor();
  const name = 'alice-session-abc12-ttl-10m';
  const first = String(await slotBySocks(rig.port, rig.origin, name));
  assert.is(await slotByHttp(rig.port, rig.origin, name), first);
  const without = [GERMAN, FRENCH, OTHER].map(one =>
    String(one.slot) === first ? { ...one, ready: false } : one,
  );
  await rig.apply(without);
  const second = String(await slotBySocks(rig.port, rig.origin, name));
  assert.is.not(second, first);
  await rig.apply([GERMAN, FRENCH, OTHER]);
  assert.is(await slotBySocks(rig.port, rig.origin, name), second, 'it does not jump back');
  await eventually(async () => (await rig.plane.figures()).every(slot => slot.openFlows === 0));
  await rig.clock.advance(10 * 60_000 + 1_000);
  assert.is(await slotBySocks(rig.port, rig.origin, name), first, 'forgotten, it goes where its name leads');
  await rig.close();
});

test('sessions spread over the slots that can carry', async () => {
  const rig = await rigFor();
  const slots: Record<string, number> = {};
  for (let at = 0; at < 60; at += 1) {
    const slot = String(await slotBySocks(rig.port, rig.origin, `alice-session-s${at}`));
    slots[slot] = (slots[slot] ?? 0) + 1;
  }
  assert.equal(Object.keys(slots).sort(), ['1', '2', '3']);
  for (const count of Object.values(slots)) assert.ok(count >= 8, JSON.stringify(slots));
  await rig.close();
});

test('a kept HTTP connection goes another way when the parameters change', async () => {
  const [rig, seen] = [await rigFor(), [] as string[]];
  const origin = await startOrigin(socket =>
    socket.on('data', () => {
      seen.push(socket.remoteAddress?.split('.').at(-1) ?? '');
      socket.write('HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n');
    }),
  );
  const client = await tcp(rig.port);
  const next = (username: string) =>
    new Promise(resolve => {
      client.once('data', resolve);
      const login = basic({ username, secret: SECRET });
      client.write(
        `GET http://${HOST}:${origin.port}/ HTTP/1.1\r\nHost: x\r\nProxy-Authorization: ${login}\r\n\r\n`,
      );
    });
  for (const name of ['alice-modem-2', 'alice-modem-2', 'alice-modem-3']) await next(name);
  assert.equal(seen, ['2', '2', '3']);
  client.destroy();
  await rig.close();
  assert.is(rig.sink.total().flows, 2, 'the second request went over the connection of the first');
  await origin.close();
});

test('where nothing can rotate, a wish for it is refused each time', async () => {
  const rig = await rigFor();
  for (let again = 0; again < 2; again += 1) {
    assert.match(
      await slotByHttp(rig.port, rig.origin, 'alice-rotate-1'),
      /^501 rotation-unavailable .*Slot 1: nothing here can rotate it\./,
    );
    assert.is(
      await slotBySocks(rig.port, rig.origin, 'alice-session-a-rotate-1'),
      REFUSALS['rotation-unavailable'].socks5,
    );
  }
  await rig.close();
});

test('a higher number rotates once, however many flows bring it; the flows wait for it', async () => {
  const asked: { slot: number; credentialId: string }[] = [];
  const settle: ((outcome: RotateOutcome) => void)[] = [];
  const rig = await rigFor([GERMAN, FRENCH, OTHER], request => {
    asked.push(request);
    return new Promise(resolve => settle.push(resolve));
  });
  const bring = (name: string) => slotBySocks(rig.port, rig.origin, name);
  const flows = [1, 2, 3].map(() => bring('alice-modem-2-rotate-7'));
  while (asked.length === 0) await new Promise(setImmediate);
  settle[0]?.({ kind: 'rotated' });
  assert.equal(await Promise.all(flows), ['2', '2', '2']);
  assert.is(await bring('alice-modem-2-rotate-7'), '2');
  assert.is(await bring('alice-modem-2-rotate-6'), '2');
  assert.equal(asked, [{ slot: 2, credentialId: 'c1' }]);
  const later = bring('alice-modem-2-rotate-8');
  while (asked.length === 1) await new Promise(setImmediate);
  settle[1]?.({ kind: 'collision' });
  assert.is(await later, REFUSALS['rotation-failed'].socks5);
  const failing = slotByHttp(rig.port, rig.origin, 'alice-modem-2-rotate-9');
  while (asked.length === 2) await new Promise(setImmediate);
  settle[2]?.({ kind: 'failed', reason: 'The modem did not register' });
  assert.match(await failing, /^503 rotation-failed .*The modem did not register; raise the number/);
  await rig.close();
});

test('a rotation that never ends is given up at its deadline', async () => {
  const rig = await rigFor([GERMAN], () => new Promise(() => undefined));
  const flow = slotByHttp(rig.port, rig.origin, 'alice-rotate-1').catch((error: Error) => error.message);
  while (
    (await rig.plane.metrics())[0]?.handshakes !== 0 ||
    (await rig.plane.metrics())[0]?.connections !== 1
  )
    await new Promise(setImmediate);
  await rig.clock.advance(121_000);
  assert.match(String(await flow), /ECONNRESET|closed before/);
  assert.is((await rig.plane.metrics())[0]?.connections, 0);
  await rig.close();
});

test('the spelling of carriers', () => {
  assert.is(wordOf('T-Mobile DE'), 't_mobile_de');
  assert.is(wordOf(' O2 '), 'o2');
  assert.is(wordOf(null), null);
});

test('a choice is always a slot of the endpoint that can carry and fits, and a kept one stays', () => {
  const slots = fc.uniqueArray(fc.integer({ min: 0, max: 20 }), { minLength: 1, maxLength: 8 });
  holds(
    fc.property(slots, fc.infiniteStream(fc.boolean()), fc.nat(), (numbers, ready, spread) => {
      const egresses = new Map(
        numbers.map(slot => [slot, egress(slot, { ready: ready.next().value ?? false })]),
      );
      const able = numbers.filter(slot => egresses.get(slot)?.ready);
      for (const kept of [null, ...numbers]) {
        const choice = chooseModem({ slots: numbers }, egresses, { wish: {}, kept, spread });
        if (able.length === 0) assert.equal(choice, { ok: false, reason: 'no-modem' });
        else if (kept !== null && able.includes(kept)) assert.is(choice.ok && choice.egress.slot, kept);
        else assert.is(choice.ok && choice.egress.slot, able[spread % able.length]);
      }
    }),
  );
});

test('the table of sessions: bounded, running sessions are never pushed out, the rest by age', () => {
  const clock = fakeClock();
  const table = new SessionTable(new SharedArrayBuffer(SESSION_TABLE_BYTES), clock);
  const key = (name: string) => sessionKey({ endpointId: 'e', credentialId: 'c', session: name });
  assert.ok(table.began(key('running'), 5, 10_000));
  for (let at = 0; at < 2 * MAX_SESSIONS; at += 1) {
    assert.ok(table.began(key(`s${at}`), at % 100, 60_000));
    table.ended(key(`s${at}`), 60_000);
  }
  assert.is(table.slotOf(key('running')), 5);
  let kept = 0;
  for (let at = 0; at < 2 * MAX_SESSIONS; at += 1) {
    const slot = table.slotOf(key(`s${at}`));
    if (slot === null) continue;
    kept += 1;
    assert.is(slot, at % 100);
  }
  assert.ok(kept > MAX_SESSIONS * 0.7 && kept < MAX_SESSIONS, `${kept} of ${MAX_SESSIONS}`);
});

test('the table of sessions: a session ends its time after its last flow, not during one', async () => {
  const clock = fakeClock();
  const memory = new SharedArrayBuffer(SESSION_TABLE_BYTES);
  const [table, other] = [new SessionTable(memory, clock), new SessionTable(memory, clock)];
  const key = sessionKey({ endpointId: 'e', credentialId: 'c', session: 'x' });
  assert.is(table.slotOf(key), null);
  table.began(key, 0, 10_000);
  table.began(key, 0, 10_000);
  await clock.advance(100_000);
  assert.is(other.slotOf(key), 0, 'seen by all threads, alive as long as a flow runs');
  other.ended(key, 10_000);
  table.ended(key, 10_000);
  await clock.advance(9_000);
  assert.is(table.slotOf(key), 0);
  await clock.advance(2_000);
  assert.is(table.slotOf(key), null);
});

test.run();
