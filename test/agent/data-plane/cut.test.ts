/**
 * A flow that is cut ends in a reset, however much was under way: an end would tell the client that it has everything.
 * Judged by curl, since a Node client cannot tell: libuv reports a reset behind a partly filled read as an end
 * (uv__stream_io, POLLHUP).
 */
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import * as assert from 'uvu/assert';
import { eventually } from '../../support/eventually';
import { suite } from '../../support/suite';
import { curl } from './peers';
import { credential, SECRET, startRig } from './rig';

const test = suite('data plane: cut flows', { needs: ['curl'] });
/** curl's exit code for "failure with receiving network data"; an end before all is there would be 18. */
const RECEIVE_ERROR = 56;
const DOWNLOADS = 8;

for (const [name, slow] of [
  ['at full speed', []],
  ['to clients that read slowly', ['--limit-rate', '200k']],
] as const)
  test(`downloads ${name} end in a reset when their credential expires`, async () => {
    const piece = Buffer.alloc(65_536, 1);
    let sent = 0;
    const origin = createServer((_request, response) => {
      response.on('error', () => undefined);
      const more = () => {
        let room = true;
        while (room && !response.destroyed) {
          room = response.write(piece);
          sent += piece.length;
        }
      };
      response.on('drain', more);
      more();
    });
    await new Promise<void>(resolve => origin.listen(0, '127.0.0.1', resolve));
    const { port } = origin.address() as AddressInfo;
    const rig = await startRig();
    const downloads = Array.from({ length: DOWNLOADS }, () =>
      curl(
        ...['--max-time', '60', '-o', '/dev/null', ...slow],
        ...['-x', `socks5://alice:${SECRET}@127.0.0.1:${rig.port}`, `http://127.0.0.1:${port}/`],
      ),
    );
    // All are under way, with more than the buffers between hold.
    await eventually(async () => {
      const [lane] = await rig.plane.metrics();
      const open = lane?.paths.reduce((sum, path) => sum + path.openFlows, 0);
      return open === DOWNLOADS && sent > DOWNLOADS * 3_000_000;
    }, 'all downloads under way');
    await rig.plane.apply({ ...rig.plan, credentials: [credential({ limits: { expiresAt: 1 } })] });
    const codes = (await Promise.all(downloads)).map(answer => answer.code);
    assert.equal(
      codes,
      Array.from({ length: DOWNLOADS }, () => RECEIVE_ERROR),
    );
    await rig.close();
    origin.closeAllConnections();
    await new Promise(resolve => origin.close(resolve));
  });

test.run();
