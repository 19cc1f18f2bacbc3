/**
 * The `serialport` package's binding, except that it notices a hang-up. When a stick is pulled out, or a pty loses its
 * other end, the kernel hangs the terminal up, and reading from it gives no byte, at once, for ever (tty_io.c,
 * `hung_up_tty_read`). The package reads again until it gets one: it goes round as fast as the thread can, and all
 * modems wait, until somebody closes the port. Here it is the end of the port. Used by serial-port.ts.
 */
import { readSync } from 'node:fs';
import { codeOf } from '@mastline/shared/base/coded-error';
import { SerialPort } from 'serialport';

const { binding } = SerialPort;
type Opened = Awaited<ReturnType<typeof binding.open>>;
/** What the binding of Linux has beside what all have. */
type LinuxPort = Opened & {
  fd: number | null;
  poller: { once(event: 'readable', told: (error: Error | null) => void): unknown };
};

/** For a stream of the package's: ports that end when they are hung up. */
export const serialBinding = {
  list: () => binding.list(),
  async open(options: Parameters<typeof binding.open>[0]): Promise<Opened> {
    const port = await binding.open(options);
    // Other systems' ports have no descriptor, and no such habit.
    if ('poller' in port) {
      const linux = port as LinuxPort;
      port.read = (buffer: Buffer, at: number, length: number) => readFrom(linux, { buffer, at, length });
    }
    return port;
  },
};

/** As the package's own `read`. Rejects with `canceled` set when the port was closed meanwhile. */
async function readFrom(
  port: LinuxPort,
  into: { buffer: Buffer; at: number; length: number },
): Promise<{ buffer: Buffer; bytesRead: number }> {
  const { buffer } = into;
  for (;;) {
    // Only what is there is read: a look that finds nothing would go through a pool thread and come back as an error.
    await new Promise<void>((resolve, reject) => {
      // Polling a port that is closed would crash the process.
      openFile(port);
      port.poller.once('readable', (error: Error | null) => (error ? reject(error) : resolve()));
    });
    const bytesRead = readNow(openFile(port), into);
    if (bytesRead === 0) throw new Error('the port was hung up');
    if (bytesRead !== null) return { buffer, bytesRead };
  }
}

/** The port is opened so that reading does not wait; null when there is nothing. */
function readNow(fd: number, { buffer, at, length }: { buffer: Buffer; at: number; length: number }) {
  try {
    return readSync(fd, buffer, at, length, null);
  } catch (error) {
    const code = codeOf(error);
    if (code === 'EAGAIN' || code === 'EINTR') return null;
    throw error;
  }
}

function openFile(port: LinuxPort): number {
  if (port.fd === null) throw Object.assign(new Error('the port is closed'), { canceled: true });
  return port.fd;
}
