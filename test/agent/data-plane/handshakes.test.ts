import * as assert from 'uvu/assert';
import { randomHandshakes } from '../../bench/handshakes';
import { suite } from '../../support/suite';

const test = suite('handshakes at random');

test(
  'fifty thousand, from nonsense to nearly right, neither throw nor leave anything behind',
  async () => {
    const result = await randomHandshakes(50_000);
    assert.equal(result.left, { connections: 0, strangers: 0, associations: 0, timers: 0 });
    const { early, end } = result.heapMb;
    assert.ok(end - early < 2, `the heap grew from ${early} to ${end} MB`);
    // Nearly right ones came as far as the choice of a modem, others to each of the parsers' refusals.
    const seen = [
      'no-modem',
      'bad-credentials',
      'bad-request',
      'unsupported-protocol',
      'command-not-supported',
    ];
    for (const reason of seen) assert.ok((result.refusals[reason] ?? 0) > 50, `${reason} was hardly met`);
    assert.ok(result.answered > 10_000);
  },
  { deadlineMs: 120_000 },
);

test.run();
