/**
 * What sealing and opening cost per method: megabytes per CPU second of the codec and, as the bound that no codec on
 * node:crypto can pass, of the bare cipher calls for the same payloads (no lengths, no copies). Rounds are
 * interleaved, since other programs on the machine move all figures at once; the ratio is what to look at.
 *
 *     npx tsx test/bench/shadowsocks-codec.ts [--json FILE]
 */
import { createCipheriv, createDecipheriv, createSecretKey, randomBytes, randomFillSync } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { addressBytes } from '@mastline/shared/protocols/shadowsocks/address';
import { Aead } from '@mastline/shared/protocols/shadowsocks/aead';
import { AeadPacketClient } from '@mastline/shared/protocols/shadowsocks/aead-packets';
import { openAeadClient } from '@mastline/shared/protocols/shadowsocks/aead-stream';
import { ChunkOpener, ChunkSealer } from '@mastline/shared/protocols/shadowsocks/chunks';
import { openClient2022 } from '@mastline/shared/protocols/shadowsocks/client-2022';
import {
  readBytesFor,
  SHADOWSOCKS_METHODS,
  type ShadowsocksMethod,
} from '@mastline/shared/protocols/shadowsocks/methods';
import { PacketClient2022 } from '@mastline/shared/protocols/shadowsocks/packet-client-2022';
import { createSaltStore } from '@mastline/shared/protocols/shadowsocks/salt-store';
import { createShadowsocksServer } from '@mastline/shared/protocols/shadowsocks/server';

const ROUNDS = 7;
const ROUND_BYTES = 96 * 1024 * 1024;
const PACKET_BYTES = 1400;
const PACKETS = 20_000;
const HANDSHAKES = 3_000;

const clock = { now: () => Date.now(), monotonicMs: () => performance.now() };
const random = (into: Buffer) => void randomFillSync(into);
const target = { host: '203.0.113.7', port: 443 };

/** CPU seconds of `work`, user and system. */
function cpuSeconds(work: () => void): number {
  const before = process.cpuUsage();
  work();
  const { user, system } = process.cpuUsage(before);
  return (user + system) / 1e6;
}

const median = (values: number[]) => values.sort((a, b) => a - b)[values.length >> 1] ?? Number.NaN;

interface Figures {
  method: string;
  /** Megabytes (10^6) of payload per CPU second. */
  rawSeal: number;
  seal: number;
  rawOpen: number;
  open: number;
  /** Medians of the ratios within a round. */
  sealToRaw: number;
  openToRaw: number;
  packetsSealed: number;
  packetsOpened: number;
  handshakes: number;
}

function measure(method: ShadowsocksMethod): Figures {
  const readBytes = readBytesFor(method);
  const calls = Math.max(1, Math.round(ROUND_BYTES / readBytes));
  const megabytes = (calls * readBytes) / 1e6;
  const plain = randomBytes(readBytes);
  const key = randomBytes(method.keyBytes);
  const session = () => new Aead(method.cipher, createSecretKey(key));
  const sealer = new ChunkSealer(method, session());
  const out = Buffer.alloc(readBytes * 2);
  const opened = Buffer.alloc(readBytes * 2);

  const raw = () => {
    const keyObject = createSecretKey(key);
    const nonce = Buffer.alloc(12);
    for (let call = 0; call < calls; call += 1)
      for (let from = 0; from < readBytes; from += method.maxPayload) {
        const cipher = createCipheriv(method.cipher as 'aes-128-gcm', keyObject, nonce, {
          authTagLength: 16,
        });
        cipher.update(plain.subarray(from, from + method.maxPayload));
        cipher.final();
        cipher.getAuthTag();
      }
  };
  const seal = () => {
    for (let call = 0; call < calls; call += 1) sealer.seal(plain, out, 0);
  };
  // One stretch of wire is opened again and again, with the nonce set back: making it anew would be measured too.
  const sealedBytes = new ChunkSealer(method, session()).seal(plain, out, 0);
  const wire = Buffer.from(out.subarray(0, sealedBytes));
  const aead = session();
  const opener = new ChunkOpener(method, aead);
  const open = () => {
    for (let call = 0; call < calls; call += 1) {
      aead.nonce.fill(0);
      if (opener.open(wire, opened) !== readBytes) throw new Error('opened too little');
    }
  };
  const rawCipher = createCipheriv(method.cipher as 'aes-128-gcm', key, Buffer.alloc(12), {
    authTagLength: 16,
  });
  const rawSealed = rawCipher.update(plain.subarray(0, method.maxPayload));
  rawCipher.final();
  const rawTag = rawCipher.getAuthTag();
  const rawOpen = () => {
    const keyObject = createSecretKey(key);
    const nonce = Buffer.alloc(12);
    for (let call = 0; call < calls; call += 1)
      for (let from = 0; from < readBytes; from += method.maxPayload) {
        const cipher = createDecipheriv(method.cipher as 'aes-128-gcm', keyObject, nonce, {
          authTagLength: 16,
        });
        cipher.setAuthTag(rawTag);
        cipher.update(rawSealed);
        cipher.final();
      }
  };

  const rounds = Array.from({ length: ROUNDS + 1 }, () => ({
    raw: cpuSeconds(raw),
    seal: cpuSeconds(seal),
    rawOpen: cpuSeconds(rawOpen),
    open: cpuSeconds(open),
  })).slice(1);
  return {
    method: method.name,
    rawSeal: megabytes / median(rounds.map(round => round.raw)),
    seal: megabytes / median(rounds.map(round => round.seal)),
    rawOpen: megabytes / median(rounds.map(round => round.rawOpen)),
    open: megabytes / median(rounds.map(round => round.open)),
    sealToRaw: median(rounds.map(round => round.raw / round.seal)),
    openToRaw: median(rounds.map(round => round.rawOpen / round.open)),
    ...packetsAndHandshakes(method, key),
  };
}

function packetsAndHandshakes(method: ShadowsocksMethod, key: Buffer) {
  const store = (keepMs: number | null) => createSaltStore({ capacity: 1 << 17, keepMs, clock });
  const port = createShadowsocksServer<string>({
    method,
    users: { kind: 'keys', users: [{ user: 'one', key }] },
    salts: store(null),
    packetSalts: store(null),
    clock,
  });
  const client =
    method.edition === 'aead'
      ? new AeadPacketClient(method, key, random)
      : new PacketClient2022(method, [key], { clock, random });
  const payload = randomBytes(PACKET_BYTES);
  const out = Buffer.alloc(4096);
  const packets = Array.from({ length: PACKETS }, () =>
    Buffer.from(out.subarray(0, client.seal(target, payload, out))),
  );
  const first = port.packets.open(packets[0] ?? out, 'a:1');
  if (first.kind === 'drop') throw new Error(`dropped: ${first.cause}`);
  const from = addressBytes(target);
  const openSeconds = cpuSeconds(() => {
    for (let at = 1; at < PACKETS; at += 1) port.packets.open(packets[at] ?? out, 'a:1');
  });
  const sealSeconds = cpuSeconds(() => {
    for (let at = 0; at < PACKETS; at += 1) port.packets.seal(first.session, { from, payload }, out);
  });
  const salts = store(60_000);
  const requests = Array.from({ length: HANDSHAKES }, () => {
    const { sealer } =
      method.edition === 'aead'
        ? openAeadClient(method, { key, target }, random)
        : openClient2022(method, { keys: [key], target }, { clock, random, salts });
    return Buffer.from(out.subarray(0, sealer.seal(payload, out)));
  });
  const handshakeSeconds = cpuSeconds(() => {
    for (const request of requests)
      if (port.handshake('a').feed(request).kind !== 'request') throw new Error('not a request');
  });
  return {
    packetsSealed: PACKETS / sealSeconds,
    packetsOpened: PACKETS / openSeconds,
    handshakes: HANDSHAKES / handshakeSeconds,
  };
}

const results = Object.values(SHADOWSOCKS_METHODS).map(measure);
console.log(
  'method                     raw MB/s   seal MB/s  of raw  raw MB/s  open MB/s  of raw   s/GB seal  open  packets/s seal   open  handshakes/s',
);
for (const one of results)
  console.log(
    [
      one.method.padEnd(25),
      one.rawSeal.toFixed(0).padStart(9),
      one.seal.toFixed(0).padStart(11),
      `${(one.sealToRaw * 100).toFixed(0)} %`.padStart(7),
      one.rawOpen.toFixed(0).padStart(9),
      one.open.toFixed(0).padStart(10),
      `${(one.openToRaw * 100).toFixed(0)} %`.padStart(7),
      (1000 / one.seal).toFixed(2).padStart(11),
      (1000 / one.open).toFixed(2).padStart(6),
      one.packetsSealed.toFixed(0).padStart(15),
      one.packetsOpened.toFixed(0).padStart(7),
      one.handshakes.toFixed(0).padStart(13),
    ].join(' '),
  );
const jsonAt = process.argv.indexOf('--json');
const file = process.argv[jsonAt + 1];
if (jsonAt > 0 && file) writeFileSync(file, `${JSON.stringify({ runs: results }, null, 2)}\n`);
