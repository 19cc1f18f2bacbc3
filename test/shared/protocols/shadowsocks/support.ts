/** What the Shadowsocks tests share: servers with fake time, and calls that allocate what the codecs ask for. */
import { randomFillSync } from 'node:crypto';
import type { ShadowsocksHandshake, ShadowsocksStep } from '@mastline/shared/protocols/shadowsocks/handshake';
import type { ShadowsocksMethod } from '@mastline/shared/protocols/shadowsocks/methods';
import { createSaltStore, SALT_KEEP_MS } from '@mastline/shared/protocols/shadowsocks/salt-store';
import {
  createShadowsocksServer,
  type ShadowsocksServer,
  type ShadowsocksServerOptions,
} from '@mastline/shared/protocols/shadowsocks/server';
import type { StreamOpener, StreamSealer } from '@mastline/shared/protocols/shadowsocks/stream';
import type { ShadowsocksUsers } from '@mastline/shared/protocols/shadowsocks/users';
import { type FakeClock, fakeClock } from '../../../support/clock';

export const randomly = (into: Buffer) => void randomFillSync(into);

export function server<User>(
  method: ShadowsocksMethod,
  users: ShadowsocksUsers<User>,
  options: Partial<ShadowsocksServerOptions<User>> & { clock?: FakeClock } = {},
): ShadowsocksServer<User, string> & { clock: FakeClock } {
  const clock = options.clock ?? fakeClock();
  const keepMs = method.edition === '2022' ? SALT_KEEP_MS : null;
  const made = createShadowsocksServer<User, string>({
    method,
    users,
    salts: createSaltStore({ capacity: 1024, keepMs, clock }),
    packetSalts: createSaltStore({ capacity: 1024, keepMs: null, clock }),
    ...options,
    clock,
  });
  return { ...made, clock };
}

export function seal(sealer: StreamSealer, plain: Buffer): Buffer {
  const out = Buffer.alloc(sealer.bound(plain.length));
  return out.subarray(0, sealer.seal(plain, out));
}

/** The plaintext, or null when the stream is broken. */
export function open(opener: StreamOpener, sealed: Buffer): Buffer | null {
  const out = Buffer.alloc(opener.bound(sealed.length));
  const opened = opener.open(sealed, out);
  return opened < 0 ? null : Buffer.from(out.subarray(0, opened));
}

/** Feeds `parts` from one buffer that is overwritten each time, as a shared read buffer is. */
export function feedAll<User>(handshake: ShadowsocksHandshake<User>, parts: Buffer[]): ShadowsocksStep<User> {
  let step: ShadowsocksStep<User> = { kind: 'more' };
  for (const part of parts) {
    const shared = Buffer.from(part);
    const next = handshake.feed(shared);
    shared.fill(0xee);
    if (next.kind === 'request' && step.kind !== 'more') throw new Error('a request after its end');
    if (step.kind === 'request')
      return { ...step, payload: Buffer.concat([step.payload, drain(step, part)]) };
    step = next;
    if (step.kind === 'silent') return step;
  }
  return step;
}

function drain(step: ShadowsocksStep<unknown> & { kind: 'request' }, part: Buffer): Buffer {
  return open(step.stream.opener, part) ?? Buffer.alloc(0);
}
