/**
 * Chooses the way to an MBIM modem and opens its driver: the device itself, mbim-proxy where another program holds the
 * device through it, or a Unix socket.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../../../observe/log';
import type { ModemDriver } from '../../driver';
import { openMbimDriver } from './driver';
import { openDeviceFile } from './transports/device-file';
import { connectProxy, connectUnixSocket, noProxy, type ProxyOptions } from './transports/stream';

type ProxyChoice = Omit<ProxyOptions, 'clock'>;

export type MbimWay =
  /** The device itself; through mbim-proxy when it is busy. */
  | { kind: 'device'; path: string; proxy?: ProxyChoice }
  /** Always through mbim-proxy, which opens `path`. */
  | { kind: 'proxy'; path: string; proxy?: ProxyChoice }
  | { kind: 'socket'; path: string };

export interface ConnectMbimOptions {
  way: MbimWay;
  clock: Clock;
  log: Log;
  /** From the USB descriptors; see `control-size.ts`. */
  maxControlTransfer?: number;
  reattachDwellMs?: number;
  /** How a device is opened; tests hand in one that is busy. */
  openDevice?: typeof openDeviceFile;
}

/** Throws a CodedError that names what was tried. */
export async function connectMbim(options: ConnectMbimOptions): Promise<ModemDriver> {
  const { way, openDevice = openDeviceFile, ...rest } = options;
  switch (way.kind) {
    case 'socket':
      return openMbimDriver({ ...rest, transport: await connectUnixSocket(way.path, options.clock) });
    case 'proxy':
      return throughProxy(way.path, way.proxy, rest);
    case 'device':
      try {
        return await openMbimDriver({ ...rest, transport: openDevice(way.path, options.clock) });
      } catch (error) {
        if (!(error instanceof CodedError) || error.code !== 'mbim/device-busy') throw error;
        return await aroundBusyDevice(error, () => throughProxy(way.path, way.proxy, rest));
      }
  }
}

async function throughProxy(
  devicePath: string,
  proxy: ProxyChoice | undefined,
  rest: Omit<ConnectMbimOptions, 'way' | 'openDevice'>,
): Promise<ModemDriver> {
  const transport = await connectProxy({ ...proxy, clock: rest.clock });
  try {
    return await openMbimDriver({ ...rest, transport, proxiedDevice: devicePath });
  } catch (error) {
    // A socat child finds out only after it was started that nobody listens.
    throw codeOf(error) === 'mbim/gone' ? noProxy(messageOf(error), error) : error;
  }
}

async function aroundBusyDevice(busy: CodedError, proxied: () => Promise<ModemDriver>): Promise<ModemDriver> {
  try {
    return await proxied();
  } catch (error) {
    throw new CodedError('mbim/device-busy', `${busy.message}, and ${messageOf(error)}`, {
      retryable: true,
      cause: error,
      userMessage: busy.userMessage,
    });
  }
}
