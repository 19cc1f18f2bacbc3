/**
 * Which of a modem's serial ports answers `AT`. The profile's roles say which to try first; numbers move with the USB
 * mode, so none is believed. Asked once after each plugging in, before a driver opens the port.
 */
import type { Duplex } from 'node:stream';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import { probeAtPort } from '../drivers/at/probe';
import type { ModemPort } from './assess';

export type OpenPort = (path: string, clock: Clock) => Promise<Duplex>;

export interface AtPortSearch {
  /** `ttyUSB2`; null when none answered. */
  answered: string | null;
  /** Why a port could not be asked, with its remedy. */
  problems: string[];
}

/** Modems have four or five; one with more is not asked everywhere. */
const MAX_PORTS = 8;
const ORDER = ['at', 'at-secondary', 'modem', null, 'gnss', 'diagnostics'];

/** One port after the other, about a second for each that is silent. */
export async function findAtPort(
  ports: readonly ModemPort[],
  frame: { dev: string; open: OpenPort; clock: Clock },
): Promise<AtPortSearch> {
  const problems: string[] = [];
  const ttys = ports
    .filter(port => port.kind === 'tty')
    .sort((a, b) => ORDER.indexOf(a.role) - ORDER.indexOf(b.role) || a.interface - b.interface)
    .slice(0, MAX_PORTS);
  for (const { name } of ttys) {
    let port: Duplex;
    try {
      port = await frame.open(`${frame.dev}/${name}`, frame.clock);
    } catch (error) {
      problems.push(error instanceof CodedError ? error.userMessage : messageOf(error));
      continue;
    }
    // A port that dies while it is asked has answered with that; probeAtPort says false.
    port.on('error', () => undefined);
    try {
      if (await probeAtPort(port, frame.clock)) return { answered: name, problems };
    } finally {
      port.destroy();
    }
  }
  return { answered: null, problems };
}
