/** Dropping the registration of a stick and taking it up again. What was set aside is set back, also after a failure. */
import type { Outcome } from '../../driver';
import type { HilinkClient } from './client';
import { closed } from './data-connection';
import { failed } from './errors';
import type { RequestElements } from './stick-text';
import { textOf } from './xml';

const RESTORE_TRIES = 3;
const RESTORE_PAUSE_MS = 2000;
const MODE_3G = '02';
const MODE_4G = '03';

/** Visits 3G (or 4G, when 3G is where it is) for `dwellMs` and goes back to the mode and bands it had. */
export async function toggleMode(client: HilinkClient, dwellMs: number): Promise<Outcome<void>> {
  const before = await client.get('net/net-mode');
  if (!before.ok) return before;
  const [mode, band, lte] = ['NetworkMode', 'NetworkBand', 'LTEBand'].map(name => textOf(before.value, name));
  if (!mode || !band || !lte)
    return failed('failed', 'hilink/bad-reply', 'net/net-mode: the stick does not tell its network mode');
  // Another order of the elements is refused.
  const setTo = (value: string): RequestElements => [
    ['NetworkMode', value],
    ['NetworkBand', band],
    ['LTEBand', lte],
  ];
  const visited = await client.post('net/net-mode', setTo(mode === MODE_3G ? MODE_4G : MODE_3G));
  const open = visited.ok ? await client.pause(dwellMs) : true;
  let restored = await client.post('net/net-mode', setTo(mode));
  for (let tries = 1; !restored.ok && tries < RESTORE_TRIES; tries += 1) {
    if (!(await client.pause(RESTORE_PAUSE_MS))) return closed();
    restored = await client.post('net/net-mode', setTo(mode));
  }
  if (!restored.ok)
    return failed(
      restored.fault.kind,
      'hilink/mode-not-restored',
      `the network mode could not be set back to ${mode}: ${restored.fault.message}`,
    );
  if (!visited.ok) return visited;
  return open ? { ok: true, value: undefined } : closed();
}

/** Newer firmware only. */
export async function reconnectNetwork(client: HilinkClient): Promise<Outcome<void>> {
  const done = await client.post('net/reconnect', [['ReconnectAction', 1]]);
  return done.ok ? { ok: true, value: undefined } : done;
}
