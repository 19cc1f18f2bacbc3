/**
 * The knobs of a running virtual network: HTTP with JSON on a Unix socket in its state directory. Tests and people
 * turn them (`curl --unix-socket DIR/control.sock http://x/state`); the agent never sees them.
 *
 *     GET  /state                        everything, per modem
 *     POST /modems                       {"profile":"quectel/rm520n","driver":…,"carrier":…,"name":…,"addressesOf":N,"ipType":…} plugs one more in
 *     DELETE /modems/N                   pulls one out
 *     GET  /faults                       requests that the sticks did not know
 *     GET  /origin/report?id=ID          raw bytes of the origin's connections
 *     POST /modems/N/address             {"to":"next"} or {"to":"198.18.K.x"}
 *     POST /modems/N/data                {"carries":false}   connected by its own word, carries nothing
 *     POST /modems/N/connection          {"up":false}        the data switch
 *     POST /modems/N/api                 {"mode":"up"|"hang"|"dead"}; an AT or MBIM modem that is dead is off the bus
 *     POST /modems/N/carrier             {"sticky":…,"holdsAddressMs":…,"registrationDelayMs":…,"connectDelayMs":…,
 *                                        "throttle":{"times":…,"withinMs":…,"penaltyMs":…}}
 *     POST /modems/N/credit              {"left":false}      a page that wants money answers whatever is asked
 *     POST /modems/N/register            loses the network and registers again
 *     POST /modems/N/sim                 {"state":"ready"|"pin"|"absent"}, of AT and MBIM modems
 */
import { rmSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import { parseOrExplain } from '@mastline/shared/base/problems';
import { DriverKind } from '@mastline/shared/profile/schema';
import { z } from 'zod';
import { CARRIER_NAMES } from './carrier-presets';
import { completeSpec } from './virtual-modem';
import { MAX_MODEMS, ModemSpec, SIM_KNOBS, type VirtualNetwork, type VirtualSlot } from './virtual-slot';

/** Longest path of a Unix socket on Linux, in bytes. */
const MAX_SOCKET_PATH = 107;
const MAX_BODY_BYTES = 4096;
const MAX_DELAY_MS = 600_000;

const Delay = z.int().min(0).max(MAX_DELAY_MS);
const Wish = z.strictObject({
  profile: ModemSpec.shape.profile,
  driver: DriverKind.optional(),
  carrier: z.enum(CARRIER_NAMES).default('fair'),
  name: ModemSpec.shape.name.default(null),
  addressesOf: ModemSpec.shape.addressesOf,
  apart: ModemSpec.shape.apart,
  ipType: ModemSpec.shape.ipType,
});
const Knobs = {
  address: z.strictObject({ to: z.string() }),
  data: z.strictObject({ carries: z.boolean() }),
  /** Of IPv6 alone. */
  data6: z.strictObject({ carries: z.boolean() }),
  connection: z.strictObject({ up: z.boolean() }),
  api: z.strictObject({ mode: z.enum(['up', 'hang', 'dead']) }),
  carrier: z.strictObject({
    sticky: z.boolean().optional(),
    holdsAddressMs: Delay.optional(),
    registrationDelayMs: Delay.optional(),
    connectDelayMs: Delay.optional(),
    /** Of HiLink sticks, which dial by themselves. */
    throttle: z
      .strictObject({ times: z.int().min(0).max(1000), withinMs: Delay, penaltyMs: Delay })
      .nullable()
      .optional(),
  }),
  credit: z.strictObject({ left: z.boolean() }),
  register: z.strictObject({}),
  sim: z.strictObject({ state: z.enum(SIM_KNOBS) }),
};
/** What can be turned of a running virtual modem. */
export const KNOB_NAMES = Object.keys(Knobs) as (keyof typeof Knobs)[];
export const CARRIER_KNOB_NAMES = Object.keys(Knobs.carrier.shape) as (keyof typeof Knobs.carrier.shape)[];

/** Listens on `path`. Throws `simulator/state-dir` when the path is too long for a socket. */
export async function startControl(
  path: string,
  network: VirtualNetwork,
  onModems: () => void,
): Promise<{ close(): Promise<void> }> {
  if (Buffer.byteLength(path) > MAX_SOCKET_PATH)
    throw new CodedError(
      'simulator/state-dir',
      `--state-dir: ${path} is longer than ${MAX_SOCKET_PATH} bytes, too long for a Unix socket; choose a shorter one`,
    );
  rmSync(path, { force: true });
  const server = createServer((request, response) => {
    answer(network, request, onModems).then(
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

async function answer(
  network: VirtualNetwork,
  request: IncomingMessage,
  onModems: () => void,
): Promise<unknown> {
  const url = new URL(request.url ?? '/', 'http://control');
  if (request.method === 'POST' && url.pathname === '/modems') {
    const made = await plugIn(network, await readJson(request));
    onModems();
    return stateOf(made);
  }
  if (request.method === 'GET') {
    if (url.pathname === '/state') return { slots: network.slots.map(stateOf) };
    if (url.pathname === '/faults')
      return {
        faults: network.slots.flatMap(one => one.modem.faults().map(fault => ({ slot: one.slot, ...fault }))),
      };
    if (url.pathname === '/origin/report') return network.internet.report(url.searchParams.get('id'));
  }
  const match = /^\/modems\/(\d+)\/(\w+)$/.exec(url.pathname);
  const number = match?.[1] ?? /^\/modems\/(\d+)$/.exec(url.pathname)?.[1];
  const slot = network.slots.find(one => String(one.slot) === number);
  if (request.method === 'DELETE' && slot && !match) {
    const gone = stateOf(slot);
    await network.remove(slot.slot);
    onModems();
    return gone;
  }
  if (request.method !== 'POST' || !match || !slot)
    throw new CodedError(
      'simulator/no-such-knob',
      `no ${request.method} ${url.pathname}; there are modems ${network.slots.map(one => one.slot).join(', ')}`,
    );
  await turn(slot, match[2] ?? '', await readJson(request));
  return stateOf(slot);
}

/** Under the first number that is free. */
async function plugIn(network: VirtualNetwork, body: unknown): Promise<VirtualSlot> {
  const wish = parseOrExplain(Wish, body, 'modem');
  const taken = new Set(network.slots.map(one => one.slot));
  const slot = Array.from({ length: MAX_MODEMS }, (_, i) => i + 1).find(n => !taken.has(n));
  if (slot === undefined)
    throw new CodedError('simulator/full', `a virtual network has room for ${MAX_MODEMS} modems`);
  if (wish.name !== null && network.slots.some(one => one.spec.name === wish.name))
    throw new CodedError('simulator/name-taken', `name: another virtual modem is called ${wish.name}`);
  const spec = completeSpec({ slot, ...wish, driver: wish.driver });
  return network.add(spec);
}

async function turn({ carrier, modem }: VirtualSlot, knob: string, body: unknown): Promise<void> {
  switch (knob) {
    case 'address':
      return carrier.moveTo(parseOrExplain(Knobs.address, body, 'address').to);
    case 'data':
      return carrier.setCarries(parseOrExplain(Knobs.data, body, 'data').carries);
    case 'data6':
      return carrier.setCarries6(parseOrExplain(Knobs.data6, body, 'data6').carries);
    case 'connection':
      return modem.setData(parseOrExplain(Knobs.connection, body, 'connection').up);
    case 'api':
      return modem.setMode(parseOrExplain(Knobs.api, body, 'api').mode);
    case 'carrier': {
      const { sticky, holdsAddressMs, registrationDelayMs, connectDelayMs, throttle } = parseOrExplain(
        Knobs.carrier,
        body,
        'carrier',
      );
      carrier.set({
        ...(sticky === undefined ? {} : { sticky }),
        ...(holdsAddressMs === undefined ? {} : { holdsAddressMs }),
        ...(throttle === undefined ? {} : { throttle }),
      });
      modem.setDelays({
        ...(registrationDelayMs === undefined ? {} : { registrationDelayMs }),
        ...(connectDelayMs === undefined ? {} : { connectDelayMs }),
      });
      return;
    }
    case 'credit':
      return carrier.setCredit(parseOrExplain(Knobs.credit, body, 'credit').left);
    case 'register':
      parseOrExplain(Knobs.register, body, 'register');
      return modem.loseNetwork();
    case 'sim':
      return modem.setSim(parseOrExplain(Knobs.sim, body, 'sim').state);
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
    name: one.config.usbPath,
    profile: one.spec.profile,
    driver: one.spec.driver,
    preset: one.spec.carrier,
    interface: 'interface' in one.config ? one.config.interface : null,
    api: one.modem.mode(),
    carrier: { ...one.carrier.status(), registered: one.modem.registered() },
    pinTries: one.modem.pinTries(),
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
