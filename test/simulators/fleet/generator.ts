/**
 * A process that plays a part of the fleet: its agents, one sweep for all of them, and figures to its parent every
 * second. What it is told is messages.ts; an agent's own behaviour is fleet-agent.ts.
 */
import { seeded } from '../../support/random';
import { FleetAgent } from './fleet-agent';
import type { FromGenerator, GeneratorFigures, ToGenerator } from './messages';

const SWEEP_MS = 1_000;

type Begin = Extract<ToGenerator, { is: 'begin' }>;

function tell(message: FromGenerator): void {
  process.send?.(message);
}

const agents: FleetAgent[] = [];
const liars: number[] = [];
const timers: NodeJS.Timeout[] = [];
let begun: Begin | undefined;
let settling = false;
let figures = noFigures();

function noFigures(): GeneratorFigures {
  return {
    is: 'figures',
    nodes: 0,
    connected: 0,
    committed: 0,
    acknowledged: 0,
    welcomes: 0,
    reconnectSeconds: [],
    refusals: {},
    sentBytes: 0,
  };
}

function begin(message: Begin): void {
  begun = message;
  const { knobs, shape, from, to, place } = message;
  const { hostname, port } = new URL(message.url);
  const random = seeded(knobs.seed * 7_919 + from);
  const chance = (share: number) => random() < share;
  for (let index = from; index < to; index += 1) {
    const isLiar = chance(knobs.liars);
    if (isLiar) liars.push(index);
    agents.push(
      new FleetAgent({
        index,
        shape,
        traits: {
          isLiar,
          isSlow: chance(knobs.slow),
          isOld: chance(knobs.old),
          isSkewed: chance(knobs.skew),
          duplicates: knobs.duplicates,
          reorder: knobs.reorder,
        },
        random,
        place: {
          host: hostname,
          port: Number(port),
          // An address per thousand nodes: one has only so many ports.
          localAddress: `127.0.${place + 1}.${1 + Math.floor((index - from) / 1_000)}`,
        },
        events: {
          welcomed: (_agent, seconds) => {
            figures.welcomes += 1;
            if (seconds !== undefined) figures.reconnectSeconds.push(Math.round(seconds * 1000) / 1000);
          },
          lost: () => undefined,
          acknowledged: () => undefined,
          refused: code => {
            figures.refusals[code] = (figures.refusals[code] ?? 0) + 1;
          },
          bytes: up => {
            figures.sentBytes += up;
          },
        },
      }),
    );
  }
  const own = knobs.rampPerSecond / knobs.generators;
  for (const [place, agent] of agents.entries())
    timers.push(setTimeout(() => agent.start(), (place / own) * 1000));
  timers.push(setInterval(sweep, SWEEP_MS));
  // Commits are spread over the interval, as boxes do not tick together.
  const steps = Math.max(1, Math.round(knobs.every * 10));
  let step = 0;
  timers.push(
    setInterval(() => {
      if (settling) return;
      for (let i = step % steps; i < agents.length; i += steps) agents[i]?.commit();
      step += 1;
    }, 100),
  );
}

function sweep(): void {
  if (begun === undefined) return;
  const now = performance.now();
  let connected = 0;
  for (const agent of agents) {
    agent.sweep(now);
    if (agent.isUp) connected += 1;
  }
  if (!settling) {
    const drops = (agents.length * begun.knobs.churn) / 60;
    for (let i = 0; i < drops; i += 1)
      if (Math.random() < drops - i) agents[Math.floor(Math.random() * agents.length)]?.drop();
  }
  figures.nodes = agents.length;
  figures.connected = connected;
  figures.committed = agents.reduce((sum, each) => sum + each.committed, 0);
  figures.acknowledged = agents.reduce((sum, each) => sum + each.acknowledged, 0);
  tell(figures);
  figures = noFigures();
}

function away(): FleetAgent[] {
  const share = begun?.knobs.offline ?? 0;
  return agents.slice(0, Math.floor(agents.length * share));
}

process.on('message', (message: ToGenerator) => {
  switch (message.is) {
    case 'begin':
      return begin(message);
    case 'offline':
      for (const agent of away()) agent.goAway();
      return;
    case 'online':
      for (const agent of away()) agent.comeBack();
      return;
    case 'settle':
      settling = true;
      return;
    case 'stop': {
      for (const timer of timers) clearTimeout(timer);
      for (const agent of agents) agent.stop();
      tell({
        is: 'result',
        from: begun?.from ?? 0,
        committed: agents.map(each => each.committed),
        acknowledged: agents.map(each => each.acknowledged),
        liars,
      });
      process.disconnect();
      return;
    }
    default:
      message satisfies never;
  }
});
process.on('disconnect', () => process.exit(0));
process.on('uncaughtException', error => {
  tell({ is: 'fault', message: error.stack ?? String(error) });
  process.exitCode = 1;
  setTimeout(() => process.exit(1), 100);
});
