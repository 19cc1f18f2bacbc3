/**
 * A serial port or pty as a Duplex that closes when it is destroyed and ends with a reason when the device vanishes
 * (the `serialport` package's own stream does neither by `destroy`). Raw, exclusive, and without hanging up: closing
 * the port must not drop DTR, which ends a data call. Baud rates mean nothing on USB.
 */
import { Duplex } from 'node:stream';
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { withDeadline } from '@mastline/shared/base/deadline';
import { SerialPort } from 'serialport';
import { serialBinding } from './serial-binding';

/** Opening is a system call that does not wait for the device. */
const OPEN_DEADLINE_MS = 5000;
const BAUD_RATE = 115_200;
/** Bytes read ahead of a slow reader before the port is left alone. */
const READ_AHEAD_BYTES = 64 * 1024;

/**
 * Opens `path`. Rejects with `port/missing`, `port/not-permitted`, `port/in-use` or `port/failed`, each with its remedy.
 */
export async function openSerialPort(path: string, clock: Clock): Promise<Duplex> {
  const settings = { path, baudRate: BAUD_RATE, autoOpen: false, lock: true, hupcl: false };
  const port = new SerialPort({ ...settings, binding: serialBinding });
  const opened = new Promise<void>((resolve, reject) =>
    port.open(error => (error ? reject(explain(path, error)) : resolve())),
  );
  try {
    await withDeadline(opened, OPEN_DEADLINE_MS, `opening ${path}`, clock);
  } catch (error) {
    // An opening that succeeds after all has no user any more.
    opened.then(
      () => port.close(),
      () => undefined,
    );
    throw error;
  }
  return new SerialLink(port, path);
}

class SerialLink extends Duplex {
  readonly #port: SerialPort;

  constructor(port: SerialPort, path: string) {
    super({ readableHighWaterMark: READ_AHEAD_BYTES, allowHalfOpen: false });
    this.#port = port;
    port.on('data', (chunk: Buffer) => {
      if (!this.push(chunk)) port.pause();
    });
    port.on('error', error => this.destroy(explain(path, error)));
    port.on('end', () => this.destroy(gone(path)));
    port.on('close', () => this.destroy(gone(path)));
  }

  override _read(): void {
    this.#port.resume();
  }

  override _write(chunk: Buffer, encoding: BufferEncoding, done: (error?: Error | null) => void): void {
    this.#port.write(chunk, encoding, error => done(error ?? null));
  }

  override _destroy(error: Error | null, done: (error: Error | null) => void): void {
    if (this.#port.isOpen) this.#port.close(closing => done(error ?? closing ?? null));
    else done(error);
  }
}

function gone(path: string): CodedError {
  return new CodedError('port/gone', `${path} is gone: the modem was unplugged or has restarted`, {
    retryable: true,
  });
}

function explain(path: string, error: unknown): CodedError {
  if (error instanceof CodedError) return error;
  const said = messageOf(error);
  const cause = { cause: error };
  // The binding reports errno only in its text.
  const code = codeOf(error);
  if (code === 'ENOENT' || /No such file|No such device/i.test(said))
    return new CodedError('port/missing', `${path}: ${said}`, {
      ...cause,
      userMessage: `The port ${path} does not exist. Is the modem plugged in? Its ports are listed by "ls -l /dev/serial/by-path".`,
      retryable: true,
    });
  if (code === 'EACCES' || /Permission denied/i.test(said))
    return new CodedError('port/not-permitted', `${path}: ${said}`, {
      ...cause,
      userMessage: `The agent may not open ${path}. Add its user to the group that owns the port: usermod -aG dialout <user>`,
    });
  if (code === 'EBUSY' || /lock|busy|temporarily unavailable/i.test(said))
    return new CodedError('port/in-use', `${path}: ${said}`, {
      ...cause,
      userMessage: `Another program holds ${path} (often ModemManager). Find it with "fuser -v ${path}" and make it leave the modem alone.`,
    });
  return new CodedError('port/failed', `${path}: ${said}`, cause);
}
