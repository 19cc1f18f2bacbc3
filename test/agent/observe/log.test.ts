import { createLog, type LogFields } from '@mastline/agent/observe/log';
import * as assert from 'uvu/assert';
import { suite } from '../../support/suite';

const test = suite('agent log');

function recording(level: 'debug' | 'info' = 'info') {
  const lines: LogFields[] = [];
  return { lines, log: createLog({ level, write: line => void lines.push(JSON.parse(line)) }) };
}

test('strikes out fields that are named like secrets, however deep, and keeps the rest', () => {
  const { lines, log } = recording();
  log.info('enrolling', {
    claimCode: 'AAAA-BBBB',
    node: { id: 'n1', devicePrivateKey: 'pem', list: [{ password: 'p' }] },
  });
  const text = JSON.stringify(lines);
  assert.not.match(text, /AAAA-BBBB|pem|"p"/);
  assert.is((lines[0]!.node as LogFields).id, 'n1');
});

test('names the part on each line and keeps standing fields of a child', () => {
  const { lines, log } = recording();
  log.child('link', { nodeId: 'n1' }).warn('lost');
  assert.is(lines[0]?.part, 'link');
  assert.is(lines[0]?.nodeId, 'n1');
  assert.is(lines[0]?.level, 'warn');
  assert.is(lines[0]?.msg, 'lost');
});

test('writes the code and message of an error', () => {
  const { lines, log } = recording();
  log.error('failed', { error: Object.assign(new Error('no room'), { code: 'ENOSPC' }) });
  assert.is((lines[0]!.error as LogFields).code, 'ENOSPC');
  assert.is((lines[0]!.error as LogFields).message, 'no room');
});

test('keeps quiet below its level and survives a circle', () => {
  const { lines, log } = recording();
  const circle: LogFields = {};
  circle.self = circle;
  log.debug('not said');
  log.info('said', { circle });
  assert.is(lines.length, 1);
});

test.run();
