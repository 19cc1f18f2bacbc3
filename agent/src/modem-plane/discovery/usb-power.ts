/**
 * Takes a modem off USB and back: by unbinding its driver, by `authorized`, or by cutting the power of its port. What
 * was switched off is switched on again, whatever happened; what came of it is looked up and not assumed. Whether the
 * power can be cut at all is usb-power-plan.ts's.
 */
import { join } from 'node:path';
import { type Clock, sleep } from '@mastline/shared/base/clock';
import { CodedError, codeOf, messageOf } from '@mastline/shared/base/coded-error';
import type { RunTool } from './run-tool';
import { readText, type WriteAttribute } from './sysfs';
import type { SystemRoots } from './system-roots';
import { type PowerPlan, planPower, switchableHubs } from './usb-power-plan';
import { deviceFolder, parentOf, readDevice, readUsbTree } from './usb-tree';

const UHUBCTL_DEADLINE_MS = 20_000;
const LOOK_EVERY_MS = 250;
/** Longest that a device may take to leave, and to come back. */
export const GONE_WITHIN_MS = 5000;
export const BACK_WITHIN_MS = 30_000;
/** Less, and a modem's capacitors carry it over. */
const OFF_MS = { rebind: 500, authorized: 2000, power: 5000 } as const;

export interface PowerFrame {
  roots: SystemRoots;
  clock: Clock;
  write: WriteAttribute;
  runTool: RunTool;
}

export type PowerWay = 'rebind' | 'authorized' | 'power';

export type PowerOutcome =
  | { kind: 'done'; tookMs: number; certain: boolean }
  | { kind: 'refused'; reason: string; remedy: string }
  /** `stillThere`: it never left the bus; else it left and did not come back in time. */
  | { kind: 'failed'; reason: string; stillThere: boolean };

/** Never rejects for what a hub does; rejects for our own mistakes. */
export async function cycleUsb(
  usbPath: string,
  request: { way: PowerWay; cutNeighbours?: boolean },
  frame: PowerFrame,
): Promise<PowerOutcome> {
  const { roots, clock } = frame;
  if ((await readDevice(roots, usbPath)) === null && request.way !== 'power')
    return { kind: 'failed', reason: `there is nothing at USB ${usbPath}`, stillThere: false };
  const begun = clock.monotonicMs();
  let plan: PowerPlan | null = null;
  if (request.way === 'power') {
    plan = await powerPlanOf(usbPath, request.cutNeighbours ?? false, frame);
    if (plan.kind === 'refused') return plan;
  }
  const turn = (on: boolean) =>
    plan === null ? switchDevice(usbPath, request.way, on, frame) : switchPower(plan, on, frame);
  const was = await signOfLife(usbPath, roots);
  let left = false;
  let trouble: unknown;
  try {
    await turn(false);
    left =
      was === null ||
      (await until(frame, GONE_WITHIN_MS, async () => (await signOfLife(usbPath, roots)) === null));
    await sleep(clock, OFF_MS[request.way]);
  } catch (error) {
    trouble = error;
  }
  try {
    await turn(true);
  } catch (error) {
    trouble ??= error;
  }
  if (trouble !== undefined) {
    if (!(trouble instanceof CodedError)) throw trouble;
    return { kind: 'failed', reason: trouble.userMessage, stillThere: !left };
  }
  if (!left)
    return {
      kind: 'failed',
      reason: `USB ${usbPath} did not go off within ${GONE_WITHIN_MS / 1000} s: the hub does not do what it says`,
      stillThere: true,
    };
  const back = await until(frame, BACK_WITHIN_MS, async () => (await signOfLife(usbPath, roots)) !== null);
  return back
    ? {
        kind: 'done',
        tookMs: clock.monotonicMs() - begun,
        certain: plan === null || plan.certain,
      }
    : {
        kind: 'failed',
        reason: `USB ${usbPath} was switched on again and did not come back within ${BACK_WITHIN_MS / 1000} s`,
        stillThere: false,
      };
}

/** What can be done about the power of a port, without doing it. */
export async function powerPlanOf(
  usbPath: string,
  cutNeighbours: boolean,
  frame: Pick<PowerFrame, 'roots' | 'runTool'>,
): Promise<PowerPlan> {
  const { roots } = frame;
  const { hub, port } = parentOf(usbPath);
  let switchable: string[] | null;
  try {
    switchable = switchableHubs(await frame.runTool('uhubctl', [], UHUBCTL_DEADLINE_MS));
  } catch (error) {
    if (codeOf(error) === 'tool/missing') switchable = null;
    // It says so by its exit code when no hub can be switched.
    else if (/No compatible/i.test(messageOf(error))) switchable = [];
    else if (error instanceof CodedError)
      return {
        kind: 'refused',
        reason: `uhubctl could not look at the hubs: ${error.message}`,
        remedy: 'Run the agent as root, or install the udev rule of uhubctl.',
      };
    else throw error;
  }
  const board = await readText(join(roots.sysfs, 'firmware/devicetree/base/model'));
  return planPower({
    usbPath,
    devices: await readUsbTree(roots),
    // The device tree ends its texts with a zero.
    board: board?.replaceAll('\0', '') ?? null,
    switchable,
    portFile: (await readText(portFile(roots, hub, port))) !== null,
    cutNeighbours,
  });
}

function portFile(roots: SystemRoots, hub: string, port: number): string {
  const face = hub.startsWith('usb') ? `${hub.slice(3)}-0:1.0` : `${hub}:1.0`;
  return join(deviceFolder(roots, hub), face, `${hub}-port${port}`, 'disable');
}

async function switchPower(plan: PowerPlan, on: boolean, frame: PowerFrame): Promise<void> {
  switch (plan.kind) {
    case 'refused':
      return;
    case 'port-file':
      return frame.write(portFile(frame.roots, plan.hub, plan.port), on ? '0' : '1');
    case 'uhubctl':
      for (const { hub, port } of plan.hubs)
        await frame.runTool(
          'uhubctl',
          ['-l', hub, ...(port === null ? [] : ['-p', String(port)]), '-a', on ? 'on' : 'off'],
          UHUBCTL_DEADLINE_MS,
        );
  }
}

function switchDevice(usbPath: string, way: PowerWay, on: boolean, frame: PowerFrame): Promise<void> {
  if (way === 'authorized')
    return frame.write(join(deviceFolder(frame.roots, usbPath), 'authorized'), on ? '1' : '0');
  return frame.write(join(frame.roots.sysfs, 'bus/usb/drivers/usb', on ? 'bind' : 'unbind'), usbPath);
}

/** Device number and interfaces: a device that is there without interfaces is off to everybody. */
async function signOfLife(usbPath: string, roots: SystemRoots): Promise<string | null> {
  const device = await readDevice(roots, usbPath);
  return device === null || device.interfaces.length === 0 ? null : String(device.deviceNumber);
}

async function until(frame: PowerFrame, ms: number, holds: () => Promise<boolean>): Promise<boolean> {
  const end = frame.clock.monotonicMs() + ms;
  for (;;) {
    if (await holds()) return true;
    if (frame.clock.monotonicMs() >= end) return false;
    await sleep(frame.clock, LOOK_EVERY_MS);
  }
}
