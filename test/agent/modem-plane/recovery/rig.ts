/**
 * A modem plane before virtual sticks that die as real ones do, with real sockets and a clock that moves by itself:
 * only while no request is under way to somebody who will answer it. So minutes pass at once, deadlines are never a
 * race, and what the agent takes beyond the sticks' own times can be told exactly.
 */
import { createServer as createHttpServer } from 'node:http';
import { type AddressInfo, createServer, type Server, type Socket } from 'node:net';
import type { PowerOutcome, PowerWay } from '@mastline/agent/modem-plane/discovery/usb-power';
import { API_DEADLINE_MS } from '@mastline/agent/modem-plane/drivers/hilink/session';
import { ECHO_DEADLINE_MS } from '@mastline/agent/modem-plane/exit-address';
import { PROBE_DEADLINE_MS } from '@mastline/agent/modem-plane/health/probe';
import { createModemPlane, type RotatingModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import type { ModemPlaneOptions } from '@mastline/agent/modem-plane/plane-options';
import type { AddressSlot } from '@mastline/agent/modem-plane/slot-config';
import type { SlotSource } from '@mastline/agent/modem-plane/slot-source';
import { quietLog } from '@mastline/agent/observe/log';
import { type Clock, sleep } from '@mastline/shared/base/clock';
import type { SlotReport } from '@mastline/shared/domain/modem';
import { VirtualCarrier } from '../../../simulators/carrier';
import type { HilinkKnobs } from '../../../simulators/hilink-knobs';
import { type HilinkModem, startHilinkModem } from '../../../simulators/hilink-modem';
import { identityOf } from '../../../simulators/hilink-replies';
import { type FakeClock, fakeClock } from '../../../support/clock';
import { tempDir } from '../../../support/temp';

const STEP_MS = 100;
/** A wait of one of these lengths is a request that is under way; nothing else may wait so long. */
export const ASKING_MS: ReadonlySet<number> = new Set([API_DEADLINE_MS, PROBE_DEADLINE_MS, ECHO_DEADLINE_MS]);
/** The sticks' own times, in virtual milliseconds. */
export const DEVICE = {
  leavesUsbMs: 500,
  offMs: 2000,
  backMs: 3000,
  bootMs: 8000,
  registerMs: 3000,
  connectMs: 2000,
};
/** Real milliseconds that a request to a living server may take before the rig calls it a fault of its own. */
const REAL_PATIENCE_MS = 10_000;

/** What mends a stick that is dead; the harsher way mends it, too. */
export type Cure = 'reconnect' | 'reset' | 'rebind' | 'power' | 'nothing';
export type Death = 'api' | 'data' | 'usb' | 'hung';

export class Stick {
  readonly address: string;
  readonly usbPath: string;
  plugged = true;
  powered = false;
  /** In the place of the echo service. */
  page: { status: number; headers: Record<string, string>; body: string } | null = null;
  cure: Cure = 'reconnect';
  /** Virtual milliseconds that the stick itself was away, on its way or busy. */
  ownMs = 0;
  readonly cycles: PowerWay[] = [];
  linked = false;
  carries = true;
  carrier!: VirtualCarrier;
  modem!: HilinkModem;
  /** Requests that it has taken and will not answer. */
  held = 0;
  readonly sockets = new Set<Socket>();
  death: Death | null = null;

  constructor(
    readonly slot: number,
    network: number,
  ) {
    this.address = `127.91.${network}.${slot + 1}`;
    this.usbPath = `1-1.${slot}`;
  }
}

export interface RigOptions {
  sticks?: number;
  knobs?: Partial<HilinkKnobs>;
  plane?: Partial<ModemPlaneOptions>;
  /** Kept from an earlier rig: the data directory. */
  dataDir?: string;
  conflicts?: SlotSource['conflicts'];
  /** Seeds the moment at which things happen. */
  network?: number;
}

export class Rig {
  readonly sticks: Stick[] = [];
  readonly base: FakeClock = fakeClock();
  readonly clock: Clock;
  plane!: RotatingModemPlane;
  dataDir = '';
  /** Asked of the echo service, over all sticks. */
  probes = 0;
  #asking = 0;
  #echo!: Server;
  #listeners: (() => void)[] = [];
  #remove: () => Promise<void> = async () => undefined;
  #driving = true;
  #driver: Promise<void> = Promise.resolve();

  private constructor() {
    this.clock = {
      ...this.base,
      after: (ms, run) => {
        if (!ASKING_MS.has(ms)) return this.base.after(ms, run);
        this.#asking += 1;
        let done = false;
        const end = () => {
          if (!done) this.#asking -= 1;
          done = true;
        };
        const timer = this.base.after(ms, () => {
          end();
          run();
        });
        return {
          cancel: () => {
            end();
            timer.cancel();
          },
        };
      },
    };
  }

  static async start(options: RigOptions = {}): Promise<Rig> {
    const rig = new Rig();
    const dir = options.dataDir === undefined ? await tempDir('recovery') : null;
    if (dir) rig.#remove = dir.remove;
    rig.dataDir = options.dataDir ?? dir?.path ?? '';
    rig.#echo = await rig.#startEcho();
    for (let slot = 1; slot <= (options.sticks ?? 1); slot += 1)
      rig.sticks.push(await rig.#makeStick(slot, options));
    const echo = rig.#echo.address() as AddressInfo;
    rig.plane = createModemPlane({
      slots: [],
      sources: [rig.#source(options)],
      echoUrls: [`http://127.0.0.1:${echo.port}/ip`],
      dataDir: rig.dataDir,
      clock: rig.clock,
      log: quietLog,
      openFlows: async () => 0,
      ...options.plane,
      recovery: {
        cycleUsb: (usbPath, { way }) => rig.#cycle(usbPath, way),
        ...options.plane?.recovery,
      },
    });
    rig.#driver = rig.#drive();
    await rig.plane.start();
    return rig;
  }

  now(): number {
    return this.clock.monotonicMs();
  }

  report(slot = 1): SlotReport {
    const found = this.plane.slots().find(one => one.slot === slot);
    if (!found) throw new Error(`there is no slot ${slot}`);
    return found;
  }

  stick(slot = 1): Stick {
    const found = this.sticks.find(one => one.slot === slot);
    if (!found) throw new Error(`there is no stick ${slot}`);
    return found;
  }

  /** Resolves when `holds`; rejects after so much virtual time. */
  async until(holds: () => boolean, what: string, virtualMs = 20 * 60_000): Promise<void> {
    const end = this.now() + virtualMs;
    while (!holds()) {
      if (this.now() > end)
        throw new Error(`not within ${virtualMs / 1000} s: ${what}; ${JSON.stringify(this.plane.slots())}`);
      await new Promise(resolve => setImmediate(resolve));
    }
  }

  /** Lets so much virtual time pass. */
  pass(ms: number): Promise<void> {
    // Not the agent's clock: it would be taken for a request of the agent's.
    return sleep(this.base, ms);
  }

  /** The stick dies in one of the ways that sticks have; `cure` is the gentlest thing that helps. */
  async kill(stick: Stick, death: Death, cure: Cure): Promise<void> {
    // Between two requests: one that is half through would be neither answered nor held.
    while (this.#asking > this.#held()) await new Promise(resolve => setImmediate(resolve));
    stick.death = death;
    stick.cure = cure;
    if (death === 'usb') {
      await stick.modem.setMode('dead');
      await this.#unplug(stick);
      return;
    }
    if (death === 'api' || death === 'hung') {
      await stick.modem.setMode('hang');
      // What comes on a connection of before would not be known to be held.
      for (const socket of stick.sockets) socket.destroy();
    }
    if (death === 'data' || death === 'hung') await stick.carrier.setCarries(false);
  }

  /** Well again, as after a boot. */
  async heal(stick: Stick): Promise<void> {
    stick.death = null;
    await stick.carrier.setCarries(true);
    if (!stick.plugged) await this.#plugIn(stick);
    await stick.modem.setMode('up');
  }

  tell(): void {
    for (const listener of this.#listeners) listener();
  }

  async close(keepData = false): Promise<void> {
    await this.plane.close();
    this.#driving = false;
    await this.#driver;
    for (const { modem, carrier } of this.sticks) {
      await modem.close();
      await carrier.close();
    }
    await new Promise<void>(resolve => {
      this.#echo.close(() => resolve());
      this.#closeEcho();
    });
    if (!keepData) await this.#remove();
  }

  #held(): number {
    return this.sticks.reduce((sum, one) => sum + one.held, 0);
  }

  /** Moves time on, a step at a time, while nobody waits for an answer that will come. */
  async #drive(): Promise<void> {
    let waitedSince = performance.now();
    while (this.#driving) {
      const held = this.#held();
      if (this.#asking > held) {
        if (performance.now() - waitedSince > REAL_PATIENCE_MS)
          throw new Error(`${this.#asking} requests are under way and ${held} of them are held`);
        await new Promise(resolve => setImmediate(resolve));
        continue;
      }
      waitedSince = performance.now();
      for (const stick of this.sticks) if (!stick.powered) await this.#powerOn(stick);
      await this.base.advance(STEP_MS);
    }
  }

  #source(options: RigOptions): SlotSource {
    const configs = (): AddressSlot[] =>
      this.sticks
        .filter(one => one.plugged)
        .map(one => ({
          slot: one.slot,
          usbPath: one.usbPath,
          sourceAddress: one.address,
          api: { kind: 'hilink', url: `http://127.0.0.1:${this.#ports.get(one)}` },
          dnsServers: [],
          virtual: true,
        }));
    return {
      start: async () => undefined,
      slots: configs,
      whyAbsent: ({ usbPath }) => `nothing is plugged in at USB ${usbPath}`,
      isPluggedIn: usbPath => this.sticks.some(one => one.usbPath === usbPath && one.plugged),
      ...(options.conflicts ? { conflicts: options.conflicts } : {}),
      onChange: listener => void this.#listeners.push(listener),
      close: async () => undefined,
    };
  }

  readonly #ports = new Map<Stick, number>();

  async #makeStick(slot: number, options: RigOptions): Promise<Stick> {
    const stick = new Stick(slot, options.network ?? 1);
    stick.carrier = new VirtualCarrier({
      pool: Array.from({ length: 10 }, (_, i) => `198.51.100.${slot * 10 + i}`),
      clock: this.base,
      apply: async link => {
        stick.linked = link.address !== null;
        stick.carries = link.carries;
        if (!stick.linked && stick.death === 'data' && stick.cure === 'reconnect') this.#cureData(stick);
      },
      onFailure: error => {
        throw error;
      },
      registrationDelayMs: DEVICE.registerMs,
      connectDelayMs: DEVICE.connectMs,
    });
    stick.modem = await startHilinkModem({
      identity: identityOf(9, slot),
      carrier: stick.carrier,
      wanAddress: session => `10.0.${slot}.${1 + (session % 250)}`,
      dnsServers: ['127.0.0.1'],
      listen: () => this.#listen(stick),
      bytes: async () => ({ up: 0, down: 0 }),
      knobs: { rebootMs: DEVICE.bootMs, ...options.knobs },
      clock: this.base,
    });
    await this.#powerOn(stick);
    return stick;
  }

  /** A locked SIM registers nowhere. */
  async #powerOn(stick: Stick): Promise<void> {
    if (stick.modem.knobs.sim !== 'ready') return;
    stick.powered = true;
    await stick.carrier.powerOn();
  }

  #cureData(stick: Stick): void {
    stick.death = null;
    stick.ownMs += DEVICE.connectMs;
    // In its own turn: the carrier is applying a change just now.
    setImmediate(() => void stick.carrier.setCarries(true));
  }

  #listen(stick: Stick): Promise<Server> {
    const boots = this.#ports.has(stick);
    if (boots && stick.death === 'data' && stick.cure === 'reset') this.#cureData(stick);
    const server = createServer();
    server.on('connection', socket => {
      stick.sockets.add(socket);
      socket.once('close', () => stick.sockets.delete(socket));
      if (stick.modem?.mode() !== 'hang') return;
      stick.held += 1;
      socket.once('close', () => {
        stick.held -= 1;
      });
    });
    return new Promise((resolve, reject) => {
      server.once('error', reject);
      server.listen({ host: '127.0.0.1', port: this.#ports.get(stick) ?? 0 }, () => {
        this.#ports.set(stick, (server.address() as AddressInfo).port);
        resolve(server);
      });
    });
  }

  #closeEcho: () => void = () => undefined;

  #startEcho(): Promise<Server> {
    const server = createHttpServer((request, response) => {
      this.probes += 1;
      const stick = this.sticks.find(one => one.address === request.socket.remoteAddress);
      if (!stick?.linked) return void request.socket.resetAndDestroy();
      if (!stick.carries) {
        // Packets that vanish: the question waits until its asker gives up.
        stick.held += 1;
        request.socket.once('close', () => {
          stick.held -= 1;
        });
        return;
      }
      if (stick.page) {
        response.writeHead(stick.page.status, stick.page.headers).end(stick.page.body);
        return;
      }
      response
        .writeHead(200, { 'content-type': 'text/plain' })
        .end(`${stick.carrier.status().address ?? stick.address}\n`);
    });
    this.#closeEcho = () => server.closeAllConnections();
    return new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(server)));
  }

  async #unplug(stick: Stick): Promise<void> {
    stick.plugged = false;
    await stick.carrier.hangUp();
    this.tell();
  }

  async #plugIn(stick: Stick): Promise<void> {
    stick.plugged = true;
    this.tell();
  }

  /** What a hub and a stick do when the stick is taken off USB; it boots only when it lost its power. */
  async #cycle(usbPath: string, way: PowerWay): Promise<PowerOutcome> {
    const stick = this.sticks.find(one => one.usbPath === usbPath);
    if (!stick) throw new Error(`no stick at ${usbPath}`);
    stick.cycles.push(way);
    const begun = this.now();
    const cured =
      way === 'power' ? stick.cure !== 'nothing' : stick.cure === 'rebind' || stick.cure === 'reconnect';
    const wasPlugged = stick.plugged;
    if (way !== 'power' && !wasPlugged)
      return { kind: 'failed', reason: `there is nothing at USB ${usbPath}`, stillThere: false };
    await this.pass(DEVICE.leavesUsbMs);
    if (wasPlugged) await this.#unplug(stick);
    await this.pass(DEVICE.offMs);
    if (stick.death === 'usb' && !cured)
      return { kind: 'failed', reason: `USB ${usbPath} did not come back`, stillThere: false };
    await this.pass(DEVICE.backMs);
    if (way === 'power') await stick.modem.setMode('dead');
    if (cured) {
      stick.death = null;
      await stick.carrier.setCarries(true);
    }
    await this.#plugIn(stick);
    const boots = way === 'power' ? DEVICE.bootMs : 0;
    stick.ownMs += this.now() - begun + boots + DEVICE.registerMs + DEVICE.connectMs;
    this.base.after(boots, () => {
      stick.carrier.register();
      const mode = stick.death === 'hung' || stick.death === 'api' ? 'hang' : 'up';
      void stick.modem.setMode(mode);
    });
    return { kind: 'done', tookMs: this.now() - begun, certain: true };
  }
}
