/** When a change of the modems makes a new plan, and when it makes none. */

import { quietLog } from '@mastline/agent/observe/log';
import { PlanKeeper } from '@mastline/agent/plan-keeper';
import type { Egress, ListenerOutcome, ServicePlan } from '@mastline/agent/ports';
import * as assert from 'uvu/assert';
import { suite } from '../support/suite';

const test = suite('plan keeper');

const way = (slot: number, ready = true): Egress => ({
  slot,
  sourceAddress: `192.168.8.10${slot}`,
  dnsServers: [],
  ready,
  imei: null,
  carrier: null,
  country: null,
  guarded: [],
});

function rig() {
  const plans: ServicePlan[] = [];
  const world = { egresses: [way(1), way(2)], outcomes: [] as ListenerOutcome[], fails: false };
  const keeper = new PlanKeeper({
    egresses: () => world.egresses,
    dataPlane: {
      apply: async plan => {
        plans.push(plan);
        if (world.fails) throw new Error('no plan');
        return world.outcomes;
      },
    },
    allowTargets: ['10.0.0.0/8'],
    log: quietLog,
  });
  return { keeper, plans, world };
}

test('what modems report of themselves makes no plan, a way out that is no more makes one at once', async () => {
  const { keeper, plans, world } = rig();
  await keeper.serve(null);
  world.egresses = [way(1), way(2)];
  keeper.modemsChanged();
  assert.is(plans.length, 1);
  world.egresses = [way(1, false), way(2)];
  keeper.modemsChanged();
  // Before it returned: a rotation that asks for open flows next must find the plan before it.
  assert.is(plans.length, 2);
  assert.is(plans[1]?.egresses[0]?.ready, false);
  assert.equal(plans[1]?.allowTargets, ['10.0.0.0/8']);
});

test('a port that could not be opened is tried again with whatever changes', async () => {
  const { keeper, plans, world } = rig();
  world.outcomes = [{ endpointId: 'e', listening: false, problem: { code: 'x', message: 'in use' } }];
  await keeper.serve(null);
  keeper.modemsChanged();
  assert.is(plans.length, 2);
});

test('a plan that failed is handed over again with the next change', async () => {
  const { keeper, plans, world } = rig();
  world.fails = true;
  await keeper.serve(null).then(
    () => assert.unreachable(),
    () => undefined,
  );
  world.fails = false;
  keeper.modemsChanged();
  assert.is(plans.length, 2);
});

test.run();
