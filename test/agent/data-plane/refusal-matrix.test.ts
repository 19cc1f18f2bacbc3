/**
 * Every reason of refusal by every protocol: brought about for real, its answer on the wire compared byte by byte with
 * the one table (shared/protocols/refusal.ts), and counted once. Rows are refusal-table.ts.
 */
import { REFUSALS, type RefusalReason } from '@mastline/shared/protocols/refusal';
import * as assert from 'uvu/assert';
import { type Certificates, makeCertificates } from '../../support/certificates';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';
import { ask, PROTOCOLS, type Protocol, type Setting, Stage } from './refusal-stage';
import { type Cell, expectedOf, ROWS, type Scene } from './refusal-table';

const test = suite('refusal matrix', { needs: ['openssl'] });
let folder: Awaited<ReturnType<typeof tempDir>>;
let certificates: Certificates;
test.before(async () => {
  folder = await tempDir('refusals');
  certificates = makeCertificates(folder.path);
});
test.after(() => folder.remove());
const REASONS = Object.keys(REFUSALS) as RefusalReason[];

const scenesOf = (cell: Cell): readonly Scene[] =>
  typeof cell === 'string' ? [] : 'set' in cell ? [cell] : cell;

async function play(
  scene: Scene,
  asked: { reason: RefusalReason; protocol: Protocol; inTls: boolean },
): Promise<void> {
  const { reason, protocol } = asked;
  const stage = new Stage(asked.inTls ? certificates : null);
  let setting: Setting;
  try {
    setting = await scene.set(stage);
    await stage.serve(protocol, setting);
    const asking = scene.act?.(stage, setting) ?? ask(stage, protocol, setting);
    const saw = await (setting.waits ? stage.passTimeUntil(asking) : asking);
    assert.is(saw, expectedOf(scene, { reason, protocol, setting }));
    assert.equal(await stage.refusals(), { [reason]: 1 }, 'counted once, and nothing else is');
  } finally {
    await stage.close();
  }
  if (scene.act) return;
  const { up, down } = stage.sink.total();
  assert.equal([up > 0, down], [setting.carried === true, 0], 'refusals are not billed');
}

/** What may be wrapped in TLS; Shadowsocks is not, and datagrams cannot be. */
const WRAPPED: readonly Protocol[] = ['socks5', 'connect', 'absolute', 'socks5-udp'];

for (const reason of REASONS)
  for (const protocol of PROTOCOLS)
    for (const [at, scene] of scenesOf(ROWS[reason][protocol]).entries())
      for (const inTls of WRAPPED.includes(protocol) ? [false, true] : [false]) {
        const name = `${reason} over ${protocol}${at > 0 ? `, way ${at + 1}` : ''}${inTls ? ', inside TLS' : ''}`;
        test(name, () => play(scene, { reason, protocol, inTls }));
      }

test('every reason has a row, every row a way to come about, and what cannot come about says why', () => {
  assert.equal(Object.keys(ROWS).sort(), [...REASONS].sort());
  for (const reason of REASONS) {
    const row = ROWS[reason];
    assert.equal(Object.keys(row).sort(), [...PROTOCOLS].sort(), reason);
    const cells = Object.values(row);
    assert.ok(
      cells.some(cell => scenesOf(cell).length > 0),
      `${reason} comes up nowhere`,
    );
    for (const cell of cells) assert.ok(typeof cell !== 'string' || cell.length > 15, reason);
  }
});

test.run();
