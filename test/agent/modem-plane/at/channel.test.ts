/** One command at a time over a wire that echoes, interrupts, stays silent, answers late, or goes away. */
import assert from 'node:assert/strict';
import { type Duplex, duplexPair } from 'node:stream';
import { type Answer, AtChannel, type Command } from '@mastline/agent/modem-plane/drivers/at/channel';
import { CodedError } from '@mastline/shared/base/coded-error';
import { everySplit } from '../../../support/chunks';
import { type FakeClock, fakeClock } from '../../../support/clock';
import { suite } from '../../../support/suite';
import { runUntil } from './rig';

const test = suite('AT channel');

interface Wire {
  clock: FakeClock;
  channel: AtChannel;
  /** What the host has written since the last call. */
  written(): string;
  says(text: string): void;
  device: Duplex;
  urcs: string[];
  strays: string[];
  gone: string[];
}
const open: Wire[] = [];

function wire(): Wire {
  const clock = fakeClock();
  const [host, device] = duplexPair();
  let written = '';
  device.on('data', (chunk: Buffer) => {
    written += chunk.toString('latin1');
  });
  const [urcs, strays, gone]: string[][] = [[], [], []];
  const channel = new AtChannel({
    port: host,
    clock,
    onUrc: (urc, body) => urcs!.push(body === null ? urc.name : `${urc.name} ${body}`),
    onStray: line => strays!.push(line),
    onGone: reason => gone!.push(reason),
  });
  const made: Wire = {
    clock,
    channel,
    device,
    urcs: urcs!,
    strays: strays!,
    gone: gone!,
    says: text => void device.write(Buffer.from(text, 'latin1')),
    written: () => {
      const text = written;
      written = '';
      return text;
    },
  };
  open.push(made);
  return made;
}

test.afterEach(async () => {
  for (const { channel, device } of open.splice(0)) {
    await channel.close();
    device.destroy();
  }
});

const signal: Command = { text: 'AT+CSQ', name: 'AT+CSQ', deadlineMs: 1000, prefixes: ['+CSQ'] };
const imei: Command = { text: 'AT+CGSN', name: 'AT+CGSN', deadlineMs: 1000, prefixes: [], bare: /^\d{15}$/ };
const lte: Command = { text: 'AT+CEREG?', name: 'AT+CEREG?', deadlineMs: 1000, prefixes: ['+CEREG'] };
const list: Command = {
  text: 'AT+CMGL=4',
  name: 'AT+CMGL',
  deadlineMs: 1000,
  prefixes: ['+CMGL'],
  withBody: true,
};

const conversations: [string, Command, string, Answer, string[]][] = [
  ['a reply', signal, '\r\n+CSQ: 22,99\r\n\r\nOK\r\n', { kind: 'ok', lines: ['+CSQ: 22,99'] }, []],
  [
    'a reply after its echo',
    signal,
    'AT+CSQ\r\r\n+CSQ: 22,99\r\n\r\nOK\r\n',
    { kind: 'ok', lines: ['+CSQ: 22,99'] },
    [],
  ],
  [
    'an echo behind noise',
    signal,
    '\xff~AT+CSQ\r\r\n+CSQ: 22,99\r\n\r\nOK\r\n',
    { kind: 'ok', lines: ['+CSQ: 22,99'] },
    [],
  ],
  [
    'a bare reply among unasked lines',
    imei,
    '\r\nRING\r\n\r\n867962040012345\r\n\r\n+CMTI: "ME",3\r\n\r\nOK\r\n',
    { kind: 'ok', lines: ['867962040012345'] },
    ['RING', '+CMTI'],
  ],
  [
    'a registration read beside the same line unasked',
    lte,
    '\r\n+CEREG: 1,"DE10","5A",7\r\n\r\n+CEREG: 2,5\r\n\r\n+CEREG: 0\r\n\r\nOK\r\n',
    { kind: 'ok', lines: ['+CEREG: 2,5'] },
    ['+CEREG', '+CEREG'],
  ],
  [
    'an error with a number',
    signal,
    '\r\n+CME ERROR: 10\r\n',
    { kind: 'error', error: { family: 'cme', number: 10 } },
    [],
  ],
  [
    'an error in words',
    signal,
    '\r\n+CME ERROR: SIM busy\r\n',
    { kind: 'error', error: { family: 'cme', number: 14 } },
    [],
  ],
  ['an error without a reason', signal, '\r\nERROR\r\n', { kind: 'error', error: { family: 'plain' } }, []],
  [
    'a message torn from its header',
    list,
    '\r\n+CMGL: 1,0,,3\r\n\r\n+CMTI: "ME",9\r\n0123AB\r\n\r\nOK\r\n',
    { kind: 'ok', lines: ['+CMGL: 1,0,,3\n0123AB'] },
    ['+CMTI'],
  ],
  [
    'a delivered message between header and body',
    list,
    '\r\n+CMGL: 1,0,,3\r\n\r\n+CMT: ,2\r\nBEEF\r\n0123AB\r\n\r\nOK\r\n',
    { kind: 'ok', lines: ['+CMGL: 1,0,,3\n0123AB'] },
    ['+CMT BEEF'],
  ],
];
for (const [what, command, said, expected, urcs] of conversations)
  test(`understands ${what}, split anywhere`, async () => {
    for (const chunks of everySplit(Buffer.from(said, 'latin1'))) {
      const { clock, channel, device, written, urcs: heard } = wire();
      const answer = channel.run(command);
      await clock.advance(1);
      assert.equal(written(), `${command.text}\r`);
      for (const chunk of chunks) device.write(chunk);
      assert.deepEqual(await runUntil(clock, answer, 500), expected);
      assert.deepEqual(heard, urcs);
    }
  });

test('sends the next command only after the result of the one before, and a pause', async () => {
  const { clock, channel, says, written } = wire();
  const answers = [channel.run(signal), channel.run(imei)];
  await clock.advance(500);
  assert.equal(written(), 'AT+CSQ\r');
  says('\r\n+CSQ: 1,99\r\n\r\nOK\r\n');
  await clock.advance(10);
  assert.equal(written(), '');
  await clock.advance(20);
  assert.equal(written(), 'AT+CGSN\r');
  says('\r\n867962040012345\r\n\r\nOK\r\n');
  assert.deepEqual(
    (await Promise.all(answers)).map(answer => answer.kind),
    ['ok', 'ok'],
  );
});

test('a late answer is not taken for that of the next command', async () => {
  const { clock, channel, says, written, strays } = wire();
  const late = channel.run(signal);
  await clock.advance(1001);
  assert.deepEqual(await late, { kind: 'silent' });
  const next = channel.run({ ...signal, text: 'AT+QCSQ', prefixes: ['+QCSQ'] });
  await clock.advance(50);
  assert.equal(written(), 'AT+CSQ\rAT+CMEE?\r');
  // First the late answer, then that of the question.
  says('\r\n+CSQ: 1,99\r\n\r\nOK\r\n');
  await clock.advance(100);
  says('\r\n+CMEE: 1\r\n\r\nOK\r\n');
  await clock.advance(3000);
  says('\r\n+CMEE: 1\r\n\r\nOK\r\n');
  await clock.advance(1000);
  assert.match(written(), /AT\+QCSQ\r$/);
  says('\r\n+QCSQ: "LTE",-52,-81,195,-10\r\n\r\nOK\r\n');
  assert.deepEqual(await runUntil(clock, next, 1000), {
    kind: 'ok',
    lines: ['+QCSQ: "LTE",-52,-81,195,-10'],
  });
  assert.ok(strays.includes('+CSQ: 1,99'), strays.join());
});

test('a modem that stays silent is asked three times whether it is there, then given up for now', async () => {
  const { clock, channel, written } = wire();
  const first = channel.run(signal);
  await clock.advance(1001);
  assert.deepEqual(await first, { kind: 'silent' });
  const second = channel.run(imei);
  await clock.advance(6100);
  assert.deepEqual(await second, { kind: 'silent' });
  assert.equal(written(), 'AT+CSQ\rAT+CMEE?\rAT+CMEE?\rAT+CMEE?\r');
});

test('a modem that does not know the question is clean after two plain errors', async () => {
  const { clock, channel, device, written } = wire();
  const first = channel.run(signal);
  await clock.advance(1001);
  await first;
  device.on('data', (chunk: Buffer) => {
    if (chunk.includes('CMEE')) device.write('\r\nERROR\r\n');
    if (chunk.includes('CGSN')) device.write('\r\n867962040012345\r\n\r\nOK\r\n');
  });
  const next = await runUntil(clock, channel.run(imei), 5000);
  assert.equal(next.kind, 'ok');
  assert.equal(written(), 'AT+CSQ\rAT+CMEE?\rAT+CMEE?\rAT+CGSN\r');
});

test('a modem that wakes up and answers everything at last gives no command the answer of another', async () => {
  const { clock, channel, device } = wire();
  const unanswered: string[] = [];
  device.on('data', (chunk: Buffer) => {
    unanswered.push(...chunk.toString('latin1').split('\r').filter(Boolean));
  });
  const silent = [channel.run(signal), channel.run(imei)];
  await clock.advance(8000);
  assert.deepEqual(
    (await Promise.all(silent)).map(answer => answer.kind),
    ['silent', 'silent'],
  );
  assert.equal(unanswered.length, 4);
  // From now on one answer every 150 ms, in the order of the questions.
  const waking = clock.every(150, () => {
    const replies: Record<string, string> = {
      'AT+CSQ': '+CSQ: 1,99',
      'AT+CMEE?': '+CMEE: 1',
      'AT+CGSN': '867962040012345',
    };
    const line = replies[unanswered.shift() ?? ''];
    if (line !== undefined) device.write(`\r\n${line}\r\n\r\nOK\r\n`);
  });
  let answer: Answer = { kind: 'silent' };
  for (let i = 0; i < 4 && answer.kind === 'silent'; i += 1)
    answer = await runUntil(clock, channel.run(imei), 20_000);
  assert.deepEqual(answer, { kind: 'ok', lines: ['867962040012345'] });
  waking.cancel();
});

test('a message body that got lost does not swallow the reply after it', async () => {
  const { clock, channel, says } = wire();
  const first = channel.run(signal);
  await clock.advance(1);
  says('\r\n+CMT: ,24\r\n\r\n+CSQ: 1,99\r\n\r\nOK\r\n');
  assert.equal((await runUntil(clock, first, 500)).kind, 'ok');
  const second = channel.run(imei);
  await clock.advance(50);
  says('\r\n867962040012345\r\n\r\nOK\r\n');
  assert.deepEqual(await runUntil(clock, second, 500), { kind: 'ok', lines: ['867962040012345'] });
});

test('escapes from a prompt that somebody left behind', async () => {
  const { clock, channel, says, written } = wire();
  const answer = channel.run(signal);
  await clock.advance(1);
  says('\r\n> ');
  await clock.advance(1);
  assert.equal(written(), 'AT+CSQ\r\x1b');
  says('\r\n+CSQ: 3,99\r\n\r\nOK\r\n');
  assert.equal((await answer).kind, 'ok');
});

test('a cancelled command gives way at once, whether waiting or sent', async () => {
  const { clock, channel, says, written } = wire();
  const [sent, waiting] = [new AbortController(), new AbortController()];
  const answers = [
    channel.run({ ...signal, deadlineMs: 180_000 }, sent.signal),
    channel.run(imei, waiting.signal),
  ];
  await clock.advance(10);
  waiting.abort();
  sent.abort();
  assert.deepEqual(await Promise.all(answers), [{ kind: 'cancelled' }, { kind: 'cancelled' }]);
  const next = channel.run(signal);
  await clock.advance(50);
  // What was cancelled may still be answered, so the line is cleaned first.
  assert.equal(written(), 'AT+CSQ\rAT+CMEE?\r');
  says('\r\n+CMEE: 1\r\n\r\nOK\r\n');
  await clock.advance(300);
  says('\r\n+CSQ: 3,99\r\n\r\nOK\r\n');
  assert.equal((await runUntil(clock, next, 1000)).kind, 'ok');
});

test('the end of the port answers everything that waits, and everything after', async () => {
  const { clock, channel, device, gone } = wire();
  const answers = [channel.run(signal), channel.run(imei)];
  await clock.advance(10);
  device.end();
  assert.deepEqual(
    (await runUntil(clock, Promise.all(answers), 1000)).map(answer => answer.kind),
    ['gone', 'gone'],
  );
  assert.equal((await channel.run(signal)).kind, 'gone');
  assert.equal(gone.length, 1);
});

test('refuses the 65th that waits', async () => {
  const { channel } = wire();
  const answers = Array.from({ length: 66 }, () => channel.run(signal));
  // One is on the wire, 64 wait.
  assert.deepEqual(await answers[65], { kind: 'crowded' });
  await channel.close();
  assert.ok((await Promise.all(answers.slice(0, 65))).every(answer => answer.kind === 'gone'));
});

test('never sends a line end that came in with a parameter', async () => {
  const { channel, written } = wire();
  await assert.rejects(
    channel.run({ ...signal, text: 'AT+CSQ\rAT+CFUN=0' }),
    (error: unknown) => error instanceof CodedError && error.code === 'at/bad-command',
  );
  assert.equal(written(), '');
});

test('a flood of unasked lines and of lines without end stays bounded and changes nothing', async () => {
  const { clock, channel, says, urcs } = wire();
  const answer = channel.run(imei);
  await clock.advance(1);
  for (let i = 0; i < 500; i += 1) says(`\r\n+CMT: ,24\r\n\r\n^RSSI:${i % 32}\r\n`);
  says(`${'x'.repeat(100_000)}\r\n`);
  // A body that got lost must not swallow the reply, which has the looks of one: at most the last headers wait.
  for (let i = 0; i < 4; i += 1) says('BEEF\r\n');
  says('867962040012345\r\n\r\nOK\r\n');
  assert.deepEqual(await runUntil(clock, answer, 900), { kind: 'ok', lines: ['867962040012345'] });
  assert.equal(urcs.filter(name => name === '^RSSI').length, 500);
});

test.run();
