/**
 * A thread that carries bytes: one lane, told by messages what the control thread tells its own lane by calls
 * (lane-thread.ts is the other end). Limits and the usage window are shared memory; usage goes to the control thread,
 * who commits it.
 */
import { parentPort, workerData } from 'node:worker_threads';
import { systemClock } from '@mastline/shared/base/clock';
import { CodedError, messageOf } from '@mastline/shared/base/coded-error';
import type { Log, LogFields, LogLevel } from '../observe/log';
import type { RotateOutcome, ServicePlan } from '../ports';
import { duplicateListeners } from './duplicate-listener';
import { Lane } from './lane';
import type { FromLane, LaneRequest, LaneSetup, OpenedPorts, OpenPort, ToLane } from './lane-messages';
import type { ListenPlace } from './listener';

const port = parentPort;
if (!port) throw new Error('data-plane.worker runs as a worker thread only');
const { limits, memory, first, notes: isNoting } = workerData as LaneSetup;
const say = (message: FromLane) => port.postMessage(message);

const rotations = new Map<number, (outcome: RotateOutcome) => void>();
let nextRotation = 1;

const lane = new Lane({
  limits,
  memory,
  first,
  clock: systemClock,
  log: distantLog([]),
  hand: deltas => say({ kind: 'deltas', deltas }),
  // The control thread is told by the spool and gives the window back, which is shared memory.
  settle: () => undefined,
  note: isNoting ? notes => say({ kind: 'notes', notes }) : undefined,
  rotate: request =>
    new Promise(resolve => {
      const id = nextRotation++;
      rotations.set(id, resolve);
      say({ kind: 'rotate', id, request });
    }),
});

port.on('message', (message: ToLane) => {
  if (message.kind === 'released') lane.released(message.slots);
  else if (message.kind === 'host-changed') lane.hostChanged(message.hostRanges);
  else if (message.kind === 'rotated') {
    rotations.get(message.id)?.(message.outcome);
    rotations.delete(message.id);
  } else void answer(message.id, message.request);
});

async function answer(id: number, request: LaneRequest): Promise<void> {
  try {
    const opened = await perform(request);
    say({ kind: 'answer', id, answer: { report: lane.report(), opened } });
    if (request.kind === 'close') port?.close();
  } catch (error) {
    const { code, message, userMessage } =
      error instanceof CodedError ? error : new CodedError('data-plane/fault', messageOf(error));
    say({ kind: 'failed', id, code, message, userMessage });
  }
}

async function perform(request: LaneRequest): Promise<OpenedPorts | null> {
  switch (request.kind) {
    case 'adopt':
      await lane.adopt(request.plan);
      return null;
    case 'open':
      return request.ports ? openDuplicates(request.plan, request.ports) : lane.open(request.plan);
    case 'report':
      return null;
    case 'close':
      await lane.close(request.graceMs);
      return null;
  }
}

/** The first lane opens ports; this one listens on duplicates of them. */
async function openDuplicates(plan: ServicePlan, ports: OpenPort[]): Promise<OpenedPorts> {
  const missing = ports.filter(([endpointId]) => !lane.listensOn(endpointId));
  const handles = await duplicateListeners(
    missing.map(([, fd]) => fd),
    systemClock,
  );
  const places = new Map<string, ListenPlace>();
  missing.forEach(([endpointId], at) => {
    const handle = handles[at];
    if (handle) places.set(endpointId, { handle });
  });
  return lane.open({ ...plan, endpoints: plan.endpoints.filter(({ id }) => places.has(id)) }, places);
}

/** Lines of this thread are written by the control thread, where the log's settings are. */
function distantLog(part: string[], standing: LogFields = {}): Log {
  const line = (level: LogLevel) => (message: string, fields?: LogFields) =>
    say({ kind: 'log', level, part, message, fields: { ...standing, ...fields } });
  return {
    debug: line('debug'),
    info: line('info'),
    warn: line('warn'),
    error: line('error'),
    child: (name, fields) => distantLog([...part, name], { ...standing, ...fields }),
  };
}
