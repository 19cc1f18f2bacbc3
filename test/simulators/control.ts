/**
 * The knobs of a running virtual network: HTTP with JSON on a Unix socket in its state directory. Tests and people
 * turn them (`curl --unix-socket DIR/control.sock http://x/state`); the agent never sees them.
 *
 *     GET  /state                        everything, per modem
 *     GET  /faults                       requests that the sticks did not know
 *     GET  /origin/report?id=ID          raw bytes of the origin's connections
 *     POST /modems/N/address             {"to":"next"} or {"to":"198.18.K.x"}
 *     POST /modems/N/data                {"carries":false}   connected by its own word, carries nothing
 *     POST /modems/N/connection          {"up":false}        the data switch
 *     POST /modems/N/api                 {"mode":"up"|"hang"|"dead"}
 *     POST /modems/N/carrier             {"sticky":…,"holdsAddressMs":…,"registrationDelayMs":…,"connectDelayMs":…}
 *     POST /modems/N/register            loses the network and registers again
 */
import { rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { z } from 'zod';
import type { VirtualNetwork, VirtualSlot } from './virtual-slot';

/** Longest path of a Unix socket on Linux, in bytes. */
const MAX_SOCKET_PATH = 107;
const MAX_BODY_BYTES = 4096;
const MAX_DELAY_MS = 600_000;

const Delay = z.int().min(0).max(MAX_DELAY_MS);
const Knobs = {
  address: z.strictObject({ to: z.string() }),
  data: z.strictObject({ carries: z.boolean() }),
  connection: z.strictObject({ up: z.boolean() }),
  api: z.strictObject({ mode: z.enum(['up', 'hang', 'dead']) }),
  carrier: z.strictObject({
    sticky: z.boolean().optional(),
    holdsAddressMs: Delay.optional(),
    registrationDelayMs: Delay.optional(),
    connectDelayMs: Delay.optional(),
  }),
  register: z.strictObject({}),
};

/** Listens on `path`. Throws `simulator/state-dir` when the path is too long for a socket. */
export async function startControl(
  path: string,
  network: VirtualNetwork,
): Promise<{ close(): Promise<void> }> {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH)
    throw new CodedError(
      'simulator/state-dir',
      `--state-dir: ${path} is longer than ${MAX_SOCKET_PATH} bytes, too long for a Unix socket; choose a shorter one`,
    );
  rmSync(path, { force: true });
  const server = createServer((request, response) => {
    answer(network, request).then(
      value => reply(response, 200, value),
      error =>
        reply(response, codeOf(error) === undefined ? 500 : 400, {
          error: codeOf(error) ?? 'internal',
          message: messageOf(error),
        }),
    );
  });
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => resolve());
  });
  return {
    close: () =>
      new Promise(resolve => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

async function answer(network: VirtualNetwork, request: IncomingMessage): Promise<unknown> {
  const url = new URL(request.url ?? '/', 'http://control');
  if (request.method === 'GET') {
    if (url.pathname === '/state') return { slots: network.slots.map(stateOf) };
    if (url.pathname === '/faults')
      return {
        faults: network.slots.flatMap(one => one.modem.faults().map(fault => ({ slot: one.slot, ...fault }))),
      };
    if (url.pathname === '/origin/report') return network.internet.report(url.searchParams.get('id'));
  }
  const match = /^\/modems\/(\d+)\/(\w+)$/.exec(url.pathname);
  const slot = network.slots.find(one => String(one.slot) === match?.[1]);
  if (request.method !== 'POST' || !match || !slot)
    throw new CodedError(
      'simulator/no-such-knob',
      `no ${request.method} ${url.pathname}; modems are 1 to ${network.slots.length}`,
    );
  await turn(slot, match[2] ?? '', await readJson(request));
  return stateOf(slot);
}

async function turn({ carrier, modem }: VirtualSlot, knob: string, body: unknown): Promise<void> {
  switch (knob) {
    case 'address':
      return carrier.moveTo(parseOrExplain(Knobs.address, body, 'address').to);
    case 'data':
      return carrier.setCarries(parseOrExplain(Knobs.data, body, 'data').carries);
    case 'connection':
      return carrier.switchData(parseOrExplain(Knobs.connection, body, 'connection').up);
    case 'api':
      return modem.setMode(parseOrExplain(Knobs.api, body, 'api').mode);
    case 'carrier': {
      const { sticky, holdsAddressMs, registrationDelayMs, connectDelayMs } = parseOrExplain(
        Knobs.carrier,
        body,
        'carrier',
      );
      carrier.set({
        ...(sticky === undefined ? {} : { sticky }),
        ...(holdsAddressMs === undefined ? {} : { holdsAddressMs }),
        ...(registrationDelayMs === undefined ? {} : { registrationDelayMs }),
        ...(connectDelayMs === undefined ? {} : { connectDelayMs }),
      });
      return;
    }
    case 'register':
      parseOrExplain(Knobs.register, body, 'register');
      await carrier.hangUp();
      carrier.register();
      return;
    default:
      throw new CodedError(
        'simulator/no-such-knob',
        `no knob "${knob}"; there are ${Object.keys(Knobs).join(', ')}`,
      );
  }
}

function stateOf(one: VirtualSlot) {
  return {
    slot: one.slot,
    api: one.modem.mode(),
    carrier: one.carrier.status(),
    faults: one.modem.faults().length,
  };
}

async function readJson(request: IncomingMessage): Promise<unknown> {
  let text = '';
  for await (const part of request) {
    text += part;
    if (text.length > MAX_BODY_BYTES)
      throw new CodedError('simulator/body', `the body is over ${MAX_BODY_BYTES} bytes`);
  }
  if (text === '') return {};
  try {
    return JSON.parse(text);
  } catch {
    throw new CodedError('simulator/body', 'the body is not JSON');
  }
}

function reply(response: ServerResponse, status: number, value: unknown): void {
  const text = `${JSON.stringify(value)}\n`;
  response.writeHead(status, {
    'content-type': 'application/json',
    'content-length': Buffer.byteLength(text),
  });
  response.end(text);
}
