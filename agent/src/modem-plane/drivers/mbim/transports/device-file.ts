/**
 * A modem's control port as a character device: /dev/cdc-wdm*, or a pty. Node has no event-driven way to such a device
 * (`net.Socket` and `tty.ReadStream` refuse it, `fs.read` blocks one of four pool threads for as long as the modem
 * is silent), so it is opened with O_NONBLOCK and asked from a timer: a call that finds nothing costs about 6 µs.
 * Frames go out in one write each, as cdc-wdm wants them.
 */
import { closeSync, constants, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { isatty } from 'node:tty';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { MAX_FRAME_BYTES } from '../frame';
import { type MbimTransport, type TransportListener, WRITE_DEADLINE_MS } from './transport';

/**
 * At rest: an indication that nobody waits for may lie this long. A call that finds nothing ends in an error with a
 * stack; at five a second, twenty modems cost half a percent of a core.
 */
const IDLE_POLL_MS = 1000;
/** While an answer is due. */
const BUSY_POLL_MS = 4;
/** A modem that floods must not keep the event loop: the rest is read on the next turn. */
const MAX_READS_A_TURN = 16;
const WRITE_RETRY_MS = 5;

/** Reads are synchronous and copied at once, so all devices share it. */
const readBuffer = Buffer.allocUnsafe(MAX_FRAME_BYTES);

/**
 * Opens `path`. Throws `mbim/no-device`, `mbim/device-busy` (another program holds it: try its proxy),
 * `mbim/not-permitted`, `mbim/not-a-device`.
 */
export function openDeviceFile(path: string, clock: Clock): MbimTransport {
  let fd: number;
  try {
    fd = openSync(path, constants.O_RDWR | constants.O_NONBLOCK | constants.O_NOCTTY);
  } catch (error) {
    throw openFailure(path, error);
  }
  if (!fstatSync(fd).isCharacterDevice()) {
    closeSync(fd);
    throw new CodedError('mbim/not-a-device', `${path} is not a character device`);
  }
  return new DeviceFile(path, { fd, clock });
}

class DeviceFile implements MbimTransport {
  readonly name: string;
  readonly #fd: number;
  readonly #clock: Clock;
  /** A pty may take a frame in pieces; cdc-wdm cuts what is too long, which is a fault. */
  readonly #mayWriteInPieces: boolean;
  #listener: TransportListener | undefined;
  #poll: Timer | undefined;
  #pollMs = IDLE_POLL_MS;
  #open = true;

  constructor(name: string, options: { fd: number; clock: Clock }) {
    this.name = name;
    this.#fd = options.fd;
    this.#clock = options.clock;
    this.#mayWriteInPieces = isatty(options.fd);
  }

  listen(listener: TransportListener): void {
    this.#listener = listener;
    this.#schedule();
  }

  expect(answer: boolean): void {
    const pollMs = answer ? BUSY_POLL_MS : IDLE_POLL_MS;
    if (pollMs === this.#pollMs) return;
    this.#pollMs = pollMs;
    if (this.#open) this.#schedule();
  }

  async send(frame: Buffer): Promise<void> {
    let left = frame;
    const until = this.#clock.monotonicMs() + WRITE_DEADLINE_MS;
    for (;;) {
      if (!this.#open) throw new CodedError('mbim/gone', `${this.name} is closed`, { retryable: true });
      const written = this.#write(left);
      if (written === left.length) return;
      if (written > 0 && !this.#mayWriteInPieces)
        throw new CodedError(
          'mbim/control-transfer',
          `${this.name} took ${written} of ${left.length} bytes: its control transfer is smaller than assumed`,
        );
      left = left.subarray(written);
      if (this.#clock.monotonicMs() >= until)
        throw new CodedError('mbim/write-stuck', `${this.name} took no bytes for ${WRITE_DEADLINE_MS} ms`, {
          retryable: true,
        });
      await new Promise<void>(resolve => this.#clock.after(WRITE_RETRY_MS, resolve));
    }
  }

  async close(): Promise<void> {
    this.#shut();
  }

  /** Bytes that the device took; 0 when it cannot take any now. */
  #write(bytes: Buffer): number {
    try {
      return writeSync(this.#fd, bytes);
    } catch (error) {
      const code = codeOf(error);
      if (code === 'EAGAIN' || code === 'EINTR') return 0;
      this.#lost(error);
      throw new CodedError('mbim/gone', `${this.name}: ${messageOf(error)}`, {
        retryable: true,
        cause: error,
      });
    }
  }

  /** At whole multiples of the interval: all devices at rest share one wake-up of the process. */
  #schedule(): void {
    this.#poll?.cancel();
    const left = this.#pollMs - (this.#clock.monotonicMs() % this.#pollMs);
    this.#poll = this.#clock.after(left, () => {
      this.#read();
      if (this.#open) this.#schedule();
    });
  }

  #read(): void {
    for (let turn = 0; turn < MAX_READS_A_TURN && this.#open; turn += 1) {
      let length: number;
      try {
        length = readSync(this.#fd, readBuffer);
      } catch (error) {
        const code = codeOf(error);
        if (code === 'EAGAIN' || code === 'EINTR') return;
        this.#lost(error);
        return;
      }
      if (length === 0) this.#lost(new Error('end of file'));
      else this.#listener?.bytes(Buffer.from(readBuffer.subarray(0, length)));
    }
  }

  #lost(error: unknown): void {
    if (!this.#open) return;
    this.#shut();
    this.#listener?.gone(`${this.name}: ${messageOf(error)}`);
  }

  #shut(): void {
    if (!this.#open) return;
    this.#open = false;
    this.#poll?.cancel();
    closeSync(this.#fd);
  }
}

function openFailure(path: string, error: unknown): CodedError {
  const cause = { cause: error };
  switch (codeOf(error)) {
    case 'ENOENT':
    case 'ENODEV':
    case 'ENXIO':
      return new CodedError('mbim/no-device', `${path} is not there`, { ...cause, retryable: true });
    case 'EBUSY':
      return new CodedError('mbim/device-busy', `${path} is held by another program`, {
        ...cause,
        retryable: true,
        userMessage: `Another program (ModemManager, or mbim-proxy on its behalf) holds ${path}. Tell it to leave this modem alone, or reach the modem through mbim-proxy.`,
      });
    case 'EACCES':
    case 'EPERM':
      return new CodedError('mbim/not-permitted', `${path}: no permission`, {
        ...cause,
        userMessage: `The agent may not open ${path}. Run it as a user of the group that owns the device (ls -l ${path}).`,
      });
    default:
      return new CodedError('mbim/no-device', `${path}: ${messageOf(error)}`, cause);
  }
}
