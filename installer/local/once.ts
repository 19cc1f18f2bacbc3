/**
 * `npm start -- --once`: one request through every endpoint in every form it speaks, then the three counts side by
 * side: what the client (and for rewritten heads the origin) saw, what the agent committed, what the ledger holds.
 * Says whether all agree; does not start anything.
 */
import { setTimeout as wait } from 'node:timers/promises';
import { messageOf } from '@mastline/shared/base/coded-error';
import { type AgentStatus, agentStatus } from './agent-client';
import type { Demo } from './demo';
import type { Endpoints, PortalClient, UsageSince } from './portal-client';
import { type Form, type ProbeResult, probe } from './probe-client';
import { type Progress, table } from './progress';

/** How long the ledger may take to hold what was just used. */
const LEDGER_DEADLINE_MS = 15_000;
const POLL_MS = 200;

export interface OnceInput {
  demo: Demo;
  portal: PortalClient;
  endpoints: Endpoints;
  agentSocket: string;
  origin: { host: string; port: number };
  progress: Progress;
}

interface Row {
  endpointId: string;
  name: string;
  forms: string;
  exits: Set<string>;
  client: Sum;
  problem: string | null;
}

interface Sum {
  upBytes: number;
  downBytes: number;
}

/** Resolves with the table and whether every row agrees. */
export async function runOnce(input: OnceInput): Promise<{ text: string; agree: boolean }> {
  const { portal } = input;
  const begun = Date.now() - (Date.now() % 60_000);
  const before = { agent: await agentStatus(input.agentSocket), ledger: await portal.usageSince(begun) };

  const rows = await input.progress.step(
    'requests through every endpoint',
    () => Promise.all(input.endpoints.map(endpoint => probeEndpoint(input, endpoint))),
    all => `${all.filter(row => row.problem === null).length} of ${all.length} endpoints answered`,
  );

  let agent = before.agent;
  let ledger = before.ledger;
  const agreed = () =>
    rows.every(row => {
      const a = agentSum(agent, before.agent, row.endpointId);
      const l = ledgerSum(ledger, before.ledger, row.endpointId);
      return row.problem === null && same(a, row.client) && same(l, row.client);
    });
  await input.progress.step('waiting until the usage is in the ledger', async () => {
    const deadline = performance.now() + LEDGER_DEADLINE_MS;
    while (performance.now() < deadline) {
      [agent, ledger] = await Promise.all([agentStatus(input.agentSocket), portal.usageSince(begun)]);
      if (agreed() || rows.some(row => row.problem !== null)) return;
      await wait(POLL_MS);
    }
  });

  const show = (sum: Sum) => `${sum.upBytes} / ${sum.downBytes}`;
  const lines = rows.map(row => {
    const a = agentSum(agent, before.agent, row.endpointId);
    const l = ledgerSum(ledger, before.ledger, row.endpointId);
    const fine = row.problem === null && same(a, row.client) && same(l, row.client);
    return [
      row.name,
      row.forms,
      [...row.exits].join(', ') || '-',
      show(row.client),
      show(a),
      show(l),
      fine ? 'yes' : (row.problem ?? 'NO'),
    ];
  });
  return {
    text: table([
      ['endpoint', 'requests', 'exit address', 'client up / down', 'agent', 'ledger', 'agree'],
      ...lines,
    ]),
    agree: agreed(),
  };
}

async function probeEndpoint(input: OnceInput, endpoint: Endpoints[number]): Promise<Row> {
  const forms = endpoint.protocols.flatMap((protocol): Form[] =>
    protocol === 'socks5' ? ['socks5'] : ['http connect', 'http absolute'],
  );
  const row: Row = {
    endpointId: endpoint.id,
    name: endpoint.name,
    forms: forms.join(', '),
    exits: new Set(),
    client: { upBytes: 0, downBytes: 0 },
    problem: null,
  };
  const credential = input.demo.credentials[0];
  if (!credential) return { ...row, problem: 'no credential' };
  for (const form of forms) {
    let result: ProbeResult;
    try {
      result = await probe({
        form,
        proxy: { host: endpoint.host, port: endpoint.port },
        username: credential.username,
        secret: credential.secret,
        origin: input.origin,
      });
    } catch (error) {
      row.problem = `${form}: ${messageOf(error)}`;
      return row;
    }
    row.exits.add(result.exitAddress);
    row.client.upBytes += result.upBytes;
    row.client.downBytes += result.downBytes;
  }
  return row;
}

const same = (a: Sum, b: Sum) => a.upBytes === b.upBytes && a.downBytes === b.downBytes;

function agentSum(now: AgentStatus, before: AgentStatus, endpointId: string): Sum {
  const of = (status: AgentStatus) => status.usage.find(one => one.endpointId === endpointId);
  return difference(of(now), of(before));
}

function ledgerSum(now: UsageSince, before: UsageSince, endpointId: string): Sum {
  const of = (usage: UsageSince) => usage.byEndpoint.find(one => one.endpointId === endpointId);
  return difference(of(now), of(before));
}

function difference(now: Sum | undefined, before: Sum | undefined): Sum {
  return {
    upBytes: (now?.upBytes ?? 0) - (before?.upBytes ?? 0),
    downBytes: (now?.downBytes ?? 0) - (before?.downBytes ?? 0),
  };
}
