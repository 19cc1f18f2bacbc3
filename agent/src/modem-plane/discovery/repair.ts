/**
 * Makes a stick usable that plays CD or sits in the wrong USB configuration: a few tries with pauses, then a last
 * resort, then a person is told. Which sticks need it is assess.ts's; when it is attended to, discovery.ts's.
 */
import type { Clock } from '@mastline/shared/base/clock';
import { sleep } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { Log } from '../../observe/log';
import type { Assessment } from './assess';
import type { RunTool } from './run-tool';
import type { WriteAttribute } from './sysfs';
import type { SystemRoots } from './system-roots';
import { deviceFolder, type UsbDevice } from './usb-tree';

/** A switched stick is gone and back within a few seconds; it is not asked again sooner. */
export const REPAIR_PAUSE_MS = 10_000;
export const REPAIR_TRIES = 3;
/** A path that has been in order for this long begins with all tries again. */
const FORGET_AFTER_MS = 5 * 60_000;
const MODESWITCH_DEADLINE_MS = 15_000;
/** Shorter, and some hubs do not notice. */
export const AUTHORIZED_OFF_MS = 2000;

export interface RepairFrame {
  roots: SystemRoots;
  clock: Clock;
  log: Log;
  write: WriteAttribute;
  runTool: RunTool;
}

/** What is said of a stick that cannot be used yet. */
export interface RepairState {
  /** Another try will come. */
  hopeful: boolean;
  reason: string;
  remedy: string;
}

interface Case {
  tries: number;
  nextAt: number;
  touchedAt: number;
  busy: boolean;
  trouble: { reason: string; remedy: string } | null;
}

type Ailment = Assessment & { kind: 'zero-cd' | 'wrong-configuration' };

export class Repairs {
  readonly #frame: RepairFrame;
  readonly #cases = new Map<string, Case>();
  readonly #abort = new AbortController();
  #running = new Set<Promise<void>>();

  constructor(frame: RepairFrame) {
    this.#frame = frame;
  }

  /** Tries what is due for this stick, in the background, and says how things stand. */
  attend(device: UsbDevice, ailment: Ailment): RepairState {
    const now = this.#frame.clock.monotonicMs();
    const before = this.#cases.get(device.path);
    const one =
      before && now - before.touchedAt < FORGET_AFTER_MS
        ? before
        : { tries: 0, nextAt: now, touchedAt: now, busy: false, trouble: null };
    this.#cases.set(device.path, one);
    const impossible = ailment.kind === 'wrong-configuration' && ailment.wanted === null;
    // The last resort is one try more.
    const exhausted = one.tries > REPAIR_TRIES;
    if (!impossible && !exhausted && !one.busy && now >= one.nextAt && !this.#abort.signal.aborted)
      this.#try(device, ailment, one);
    return stateOf(ailment, one, impossible);
  }

  /** Ends pauses and waits for what is under way. */
  async close(): Promise<void> {
    this.#abort.abort();
    await Promise.all(this.#running);
  }

  #try(device: UsbDevice, ailment: Ailment, one: Case): void {
    const { clock, log } = this.#frame;
    one.tries += 1;
    one.busy = true;
    one.touchedAt = clock.monotonicMs();
    const last = one.tries > REPAIR_TRIES;
    const work = last
      ? this.#switchOffAndOn(device)
      : ailment.kind === 'zero-cd'
        ? this.#switchMode(device)
        : this.#configure(device, ailment.wanted ?? 0);
    log.info('repairing a USB device', { usbPath: device.path, ailment: ailment.kind, attempt: one.tries });
    const done = work
      .then(
        () => {
          one.trouble = null;
        },
        error => {
          one.trouble = troubleOf(error);
          log.warn('repair failed', { usbPath: device.path, error });
        },
      )
      .finally(() => {
        one.busy = false;
        one.nextAt = clock.monotonicMs() + REPAIR_PAUSE_MS;
        this.#running.delete(done);
      });
    this.#running.add(done);
  }

  /** By bus and device number: sticks of one model have the same ids. `-J` is the message that all Huawei sticks know. */
  async #switchMode(device: UsbDevice): Promise<void> {
    await this.#frame.runTool(
      'usb_modeswitch',
      [
        ...['-v', device.vendorId, '-p', device.productId],
        ...['-b', device.path.split('-')[0] ?? '', '-g', String(device.deviceNumber), '-J'],
      ],
      MODESWITCH_DEADLINE_MS,
    );
  }

  /** A driver that holds the old configuration makes the kernel say EBUSY; without any (-1) it lets go. */
  async #configure(device: UsbDevice, value: number): Promise<void> {
    const file = `${deviceFolder(this.#frame.roots, device.path)}/bConfigurationValue`;
    try {
      await this.#frame.write(file, String(value));
    } catch (error) {
      if (codeOf(error) !== 'usb/busy') throw error;
      await this.#frame.write(file, '-1');
      await this.#frame.write(file, String(value));
    }
  }

  async #switchOffAndOn(device: UsbDevice): Promise<void> {
    const file = `${deviceFolder(this.#frame.roots, device.path)}/authorized`;
    await this.#frame.write(file, '0');
    try {
      await sleep(this.#frame.clock, AUTHORIZED_OFF_MS, this.#abort.signal);
    } catch (error) {
      if (!this.#abort.signal.aborted) throw error;
    } finally {
      await this.#frame.write(file, '1');
    }
  }
}

function stateOf(ailment: Ailment, one: Case, impossible: boolean): RepairState {
  const what =
    ailment.kind === 'zero-cd' ? 'the stick still shows its CD of Windows drivers' : ailment.reason;
  if (impossible)
    return {
      hopeful: false,
      reason: `${what}, and it offers no configuration with ECM or RNDIS`,
      remedy: 'Give the stick HiLink firmware, or use another one.',
    };
  const hopeful = one.tries <= REPAIR_TRIES || one.busy;
  const tried = one.trouble === null ? '' : `; ${one.trouble.reason}`;
  return {
    hopeful,
    reason: hopeful
      ? `${what}; being switched (try ${one.tries})${tried}`
      : `${what}, after ${one.tries} tries${tried}`,
    remedy: one.trouble?.remedy ?? (hopeful ? '' : 'Unplug the stick and plug it in again.'),
  };
}

function troubleOf(error: unknown): { reason: string; remedy: string } {
  if (codeOf(error) === 'tool/missing')
    return {
      reason: 'usb_modeswitch is not installed',
      remedy: 'Install it: apt-get install -y usb-modeswitch',
    };
  const reason = messageOf(error);
  return {
    reason,
    remedy: error instanceof CodedError && error.userMessage !== reason ? error.userMessage : '',
  };
}
