import * as assert from 'uvu/assert';
import { faults, soak } from '../../bench/soak';
import { suite } from '../../support/suite';

const test = suite('soak');

test(
  'four thousand connections with aborts at every stage: all is over, memory is flat, counts are equal',
  async () => {
    const result = await soak(4_000);
    assert.equal(faults(result), []);
    const { whole, client, origin } = result.customers;
    for (const { connections, billed } of [whole, client, origin])
      assert.ok(connections > 1_000 && billed.up > 0 && billed.flows > 0);
    assert.ok(client.billed.flows < client.connections, 'some gave up before there was a flow');
  },
  { deadlineMs: 150_000 },
);

test.run();
