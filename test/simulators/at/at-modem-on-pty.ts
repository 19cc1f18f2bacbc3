/** A simulated AT modem behind a pty, restarts included: then the pty goes away and comes back under the same link. */
import { type Clock, systemClock } from '@mastline/shared/base/clock';
import { messageOf } from '@mastline/shared/base/coded-error';
import { AtModem, type AtModemOptions } from './at-modem';
import { openPty, type Pty } from './pty';

export interface AtModemOnPty {
  path: string;
  modem: AtModem;
  /** Unplugs it: the port vanishes. */
  vanish(): Promise<void>;
  /** Plugs it in again. */
  appear(): Promise<void>;
  close(): Promise<void>;
}

/** How long a restarting modem is off the bus; real ones take 15 to 30 s. */
const AWAY_MS = 1500;

export async function startAtModemOnPty(
  options: Omit<AtModemOptions, 'clock' | 'onVanish' | 'onFailure'> & {
    path: string;
    clock?: Clock;
    awayMs?: number;
    /** The pty could not be made again after a restart. */
    onFailure: (reason: string) => void;
  },
): Promise<AtModemOnPty> {
  const { path, awayMs = AWAY_MS, onFailure, clock = systemClock, ...rest } = options;
  let closed = false;
  let pty: Pty | null = null;
  let coming: Promise<void> = Promise.resolve();
  const leave = async () => {
    const leaving = pty;
    pty = null;
    await leaving?.close();
  };
  const modem = new AtModem({
    ...rest,
    clock,
    onFailure: error => onFailure(messageOf(error)),
    onVanish: appear => {
      const left = leave();
      coming = new Promise(resolve => {
        clock.after(awayMs, () => {
          comeBack(left, appear).then(resolve, error => {
            onFailure(messageOf(error));
            resolve();
          });
        });
      });
    },
  });
  const comeBack = async (left: Promise<void>, appear: (port: Pty['port']) => void) => {
    await left;
    if (closed) return;
    pty = await openPty(path, clock);
    appear(pty.port);
  };
  const vanish = async () => {
    modem.vanish();
    await leave();
  };
  try {
    pty = await openPty(path, clock);
  } catch (error) {
    await vanish();
    throw error;
  }
  modem.attach(pty.port);
  return {
    path,
    modem,
    vanish,
    appear: async () => {
      if (pty !== null || closed) return;
      pty = await openPty(path, clock);
      modem.appear(pty.port);
    },
    close: async () => {
      closed = true;
      await coming;
      await vanish();
    },
  };
}
