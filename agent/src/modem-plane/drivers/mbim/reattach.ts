/** Two ways to drop a registration and take it up again, so that the carrier hands out another address. */
import type { Outcome } from '../../driver';
import { type Ask, done, unsupported } from './ask';
import { deviceCaps, registerAutomatic } from './basic-connect';
import { setPacketService } from './data-connection';
import { technologyOf } from './readings';
import { DATA_CLASSES } from './services';

const THIRD_GENERATION = DATA_CLASSES.umts | DATA_CLASSES.hsdpa | DATA_CLASSES.hsupa;

/** Leaves the packet service, waits for `dwell`, attaches. */
export async function reattachByService(ask: Ask, dwell: () => Promise<void>): Promise<Outcome<void>> {
  const away = await ask(setPacketService, 'detach');
  if (!away.ok) return away;
  await dwell();
  const back = await ask(setPacketService, 'attach');
  return back.ok ? done(undefined) : back;
}

/**
 * Asks for 3G only, waits, then for everything that the modem has. MBIM 1.0 has no finer choice. Where there is no 3G
 * the first request is refused, and the modem comes back by the second one all the same.
 */
export async function reattachByMode(ask: Ask, dwell: () => Promise<void>): Promise<Outcome<void>> {
  const caps = await ask(deviceCaps, undefined);
  if (!caps.ok) return caps;
  const { dataClass } = caps.value;
  const third = dataClass & THIRD_GENERATION;
  if (third === 0 || technologyOf(dataClass) === '3g') return unsupported('second network mode');
  const away = await ask(registerAutomatic, { dataClass: third });
  if (!away.ok && away.fault.kind === 'unsupported') return away;
  await dwell();
  const back = await ask(registerAutomatic, { dataClass });
  return back.ok ? done(undefined) : back;
}
