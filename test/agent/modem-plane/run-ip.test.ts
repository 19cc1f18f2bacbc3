/** Commands in batches, by the real `ip` in a network namespace of the test's own: their order, and what fails. */

import { surveyNetwork } from '@mastline/agent/modem-plane/network-survey';
import { type RunIp, runInOrder, runIp } from '@mastline/agent/modem-plane/run-ip';
import { codeOf } from '@mastline/shared/base/coded-error';
import * as assert from 'uvu/assert';
import { whyNoNamespaces } from '../../simulators/run-tool';
import { suite } from '../../support/suite';

const test = suite('ip in batches');
const obstacle = await whyNoNamespaces();
const namespace = `mlt-ip-${process.pid}`;

const RULE = ['-4', 'rule', 'add', 'from', '10.9.9.9', 'lookup', '1001', 'priority', '1001'];
const DEAD_END = ['-4', 'route', 'add', 'unreachable', 'default', 'metric', '4278198272', 'table', '1001'];
const address = (text: string) => ['address', 'add', text, 'dev', 'lo', 'noprefixroute'];

/** `ip` in there; notes each run. */
function inside(): { run: RunIp; runs: string[] } {
  const runs: string[] = [];
  return {
    runs,
    run: (args, input) => {
      runs.push(input ?? args.join(' '));
      return runIp(['-n', namespace, ...args], input);
    },
  };
}

if (obstacle === undefined) {
  test.beforeEach(async () => {
    await runIp(['netns', 'add', namespace]);
  });
  test.afterEach(async () => {
    await runIp(['netns', 'del', namespace]);
  });

  test('neighbours are one run, and what they made is there', async () => {
    const { run, runs } = inside();
    await runInOrder(
      run,
      [['link', 'set', 'dev', 'lo', 'up'], DEAD_END, RULE, address('10.9.9.9/32')],
      (_, error) => {
        throw error;
      },
    );
    assert.is(runs.length, 1);
    runs.length = 0;
    const survey = await surveyNetwork(run);
    assert.is(runs.length, 1, 'everything is asked at once');
    assert.is(survey.links.get('lo')?.up, true);
    assert.ok(survey.addresses.some(one => one.address === '10.9.9.9'));
    assert.ok(survey.rules.some(one => one.from === '10.9.9.9' && one.table === 1001));
    assert.ok(survey.routes.some(one => one.table === 1001 && one.dst === 'default'));
  });

  test('what fails is told with its place and reason, and the rest is run when it may be', async () => {
    const { run } = inside();
    const failures: [number, string | undefined][] = [];
    await runInOrder(
      run,
      [
        RULE,
        RULE,
        ['address', 'del', '10.1.1.1/32', 'dev', 'lo'],
        ['link', 'set', 'dev', 'none0', 'up'],
        address('10.9.9.9/32'),
      ],
      (at, error) => void failures.push([at, codeOf(error)]),
    );
    assert.equal(failures, [
      [1, 'network/exists'],
      [2, 'network/gone'],
      [3, 'network/gone'],
    ]);
    assert.ok((await surveyNetwork(run)).addresses.some(one => one.address === '10.9.9.9'));
  });

  test('nothing is made after a failure that is not forgiven', async () => {
    const { run } = inside();
    await runInOrder(
      run,
      [RULE, ['link', 'set', 'dev', 'none0', 'up'], address('10.9.9.9/32')],
      (_, error) => {
        throw error;
      },
    ).then(
      () => assert.unreachable(),
      error => assert.is(codeOf(error), 'network/gone'),
    );
    const survey = await surveyNetwork(run);
    assert.ok(survey.rules.some(one => one.from === '10.9.9.9'));
    assert.not(survey.addresses.some(one => one.address === '10.9.9.9'));
  });

  test('a command that ip cannot read ends all: nobody knows which it was', async () => {
    const { run } = inside();
    await runInOrder(run, [['route', 'add', 'nonsense', 'nonsense'], RULE], () => undefined).then(
      () => assert.unreachable(),
      error => assert.is(codeOf(error), 'network/ip-failed'),
    );
  });

  test('names that mean something in a batch are run by themselves', async () => {
    const { run, runs } = inside();
    await runInOrder(
      run,
      [
        ['link', 'add', 'a#b', 'type', 'veth', 'peer', 'name', 'other'],
        ['link', 'set', 'dev', 'a#b', 'up'],
      ],
      (_, error) => {
        throw error;
      },
    );
    assert.is(runs.length, 2);
    assert.is((await surveyNetwork(run)).links.get('a#b')?.up, true);
  });
} else test.skip('commands in batches', obstacle);

test.run();
