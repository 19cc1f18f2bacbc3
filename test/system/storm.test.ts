/**
 * A short storm over five virtual modems, one of each kind of way to drive them. `npm run storm` makes longer ones; the
 * seed of this one may be given by STORM_SEED. Needs socat; as root it is played on real networks.
 */
import { quietLog } from '@mastline/agent/observe/log';
import * as assert from 'uvu/assert';
import { whyNoNamespaces } from '../simulators/run-tool';
import { runStorm } from '../storm/storm';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const test = suite('a short storm', { needs: ['socat'] });
const seed = Number(process.env.STORM_SEED ?? 7);

test(
  `seed ${seed}: every modem is in the right state, usage is exact, nothing is left`,
  async () => {
    const dir = await tempDir('storm');
    try {
      const report = await runStorm({
        seed,
        seconds: 8,
        modems: 5,
        kind: (await whyNoNamespaces()) === undefined ? 'namespaces' : 'rootless',
        dir: dir.path,
        log: quietLog,
        say: line => console.log(line),
      });
      assert.equal(report.problems, []);
      assert.ok((report.flows.clean ?? 0) >= 25, JSON.stringify(report));
    } finally {
      await dir.remove();
    }
  },
  { deadlineMs: 400_000 },
);

test.run();
