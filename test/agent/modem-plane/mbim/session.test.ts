/** The session against a modem that misbehaves: deadlines, fragments, lost sessions, garbage. Its time is ours. */
import {
  deviceCaps,
  radioState,
  registerState,
} from '@mastline/agent/modem-plane/drivers/mbim/basic-connect';
import { FRAME_TYPES, readFrame } from '@mastline/agent/modem-plane/drivers/mbim/frame';
import { smsRead } from '@mastline/agent/modem-plane/drivers/mbim/text-services';
import { codeOf } from '@mastline/shared/base/coded-error';
import * as assert from 'uvu/assert';
import type { MbimKnobs } from '../../../simulators/mbim/knobs';
import { deliverPdu } from '../../../simulators/mbim/pdu-writer';
import { suite } from '../../../support/suite';
import { bench, passing, sessionOn } from './in-memory';

const test = suite('MBIM session');

async function rejection(work: Promise<unknown>): Promise<string | undefined> {
  try {
    await work;
    return undefined;
  } catch (error) {
    return codeOf(error) ?? String(error);
  }
}

async function opened(knobs: Partial<MbimKnobs> = {}) {
  const on = bench({ knobs });
  const made = sessionOn(on);
  await passing(on.clock, made.session.open());
  const kinds = () => on.transport.sent.map(frame => readFrame(frame).kind);
  return { ...on, ...made, kinds };
}

const caps = (value: unknown) => (value as { value: { deviceId: string } }).value.deviceId;

test('opens, asks, closes, and leaves no timer', async () => {
  const { session, clock, modem, transport, kinds } = await opened();
  const reply = await passing(clock, session.run(deviceCaps, undefined));
  assert.is(reply.state, 'done');
  assert.is(caps(reply), '867394040000123');
  await passing(clock, session.close());
  assert.equal(kinds(), ['open', 'command', 'close']);
  assert.ok(transport.closed);
  assert.is(clock.pending(), 0);
  assert.is(await rejection(session.run(deviceCaps, undefined)), 'mbim/closed');
  modem.assertNoFaults();
});

test('transactions count from one and each answer meets its own', async () => {
  const { session, clock, transport } = await opened();
  const replies = await passing(
    clock,
    Promise.all([
      session.run(deviceCaps, undefined),
      session.run(radioState, undefined),
      session.run(registerState, undefined),
    ]),
  );
  assert.equal(
    replies.map(one => one.state),
    ['done', 'done', 'done'],
  );
  assert.equal(
    transport.sent.map(frame => readFrame(frame).transaction),
    [1, 2, 3, 4],
  );
});

test('a modem that hears the second OPEN is told CLOSE in between', async () => {
  const { session, clock, kinds } = await opened({ ignoredOpens: 1 });
  assert.equal(kinds(), ['open', 'close', 'open']);
  assert.is((await passing(clock, session.run(deviceCaps, undefined))).state, 'done');
});

test('a modem that hears no OPEN is given up after three', async () => {
  const on = bench({ knobs: { hung: true } });
  const { session } = sessionOn(on);
  assert.is(await rejection(passing(on.clock, session.open())), 'mbim/open-failed');
  assert.equal(
    on.transport.sent.map(frame => readFrame(frame).kind),
    ['open', 'close', 'open', 'close', 'open'],
  );
  await passing(on.clock, session.close());
  assert.is(on.clock.pending(), 0);
});

test('a command without an answer ends at its deadline, and the late answer is nobody’s', async () => {
  const { session, clock, modem, logged } = await opened();
  modem.knobs.replyDelayMs = 12_000;
  const began = clock.monotonicMs();
  assert.is(await rejection(passing(clock, session.run(deviceCaps, undefined))), 'mbim/timeout');
  assert.ok(clock.monotonicMs() - began <= 10_100);
  await clock.advance(5_000);
  assert.ok(logged.some(line => line.includes('nobody waits for')));
  modem.knobs.replyDelayMs = 0;
  assert.is((await passing(clock, session.run(radioState, undefined))).state, 'done');
});

test('a modem that hung is opened again by the command after the second silence', async () => {
  const { session, clock, modem, kinds } = await opened();
  modem.knobs.hung = true;
  assert.is(await rejection(passing(clock, session.run(deviceCaps, undefined))), 'mbim/timeout');
  assert.is(await rejection(passing(clock, session.run(deviceCaps, undefined))), 'mbim/timeout');
  modem.knobs.hung = false;
  assert.is((await passing(clock, session.run(deviceCaps, undefined))).state, 'done');
  assert.equal(kinds(), ['open', 'command', 'command', 'close', 'open', 'command']);
});

test('when opening again fails, those that wait fail with it instead of each in turn', async () => {
  const { session, clock, modem } = await opened();
  modem.knobs.hung = true;
  await rejection(passing(clock, session.run(deviceCaps, undefined)));
  await rejection(passing(clock, session.run(deviceCaps, undefined)));
  const began = clock.monotonicMs();
  const codes = await passing(
    clock,
    Promise.all(Array.from({ length: 10 }, () => rejection(session.run(deviceCaps, undefined)))),
  );
  assert.equal(codes, Array(10).fill('mbim/open-failed'));
  assert.ok(clock.monotonicMs() - began <= 7_100, `${clock.monotonicMs() - began} ms`);
});

test('"not opened" opens again and repeats the command once', async () => {
  const { session, clock, modem, kinds } = await opened();
  modem.knobs.nextFunctionError = 5;
  assert.is((await passing(clock, session.run(deviceCaps, undefined))).state, 'done');
  assert.equal(kinds(), ['open', 'command', 'close', 'open', 'command']);
});

test('other function errors fail their command alone, by name', async () => {
  const { session, clock, modem } = await opened();
  for (const error of [1, 2, 3, 4, 6, 7, 8, 99]) {
    modem.knobs.nextFunctionError = error;
    assert.is(await rejection(passing(clock, session.run(deviceCaps, undefined))), 'mbim/function-error');
    assert.is((await passing(clock, session.run(radioState, undefined))).state, 'done');
  }
});

test('an unasked CLOSE_DONE makes the next command open again', async () => {
  const { session, clock, transport, kinds } = await opened();
  const closeDone = Buffer.alloc(16);
  closeDone.writeUInt32LE(FRAME_TYPES['close-done'], 0);
  closeDone.writeUInt32LE(16, 4);
  transport.inject(closeDone);
  await clock.advance(0);
  assert.is((await passing(clock, session.run(deviceCaps, undefined))).state, 'done');
  assert.equal(kinds(), ['open', 'close', 'open', 'command']);
});

test('an answer under another transaction is not taken', async () => {
  const { session, clock, modem } = await opened();
  modem.knobs.nextWrongTransaction = true;
  assert.is(await rejection(passing(clock, session.run(deviceCaps, undefined))), 'mbim/timeout');
});

test('an answer cut at every length is refused with a code or read', async () => {
  const { session, clock, modem } = await opened();
  for (let length = 0; length < 170; length += 1) {
    modem.knobs.nextTruncatedInfo = length;
    const code = await rejection(passing(clock, session.run(deviceCaps, undefined)));
    assert.ok(code === undefined || code === 'mbim/malformed', `${length}: ${code}`);
    // The last two bytes are padding.
    if (length < 166) assert.is(code, 'mbim/malformed', `${length}`);
  }
  assert.is((await passing(clock, session.run(radioState, undefined))).state, 'done');
});

test('every status comes through as it is', async () => {
  const { session, clock, modem } = await opened();
  for (const status of [1, 2, 3, 7, 9, 21, 104, 4_000_000_000]) {
    modem.knobs.nextStatus = status;
    const reply = await passing(clock, session.run(deviceCaps, undefined));
    assert.is(reply.state === 'refused' && reply.status, status);
  }
});

for (const fragmentBytes of [64, 65, 67, 71, 100, 513])
  for (const writes of ['whole', 'cut', 'bytes'] as const)
    test(`fragments of ${fragmentBytes} bytes written ${writes} are put together`, async () => {
      const { session, clock, modem } = await opened({ fragmentBytes, writes });
      const sentAt = Date.UTC(2026, 5, 1, 12);
      for (let index = 0; index < 12; index += 1)
        modem.receive(deliverPdu({ sender: '+7900', text: `message ${index}`, sentAt }));
      const reply = await passing(clock, session.run(smsRead, { all: true }));
      assert.is(reply.state === 'done' && reply.value.length, 12);
    });

for (const [fault, error] of [
  ['swapped', 2],
  ['doubled', 2],
  ['missing-last', 1],
] as const)
  test(`a reply with fragments ${fault} fails, the modem is told error ${error}, and the next one is read`, async () => {
    const { session, clock, modem, transport } = await opened({ fragmentBytes: 64 });
    modem.knobs.nextFragmentFault = fault;
    const began = clock.monotonicMs();
    assert.is(await rejection(passing(clock, session.run(deviceCaps, undefined))), 'mbim/malformed');
    // Not the ten seconds of the command's own deadline.
    assert.ok(clock.monotonicMs() - began < 2_000);
    const complaint = transport.sent
      .map(frame => readFrame(frame))
      .find(frame => frame.kind === 'host-error');
    assert.is(complaint?.body.readUInt32LE(0), error);
    assert.is(caps(await passing(clock, session.run(deviceCaps, undefined))), '867394040000123');
  });

test('noise between frames is stepped over and counted', async () => {
  const { session, clock, logged } = await opened({ noiseBytes: 33, writes: 'cut' });
  assert.is(caps(await passing(clock, session.run(deviceCaps, undefined))), '867394040000123');
  assert.ok(logged.some(line => line.includes('bytes from the modem that are no MBIM')));
});

test('the beginning of a frame that never ends does not eat the next answer', async () => {
  const { session, clock, transport } = await opened();
  const lie = Buffer.alloc(12);
  lie.writeUInt32LE(FRAME_TYPES['command-done'], 0);
  lie.writeUInt32LE(65_000, 4);
  transport.inject(lie);
  await clock.advance(2_000);
  assert.is(caps(await passing(clock, session.run(deviceCaps, undefined))), '867394040000123');
});

test('a storm of indications does not lose the answer', async () => {
  const { session, clock, indications } = await opened({ stormIndications: 2_000, fragmentBytes: 64 });
  assert.is(caps(await passing(clock, session.run(deviceCaps, undefined))), '867394040000123');
  assert.is(indications.length, 2_000);
});

test('a modem that leaves the bus fails what runs and what waits at once, and is told once', async () => {
  const { session, clock, modem, gone } = await opened();
  modem.knobs.hung = true;
  const codes = Promise.all([1, 2, 3].map(() => rejection(session.run(deviceCaps, undefined))));
  await clock.advance(10);
  modem.vanish();
  assert.equal(await codes, ['mbim/gone', 'mbim/gone', 'mbim/gone']);
  assert.equal(gone, ['left the bus']);
  assert.is(await rejection(session.run(deviceCaps, undefined)), 'mbim/gone');
  await passing(clock, session.close());
  assert.is(clock.pending(), 0);
});

test('what waits for a hung modem is bounded', async () => {
  const { session, clock, modem } = await opened();
  modem.knobs.hung = true;
  const codes = await passing(
    clock,
    Promise.all(Array.from({ length: 40 }, () => rejection(session.run(deviceCaps, undefined)))),
  );
  assert.is(codes.filter(code => code === 'mbim/queue-full').length, 7);
});

test('closing while a command hangs fails it at once and still says goodbye', async () => {
  const { session, clock, modem, kinds, transport } = await opened();
  modem.knobs.hung = true;
  const hanging = rejection(session.run(deviceCaps, undefined));
  await clock.advance(100);
  const closing = session.close();
  assert.is(await hanging, 'mbim/closed');
  await passing(clock, closing);
  assert.equal(kinds(), ['open', 'command', 'close']);
  assert.ok(transport.closed);
  assert.is(clock.pending(), 0);
});

test('a device that takes no more bytes is opened again once it does', async () => {
  const { session, clock, transport, kinds } = await opened();
  transport.stuck = true;
  assert.is(await rejection(passing(clock, session.run(deviceCaps, undefined))), 'mbim/write-stuck');
  transport.stuck = false;
  assert.is((await passing(clock, session.run(deviceCaps, undefined))).state, 'done');
  assert.equal(kinds(), ['open', 'close', 'open', 'command']);
});

test.run();
