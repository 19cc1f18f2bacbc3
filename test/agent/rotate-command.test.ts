/** `agent rotate` as a person runs it, as a process of its own against an agent's status socket. */
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { openStatusPage, type StatusPage } from '@mastline/agent/observe/status-page';
import type { RotationRequest } from '@mastline/agent/ports';
import { inWords, rotateAction } from '@mastline/agent/rotate-command';
import type { RotationRecord } from '@mastline/shared/domain/rotation';
import * as assert from 'uvu/assert';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const test = suite('agent rotate');
const MAIN = join(import.meta.dirname, '../../agent/src/main.ts');
const DEADLINE = { deadlineMs: 60_000 };

const rotated: RotationRecord = {
  id: '01960000-0000-7000-8000-000000000001',
  slot: 1,
  askedFor: 'local',
  endedAt: 1_795_437_000_000,
  outcome: 'rotated',
  reason: '',
  method: 'data-switch',
  oldAddress: '203.0.113.1',
  newAddress: '203.0.113.2',
  tookMs: 6234,
  attempts: 1,
  carrier: 'Example Mobile',
  connected: true,
  retryAfterMs: null,
};

let dir: Awaited<ReturnType<typeof tempDir>>;
let page: StatusPage;
let answer: RotationRecord = rotated;
const asked: [number, RotationRequest][] = [];

test.before(async () => {
  dir = await tempDir('rotate');
  const rotate = rotateAction({
    rotate: async (slot, request) => {
      asked.push([slot, request]);
      return answer;
    },
  });
  page = await openStatusPage(dir.path, () => ({}), { metrics: async () => [], actions: { rotate } });
});
test.after(async () => {
  await page.close();
  await dir.remove();
});

function agent(...args: string[]): Promise<{ code: number; out: string; err: string }> {
  return new Promise(resolve => {
    execFile(process.execPath, ['--import', 'tsx', MAIN, 'rotate', ...args], (error, out, err) =>
      resolve({ code: error ? Number(error.code) : 0, out, err }),
    );
  });
}

test(
  'names method, time and both addresses, and ends with 0 when the address has changed',
  async () => {
    answer = rotated;
    const { code, out } = await agent('1', '--data-dir', dir.path);
    assert.is(code, 0);
    assert.is(
      out,
      'Slot 1: rotated by data-switch in 6.2 s, 1 attempt\n  address before  203.0.113.1\n  address now     203.0.113.2\n',
    );
    assert.equal(asked.at(-1), [1, { askedFor: 'local' }]);
  },
  DEADLINE,
);

test(
  'ends with 1 when it has not, with the reason, in words and as JSON',
  async () => {
    answer = {
      ...rotated,
      outcome: 'collision',
      newAddress: '203.0.113.1',
      reason: 'the carrier gave 203.0.113.1 again',
    };
    const words = await agent('7', '--data-dir', dir.path);
    assert.is(words.code, 1);
    assert.match(words.out, /^Slot 1: collision after 6\.2 s, .*the carrier gave 203\.0\.113\.1 again/);
    const json = await agent('7', '--data-dir', dir.path, '--json');
    assert.is(json.code, 1);
    assert.equal(JSON.parse(json.out), answer);
    assert.is(asked.at(-1)?.[0], 7);
  },
  DEADLINE,
);

test(
  'says what is missing, and that no agent is there',
  async () => {
    const [bare, word, nobody] = await Promise.all([
      agent('--data-dir', dir.path),
      agent('one', '--data-dir', dir.path),
      agent('1', '--data-dir', join(dir.path, 'nobody')),
    ]);
    assert.equal([bare.code, word.code, nobody.code], [2, 2, 1]);
    assert.match(bare.err, /rotate needs the number of one slot and --data-dir DIR/);
    assert.match(nobody.err, /No agent runs on/);
  },
  DEADLINE,
);

test('a failure says whether the modem is back', () => {
  const failed = { ...rotated, outcome: 'failed', reason: 'no answer', method: null } as const;
  assert.match(inWords(failed), /no answer; the modem is connected/);
  assert.match(inWords({ ...failed, connected: false }), /the modem is NOT connected/);
  const refused = { ...failed, outcome: 'unavailable', reason: 'try again in 9 s' } as const;
  assert.is(inWords(refused), 'Slot 1: not rotated, nothing was tried: try again in 9 s.');
});

test.run();
