/**
 * What rotations cost beyond what the modem and its carrier take, and what customers notice of them: rootless virtual
 * modems, each the first choice of an endpoint of its own and the second of its neighbour's, half of them rotated at
 * a time while clients open flows all along and one flow on each rotating modem talks on into its grace period.
 *
 *   npm run bench:rotation -- [--rotations 200] [--modems 20] [--json FILE]
 *
 * Overhead of a rotation: from the request to the answer, less the profile's dwell, the carrier's connect delay, and
 * the time in which the last flow of its grace period still ran. Ends with 0 when the goals are met.
 */
import { writeFileSync } from 'node:fs';
import { setTimeout as wait } from 'node:timers/promises';
import { createDataPlane } from '@mastline/agent/data-plane/data-plane';
import { createModemPlane } from '@mastline/agent/modem-plane/modem-plane';
import { createLog, quietLog } from '@mastline/agent/observe/log';
import { systemClock } from '@mastline/shared/base/clock';
import type { RotationRecord } from '@mastline/shared/domain/rotation';
import { buildAgent } from '../../installer/local/build';
import { socks5 } from '../agent/data-plane/clients';
import { credential, endpoint, memorySink } from '../agent/data-plane/rig';
import { readFlags } from '../support/flags';
import { freePort } from '../support/free-port';
import { tempDir } from '../support/temp';
import { startVirtualNetwork } from '../support/virtual-network';
import { describeMachine, machineLines } from './machine';
import { percentileOf } from './statistics';

const GOALS = { p50Ms: 500, p95Ms: 1500 };
/** Between two flows of one client. */
const FLOW_EVERY_MS = 250;
/** A flow in its grace period asks so often, with a pause each. */
const GRACE_QUESTIONS = 4;
const GRACE_PAUSE_MS = 400;
/** What the virtual carriers take to connect (test/support/virtual-network.ts). */
const CONNECT_MS = 100;

export interface RotationFigures {
  rotations: number;
  rotated: number;
  /** Milliseconds on top of what modem and carrier take. */
  overheadP50Ms: number;
  overheadP95Ms: number;
  overheadMaxMs: number;
  newFlows: number;
  newFlowsRefused: number;
  graceFlows: number;
  graceFlowsCut: number;
  /** What went wrong, by kind. */
  problems: Record<string, number>;
}

/** Runs at least so many rotations over so many modems. */
export async function measureRotations(options: {
  rotations: number;
  modems: number;
}): Promise<RotationFigures> {
  const dir = await tempDir('bench-rotation');
  const net = await startVirtualNetwork(dir.path, 'rootless', ['--modems', String(options.modems)]);
  const dwellMs = new Map<string, number>();
  const log = createLog({ level: 'info', write: line => noteDwell(dwellMs, JSON.parse(line)) });
  const slots = net.ready.slots.map(one => one.slot);
  // As in a node: a drain is told to threads that carry the flows.
  await buildAgent();
  const dataPlane = createDataPlane({ sink: memorySink(), log: quietLog, apart: true });
  const modems = createModemPlane({
    slots: net.ready.slots,
    echoUrls: net.ready.echoUrls,
    dataDir: dir.path,
    clock: systemClock,
    log,
    openFlows: slot => dataPlane.openFlows(slot),
    rotation: { limits: { coolDownMs: 0, perHour: 100_000, perDay: 100_000 } },
  });
  const problems: Record<string, number> = {};
  const problem = (kind: string) => {
    problems[kind] = (problems[kind] ?? 0) + 1;
  };
  const sum = { newFlows: 0, newFlowsRefused: 0, graceFlows: 0, graceFlowsCut: 0 };
  const records: RotationRecord[] = [];
  const overheads: number[] = [];
  let over = false;
  try {
    await modems.start();
    const ports = await Promise.all(slots.map(() => freePort()));
    const apply = () =>
      dataPlane.apply({
        endpoints: slots.map((slot, i) =>
          endpoint(ports[i] ?? 0, { id: `e${slot}`, slots: [slot, slots[(i + 1) % slots.length] ?? slot] }),
        ),
        credentials: [credential()],
        egresses: modems.egresses(),
        allowTargets: ['127.0.0.0/8'],
      });
    await apply();
    modems.onChange(() => void apply());
    const { origin } = net.ready;

    const clients = ports.map(async (port, i) => {
      // Spread, or they would all come in the same millisecond.
      await wait((FLOW_EVERY_MS * i) / ports.length);
      while (!over) {
        sum.newFlows += 1;
        const refusal = await shortFlow(port, origin);
        if (refusal !== null) {
          sum.newFlowsRefused += 1;
          problem(refusal);
        }
        await wait(FLOW_EVERY_MS);
      }
    });

    for (let half = 0; records.length < options.rotations; half = 1 - half)
      await Promise.all(
        slots.map(async (slot, i) => {
          if (i % 2 !== half) return;
          sum.graceFlows += 1;
          const talk = await openTalk(ports[i] ?? 0, origin);
          const begunMs = performance.now();
          const [record, end] = await Promise.all([
            modems.rotations
              .rotate(slot, { askedFor: 'bench' })
              .then(one => ({ one, atMs: performance.now() })),
            talk(),
          ]);
          if (end.problem !== null) {
            sum.graceFlowsCut += 1;
            problem(end.problem);
          }
          records.push(record.one);
          if (record.one.outcome !== 'rotated') {
            problem(`${record.one.outcome}: ${record.one.reason}`);
            return;
          }
          const dwell = dwellMs.get(`${slot} ${record.one.tookMs}`) ?? 4000;
          overheads.push(record.atMs - begunMs - dwell - CONNECT_MS - Math.max(0, end.endedMs - begunMs));
        }),
      );
    over = true;
    await Promise.all(clients);
  } finally {
    over = true;
    await dataPlane.close(0);
    await modems.close();
    await net.stop();
    await dir.remove();
  }
  return {
    rotations: records.length,
    rotated: records.filter(one => one.outcome === 'rotated').length,
    overheadP50Ms: Math.round(percentileOf(overheads, 0.5)),
    overheadP95Ms: Math.round(percentileOf(overheads, 0.95)),
    overheadMaxMs: Math.round(percentileOf(overheads, 1)),
    ...sum,
    problems,
  };
}

/** The dwells of all attempts together, from the supervisor's line about a rotation. */
function noteDwell(dwellMs: Map<string, number>, line: Record<string, unknown>): void {
  if (line.msg !== 'rotation' || !Array.isArray(line.attempts)) return;
  const dwells = (line.attempts as { dwellMs: number }[]).map(one => one.dwellMs);
  dwellMs.set(
    `${line.slot} ${line.tookMs}`,
    dwells.reduce((all, one) => all + one, 0),
  );
}

type Origin = { address: string; port: number };
const question = (close: boolean) =>
  `GET /bytes/1000 HTTP/1.1\r\nHost: origin\r\n${close ? 'Connection: close\r\n' : ''}\r\n`;

/** One request and its answer; null when all went well. */
async function shortFlow(port: number, origin: Origin): Promise<string | null> {
  try {
    const { socket, reply } = await socks5(port, { host: origin.address, port: origin.port });
    if (!socket) return `refused with ${reply}`;
    const answered = bytesOf(socket, 1000);
    socket.write(question(true));
    const bytes = await answered;
    socket.destroy();
    return bytes >= 1000 ? null : 'a new flow was cut';
  } catch (error) {
    return `a new flow: ${error instanceof Error ? error.message : String(error)}`;
  }
}

/** Opens a flow now; the talk begins when called and says when it ended, and how. */
async function openTalk(
  port: number,
  origin: Origin,
): Promise<() => Promise<{ endedMs: number; problem: string | null }>> {
  const { socket, reply } = await socks5(port, { host: origin.address, port: origin.port });
  return async () => {
    if (!socket) return { endedMs: performance.now(), problem: `refused with ${reply}` };
    for (let i = 0; i < GRACE_QUESTIONS; i += 1) {
      const answered = bytesOf(socket, 1000);
      socket.write(question(false));
      if ((await answered) < 1000)
        return { endedMs: performance.now(), problem: 'a flow was cut in its grace' };
      await wait(GRACE_PAUSE_MS);
    }
    socket.destroy();
    return { endedMs: performance.now(), problem: null };
  };
}

/** Bytes until `wanted` have come or the socket is over. */
function bytesOf(socket: import('node:net').Socket, wanted: number): Promise<number> {
  return new Promise(resolve => {
    let got = 0;
    const finish = () => {
      socket.off('data', take);
      socket.off('close', finish);
      resolve(got);
    };
    const take = (bytes: Buffer) => {
      got += bytes.length;
      if (got >= wanted) finish();
    };
    socket.on('data', take);
    socket.once('close', finish);
    socket.resume();
  });
}

/** The figures against the goals, for people. */
export function rotationLines(figures: RotationFigures): { lines: string[]; met: boolean } {
  const goals: [string, boolean][] = [
    [`overhead p50 ${figures.overheadP50Ms} ms (goal ${GOALS.p50Ms})`, figures.overheadP50Ms <= GOALS.p50Ms],
    [`overhead p95 ${figures.overheadP95Ms} ms (goal ${GOALS.p95Ms})`, figures.overheadP95Ms <= GOALS.p95Ms],
    [
      `new flows refused while a sibling was up: ${figures.newFlowsRefused} of ${figures.newFlows} (goal 0)`,
      figures.newFlowsRefused === 0 && figures.newFlows > 0,
    ],
    [
      `flows cut in their grace period: ${figures.graceFlowsCut} of ${figures.graceFlows} (goal 0)`,
      figures.graceFlowsCut === 0 && figures.graceFlows > 0,
    ],
    [`rotated: ${figures.rotated} of ${figures.rotations}`, figures.rotated === figures.rotations],
  ];
  const lines = goals.map(([text, met]) => `${met ? 'met   ' : 'MISSED'} ${text}`);
  for (const [kind, count] of Object.entries(figures.problems)) lines.push(`       ${count} × ${kind}`);
  return { lines, met: goals.every(([, met]) => met) };
}

if (process.argv[1] === import.meta.filename) {
  const values = readFlags({
    rotations: { type: 'string', default: '200' },
    modems: { type: 'string', default: '20' },
    json: { type: 'string' },
  });
  const whole = (name: 'rotations' | 'modems', least: number, most: number) => {
    const value = Number(values[name]);
    if (Number.isInteger(value) && value >= least && value <= most) return value;
    console.error(`--${name} must be a whole number from ${least} to ${most}`);
    process.exit(2);
  };
  const wanted = { rotations: whole('rotations', 1, 100_000), modems: whole('modems', 2, 24) };
  const machine = describeMachine(0);
  for (const line of machineLines(machine)) console.log(line);
  const figures = await measureRotations(wanted);
  const { lines, met } = rotationLines(figures);
  for (const line of lines) console.log(line);
  console.log(`worst overhead ${figures.overheadMaxMs} ms; ${values.modems} modems, half of them at a time`);
  if (values.json !== undefined)
    writeFileSync(values.json, `${JSON.stringify({ machine, figures }, null, 2)}\n`);
  process.exitCode = met ? 0 : 1;
}
