/**
 * A short storm over six virtual modems of all kinds, with a cloud and an agent as processes. `npm run storm` makes longer
 * ones; the seed of this one may be given by STORM_SEED. Needs socat; as root it is played on real networks.
 */
import * as assert from 'uvu/assert';
import { buildAll } from '../../installer/local/build';
import { whyNoNamespaces } from '../simulators/run-tool';
import { runStorm } from '../storm/storm';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const test = suite('a short storm', { needs: ['socat'] });
const seed = Number(process.env.STORM_SEED ?? 7);

test.before(async () => {
  if (process.env.MASTLINE_BUILT !== '1') await buildAll();
});

test(
  `seed ${seed}: every modem is in the right state, usage is exact, nothing is left`,
  async () => {
    const dir = await tempDir('storm');
    try {
      const report = await runStorm({
        seed,
        seconds: 10,
        modems: 6,
        kind: (await whyNoNamespaces()) === undefined ? 'namespaces' : 'rootless',
        dir: dir.path,
        say: line => console.log(line),
      });
      console.log(JSON.stringify(report));
      assert.equal(report.problems, []);
      assert.ok((report.flows.whole ?? 0) >= 60, JSON.stringify(report.flows));
      assert.ok((report.links['200 rotate/rotated'] ?? 0) >= 1, JSON.stringify(report.links));
    } finally {
      await dir.remove();
    }
  },
  { deadlineMs: 800_000 },
);

test.run();
