/**
 * Another address by each way there is to ask for one, on a whole Mastline with four rootless virtual modems: the
 * command on the box, the API, a secret link, a customer's user name, a schedule. Cloud, agent and simulators are
 * processes as `npm start` runs them, the customer is curl.
 */
import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { z } from 'zod';
import { agentStatus } from '../../installer/local/agent-client';
import { buildAll } from '../../installer/local/build';
import { type DataDir, openDataDir, readDemo } from '../../installer/local/demo';
import { freePorts } from '../../installer/local/ports';
import type { Program } from '../../installer/local/processes';
import { type Simulators, startAgent, startCloud, startSimulators } from '../../installer/local/product';
import { eventually } from '../support/eventually';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const test = suite('rotation by every way', { needs: ['curl'] });
const run = promisify(execFile);
const SLOTS = 4;
const DEADLINE = { deadlineMs: 90_000 };

let folder: Awaited<ReturnType<typeof tempDir>>;
let dataDir: DataDir;
let simulators: Simulators;
let cloud: Program;
let agent: { program: Program; statusSocket: string };
let ports: number[];
let cloudUrl: string;
let cookie: string;
const slotIds = new Map<number, string>();

test.before(async () => {
  if (process.env.MASTLINE_BUILT !== '1') await buildAll();
  folder = await tempDir('rotate-all');
  dataDir = openDataDir(folder.path);
  ports = await freePorts(1 + 2 * SLOTS);
  const [port = 0, ...endpointPorts] = ports;
  cloudUrl = `http://127.0.0.1:${port}`;
  simulators = await startSimulators({ dataDir, kind: 'rootless', modems: SLOTS });
  cloud = await startCloud({ dataDir, port, endpointPorts, slots: simulators.slots });
  const demo = readDemo(dataDir.at('demo.json'));
  agent = await startAgent({ dataDir, cloudUrl, simulators, allowTargets: [], claimCode: demo.claimCode });
  const session = await fetch(`${cloudUrl}/api/session`, {
    method: 'POST',
    headers: { 'content-type': 'application/json' },
    body: JSON.stringify(demo.login),
  });
  cookie = session.headers.getSetCookie()[0]?.split(';', 1)[0] ?? '';
  await eventually(async () => {
    const { modems } = Overview.parse(await trpc('overview.get'));
    for (const { slot, slotId, exitAddress } of modems) if (exitAddress !== null) slotIds.set(slot, slotId);
    const { listeners } = await agentStatus(agent.statusSocket);
    return slotIds.size === SLOTS && listeners.filter(one => one.listening).length === 2 * SLOTS;
  }, 'four modems are connected, known to the cloud and served');
});

test.after(async () => {
  await agent?.program.stop(5_000);
  await cloud?.stop(5_000);
  await simulators?.program.stop(5_000);
  dataDir?.release();
  await folder?.remove();
});

const Overview = z.looseObject({
  modems: z.array(z.looseObject({ slot: z.int(), slotId: z.string(), exitAddress: z.string().nullable() })),
});
const Rotation = z.looseObject({
  outcome: z.string().nullable(),
  oldAddress: z.string().nullable(),
  newAddress: z.string().nullable(),
  method: z.string().nullable(),
  askedFor: z.string(),
});
const Modem = z.looseObject({
  exitAddress: z.string().nullable(),
  rotations: z.array(Rotation),
});

/** A query, or with `body` a mutation, as a program calls it. */
async function trpc(
  procedure: string,
  input?: unknown,
  kind: 'query' | 'mutation' = 'query',
): Promise<unknown> {
  const url = new URL(`/api/trpc/${procedure}`, cloudUrl);
  if (kind === 'query' && input !== undefined) url.searchParams.set('input', JSON.stringify(input));
  const response = await fetch(url, {
    headers: { cookie, origin: cloudUrl, 'content-type': 'application/json' },
    ...(kind === 'mutation' ? { method: 'POST', body: JSON.stringify(input) } : {}),
    signal: AbortSignal.timeout(120_000),
  });
  const body = (await response.json()) as { result?: { data: unknown }; error?: unknown };
  assert.ok(body.result, `${procedure}: ${JSON.stringify(body.error)}`);
  return body.result.data;
}

/** What the bundled origin sees of a customer who comes through the slot's SOCKS5 endpoint. */
async function seenThrough(slot: number, parameters = ''): Promise<string> {
  const [credential] = readDemo(dataDir.at('demo.json')).credentials;
  const { host, port } = simulators.origin;
  // Before parameters a dash of the name is written twice.
  const name = parameters === '' ? credential?.username : credential?.username.replaceAll('-', '--');
  const { stdout } = await run('curl', [
    ...['-sS', '--max-time', '60', '--noproxy', ''],
    ...['--proxy', `socks5h://127.0.0.1:${ports[1 + 2 * (slot - 1)]}`],
    ...['--proxy-user', `${name}${parameters}:${credential?.secret}`],
    `http://${host}:${port}/ip`,
  ]);
  return stdout.trim();
}

/** The newest rotation of a slot as the cloud has it, once there is one. */
async function inTheCloud(slot: number): Promise<z.infer<typeof Rotation>> {
  let found: z.infer<typeof Rotation> | undefined;
  await eventually(async () => {
    found = Modem.parse(await trpc('modems.get', { slotId: slotIds.get(slot) })).rotations[0];
    return typeof found?.outcome === 'string';
  }, `the cloud knows what came of slot ${slot}`);
  assert.ok(found);
  return found;
}

test(
  'a modem each by command, by API, by secret link and by user name, all at once',
  async () => {
    await Promise.all([byCommand(), byApi(), byLink(), byUsername()]);
  },
  DEADLINE,
);

test(
  'a schedule that was set at the cloud is the node’s',
  async () => {
    const schedule = { at: ['03:10'], timeZone: 'Europe/Berlin' };
    await trpc('rotations.setSchedule', { slotId: slotIds.get(2), schedule }, 'mutation');
    const Status = z.looseObject({
      rotations: z.array(z.looseObject({ slot: z.int(), nextAt: z.int().nullable() })),
    });
    const nextOf = async (slot: number) =>
      Status.parse(await agentStatus(agent.statusSocket)).rotations.find(one => one.slot === slot)?.nextAt ??
      null;
    await eventually(async () => (await nextOf(2)) !== null, 'the node knows when');
    const at = new Date((await nextOf(2)) ?? 0);
    const shown = new Intl.DateTimeFormat('en-GB', { timeZone: 'Europe/Berlin', timeStyle: 'short' }).format(
      at,
    );
    assert.equal(shown, '03:10');
    assert.equal(await nextOf(1), null);
  },
  DEADLINE,
);

/** The command on the box: exit code 0, both addresses, and the cloud hears of it. */
async function byCommand(): Promise<void> {
  const before = await seenThrough(1);
  const args = ['rotate', '1', '--data-dir', dataDir.at('agent', 'data')];
  const { stdout } = await run(process.execPath, [
    join(import.meta.dirname, '../../agent/dist/main.js'),
    ...args,
  ]);
  const after = await seenThrough(1);
  assert.notEqual(after, before);
  assert.match(stdout, /^Slot 1: rotated by data-switch in \d+\.\d s, 1 attempt/);
  assert.ok(stdout.includes(before) && stdout.includes(after), stdout);
  const told = await inTheCloud(1);
  assert.deepEqual(
    [told.outcome, told.oldAddress, told.newAddress, told.askedFor],
    ['rotated', before, after, 'local'],
  );
  // At once again: the cool-down, exit code 1.
  await assert.rejects(
    run(process.execPath, [join(import.meta.dirname, '../../agent/dist/main.js'), ...args]),
    (error: { code: number; stdout: string }) =>
      error.code === 1 && /nothing was tried: .* try again in \d+ s/.test(error.stdout),
  );
}

/** The API: under way at once, the truth when it has ended. */
async function byApi(): Promise<void> {
  const before = await seenThrough(2);
  const slotId = slotIds.get(2);
  const begun = (await trpc('rotations.start', { slotId, waitMs: 0 }, 'mutation')) as { id: string };
  assert.equal(Rotation.parse(begun).outcome, null);
  const done = Rotation.parse(await trpc('rotations.get', { slotId, id: begun.id, waitMs: 25_000 }));
  assert.deepEqual([done.outcome, done.oldAddress], ['rotated', before]);
  assert.equal(await seenThrough(2), done.newAddress);
}

/** A secret link: one GET without a cookie. */
async function byLink(): Promise<void> {
  const before = await seenThrough(3);
  const slotId = slotIds.get(3);
  const made = (await trpc('rotationLinks.create', { slotId, name: 'crawler' }, 'mutation')) as {
    token: string;
  };
  const { stdout } = await run('curl', ['-sS', '--max-time', '60', `${cloudUrl}/rotate/${made.token}`]);
  const told = z
    .looseObject({ outcome: z.string(), oldAddress: z.string(), newAddress: z.string() })
    .parse(JSON.parse(stdout));
  assert.deepEqual([told.outcome, told.oldAddress], ['rotated', before]);
  assert.equal(await seenThrough(3), told.newAddress);
  const again = await fetch(`${cloudUrl}/rotate/${made.token}`);
  assert.equal(again.status, 429);
  assert.ok(Number(again.headers.get('retry-after')) > 0);
}

/** A customer’s user name: the flow that asks leaves by the new address. */
async function byUsername(): Promise<void> {
  const before = await seenThrough(4);
  const after = await seenThrough(4, '-rotate-1');
  assert.notEqual(after, before);
  // The same number again asks for nothing.
  assert.equal(await seenThrough(4, '-rotate-1'), after);
  assert.equal((await inTheCloud(4)).askedFor, 'credential');
  assert.equal(await seenThrough(4, '-carrier-mastline_virtual'), after);
  await assert.rejects(seenThrough(4, '-carrier-somebody_else'), /curl: \(97\)|SOCKS/);
}

test.run();
