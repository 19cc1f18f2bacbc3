/**
 * A seeded storm over virtual modems of all kinds: misfortunes and rotations at random while customers download, then
 * a last act in which lasting misfortunes must show, then calm, in which everything must be well again; and at the end
 * nothing may be left behind. The same seed strikes the same modems in the same order.
 */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createDataPlane } from '@mastline/agent/data-plane/data-plane';
import { createModemPlane, type RotatingModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { JOURNAL_NAME } from '@mastline/agent/modem-plane/network-journal';
import { runIp } from '@mastline/agent/modem-plane/run-ip';
import { VirtualSlots } from '@mastline/agent/modem-plane/virtual-slots';
import type { Log } from '@mastline/agent/observe/log';
import { sleep, systemClock } from '@mastline/shared/base/clock';
import { freePort } from '../support/free-port';
import { seeded } from '../support/random';
import { type RunningNetwork, startVirtualNetwork } from '../support/virtual-network';
import { type Kind, MISFORTUNES, type Misfortune } from './misfortunes';
import { Traffic } from './traffic';

export interface StormOptions {
  seed: number;
  seconds: number;
  modems: number;
  kind: 'namespaces' | 'rootless';
  dir: string;
  log: Log;
  say: (line: string) => void;
}

export interface StormReport {
  seed: number;
  /** How often each misfortune struck. */
  struck: Record<string, number>;
  rotations: Record<string, number>;
  flows: Record<string, number>;
  /** What was not as it must be, in words; empty after a storm that was weathered. */
  problems: string[];
}

const WISHES = [
  { profile: 'huawei/e3372h-153', driver: 'hilink' },
  { profile: 'quectel/rm520n', driver: 'at' },
  { profile: 'quectel/em12', driver: 'mbim' },
  { profile: 'huawei/e3372h-153', driver: 'at' },
  { profile: 'quectel/ec25', driver: 'at' },
] as const;

const FLOWS_A_SECOND = 5;
const TICK_MS = 1000 / FLOWS_A_SECOND;
/** Between two blows, on average. */
const BLOW_EVERY_MS = 1500;
const ROTATE_EVERY_MS = 2500;
const LASTS_MS = [1000, 8000] as const;
const COME_UP_MS = 60_000;
/** The ladder of recovery may be at a rung that takes its time. */
const CALM_DOWN_MS = 150_000;
const LOOK_MS = 100;

export async function runStorm(options: StormOptions): Promise<StormReport> {
  const storm = new Storm(options);
  return storm.run();
}

class Storm {
  readonly #options: StormOptions;
  readonly #random: () => number;
  readonly #struck: Record<string, number> = {};
  readonly #rotated: Record<string, number> = {};
  readonly #problems: string[] = [];
  /** Every address that a slot has had. */
  readonly #sources = new Set<string>();
  /** What is under way, by slot. */
  readonly #ongoing = new Map<number, Misfortune>();
  readonly #rotations = new Set<Promise<void>>();

  constructor(options: StormOptions) {
    this.#options = options;
    this.#random = seeded(options.seed);
  }

  async run(): Promise<StormReport> {
    const { seed, seconds, modems, kind, dir, log, say } = this.#options;
    const before = openFiles();
    const stateDir = join(dir, 'net');
    const net = await startVirtualNetwork(stateDir, kind, ['--modems', '0']);
    const traffic = new Traffic(Math.ceil((seconds + 400) * FLOWS_A_SECOND));
    const plane = createModemPlane({
      slots: [],
      sources: [new VirtualSlots({ stateDir, clock: systemClock, log })],
      echoUrls: net.ready.echoUrls,
      dataDir: join(dir, 'agent'),
      clock: systemClock,
      log,
      openFlows: async () => 0,
      rotation: {
        times: { graceMs: 300, deadlineMs: 30_000, rollBackMs: 20_000 },
        limits: { coolDownMs: 1000, perHour: 100_000, perDay: 100_000 },
      },
    });
    const dataPlane = createDataPlane({ sink: traffic.sink, log });
    const slots = Array.from({ length: modems }, (_, i) => i + 1);
    try {
      await plane.start();
      for (const slot of slots) await net.control('POST', '/modems', WISHES[(slot - 1) % WISHES.length]);
      const ports: number[] = [];
      while (ports.length < slots.length) ports.push(await freePort());
      const apply = () =>
        dataPlane.apply({
          endpoints: slots.map((slot, i) => ({
            id: `e${slot}`,
            name: `e${slot}`,
            protocols: ['socks5'],
            reach: 'direct',
            listen: { host: '127.0.0.1', port: ports[i] ?? 0 },
            slots: [slot],
          })),
          credentials: traffic.credentials,
          egresses: plane.egresses(),
          allowTargets: [`${net.ready.origin.address}:${net.ready.origin.port}`],
        });
      await apply();
      plane.onChange(() => {
        for (const { sourceAddress } of plane.slots())
          if (sourceAddress !== null) this.#sources.add(sourceAddress);
        apply().catch(error => this.#problems.push(`a change could not be applied: ${error}`));
      });
      await this.#until(COME_UP_MS, 'all modems come up', () => unwell(plane, slots));
      say(`seed ${seed}: ${modems} modems are up, ${kind}; ${seconds} s of storm`);
      // Of its own, so that how many flows there were changes nothing of who is struck.
      const chance = seeded(seed + 1);
      const begin = () =>
        traffic.begin(ports[Math.floor(chance() * ports.length)] ?? 0, net.ready.origin, chance);
      await this.#rage({ net, plane, slots, begin });
      say('last act: lasting misfortunes');
      await this.#lastAct({ net, plane, slots });
      await this.#until(CALM_DOWN_MS, 'calm: everything is well again', () => unwell(plane, slots));
      for (let i = 0; i < 5 * slots.length; i += 1) begin();
      await Promise.all([traffic.end(), ...this.#rotations]);
    } finally {
      await dataPlane.close(1000);
      await plane.close();
    }
    for (const mistake of traffic.mistakes()) this.#problems.push(`usage: ${mistake}`);
    for (const fault of await net.faults())
      this.#problems.push(`asked what a modem does not know: ${JSON.stringify(fault)}`);
    const code = await net.stop();
    if (code !== 0) this.#problems.push(`the virtual network ended with ${code}`);
    await this.#leftovers(net, before);
    return {
      seed,
      struck: this.#struck,
      rotations: this.#rotated,
      flows: traffic.summary(),
      problems: this.#problems,
    };
  }

  async #rage(frame: {
    net: RunningNetwork;
    plane: RotatingModemPlane;
    slots: number[];
    begin: () => void;
  }): Promise<void> {
    const { net, plane, slots, begin } = frame;
    const end = systemClock.monotonicMs() + this.#options.seconds * 1000;
    let nextBlow = 0;
    let nextRotation = 0;
    while (systemClock.monotonicMs() < end) {
      const now = systemClock.monotonicMs();
      begin();
      if (now >= nextBlow) {
        nextBlow = now + 2 * BLOW_EVERY_MS * this.#random();
        this.#blow(net, slots);
      }
      if (now >= nextRotation) {
        nextRotation = now + 2 * ROTATE_EVERY_MS * this.#random();
        const slot = this.#one(slots);
        // Hammered: several ask at once.
        for (let i = 0; i < 3; i += 1) this.#rotate(plane, slot);
      }
      await sleep(systemClock, TICK_MS);
    }
    while (this.#ongoing.size > 0) await sleep(systemClock, LOOK_MS);
  }

  #rotate(plane: RotatingModemPlane, slot: number): void {
    const work = plane.rotations.rotate(slot, { askedFor: 'storm' }).then(({ outcome }) => {
      this.#rotated[outcome] = (this.#rotated[outcome] ?? 0) + 1;
    });
    this.#rotations.add(work);
    void work.finally(() => this.#rotations.delete(work));
  }

  #blow(net: RunningNetwork, slots: number[]): void {
    const slot = this.#one(slots);
    const misfortune = this.#one(MISFORTUNES.filter(one => one.kinds.includes(kindOf(slot))));
    const lastsMs = LASTS_MS[0] + this.#random() * (LASTS_MS[1] - LASTS_MS[0]);
    if (this.#ongoing.has(slot)) return;
    this.#ongoing.set(slot, misfortune);
    this.#struck[misfortune.name] = (this.#struck[misfortune.name] ?? 0) + 1;
    void (async () => {
      try {
        await misfortune.strike(net, slot);
        await sleep(systemClock, lastsMs);
        await misfortune.heal(net, slot);
      } catch (error) {
        this.#problems.push(`${misfortune.name} of slot ${slot} could not be played: ${error}`);
      } finally {
        this.#ongoing.delete(slot);
      }
    })();
  }

  /** Each modem gets something that lasts, and the agent must say so; then all is healed. */
  async #lastAct({ net, plane, slots }: { net: RunningNetwork; plane: RotatingModemPlane; slots: number[] }) {
    const acts = slots.map(slot => ({
      slot,
      misfortune: this.#one(MISFORTUNES.filter(one => one.disables && one.kinds.includes(kindOf(slot)))),
    }));
    for (const { slot, misfortune } of acts) await misfortune.strike(net, slot);
    await this.#until(CALM_DOWN_MS, 'lasting misfortunes show', () =>
      acts.flatMap(({ slot, misfortune }) => {
        const report = plane.slots().find(one => one.slot === slot);
        const ready = plane.egresses().find(one => one.slot === slot)?.ready;
        return ready || report?.reason === ''
          ? [`slot ${slot} (${misfortune.name}) is ${report?.state}: ${report?.reason}`]
          : [];
      }),
    );
    for (const { slot, misfortune } of acts) await misfortune.heal(net, slot);
  }

  /** Waits until nothing is wrong any more; what still is afterwards is a problem. */
  async #until(withinMs: number, what: string, wrong: () => string[]): Promise<void> {
    const end = systemClock.monotonicMs() + withinMs;
    while (wrong().length > 0 && systemClock.monotonicMs() < end) await sleep(systemClock, LOOK_MS);
    for (const one of wrong()) this.#problems.push(`${what}: not within ${withinMs / 1000} s: ${one}`);
  }

  async #leftovers(net: RunningNetwork, filesBefore: number): Promise<void> {
    const { dir, kind } = this.#options;
    const say = (what: string) => void this.#problems.push(`left behind: ${what}`);
    if (readdirSync(join(dir, 'agent')).includes(JOURNAL_NAME)) say('the network journal');
    if (kind === 'namespaces') {
      const rules = await runIp(['rule']);
      for (const source of this.#sources) if (rules.includes(` ${source} `)) say(`a rule from ${source}`);
      const names = `${await runIp(['netns', 'list'])}${await runIp(['-o', 'link'])}`;
      if (new RegExp(`\\bml${net.ready.instance}-`).test(names)) say('a namespace or an interface');
    }
    // What was closed just now may need a turn of the event loop.
    const end = systemClock.monotonicMs() + 10_000;
    while ((openFiles() > filesBefore || children() !== '') && systemClock.monotonicMs() < end)
      await sleep(systemClock, LOOK_MS);
    if (openFiles() > filesBefore) say(`${openFiles() - filesBefore} file descriptors`);
    if (children() !== '') say(`processes ${children()}`);
  }

  #one<T>(all: readonly T[]): T {
    const found = all[Math.floor(this.#random() * all.length)];
    if (found === undefined) throw new Error('there is nothing to choose from');
    return found;
  }
}

function kindOf(slot: number): Kind {
  return WISHES[(slot - 1) % WISHES.length]?.driver ?? 'hilink';
}

function unwell(plane: RotatingModemPlane, slots: readonly number[]): string[] {
  return slots.flatMap(slot => {
    const report = plane.slots().find(one => one.slot === slot);
    return report?.state === 'connected' && report.exitAddress !== null && report.reason === ''
      ? []
      : [`slot ${slot} is ${report?.state ?? 'not there'}: ${report?.reason ?? ''}`];
  });
}

const openFiles = () => readdirSync('/proc/self/fd').length;
/** Ids of this process's children. */
const children = () => readFileSync(`/proc/self/task/${process.pid}/children`, 'utf8').trim();
