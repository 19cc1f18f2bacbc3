/**
 * A whole cloud's log, at its most talkative, over everything that touches a secret: what each line must say, and what none
 * may. The process itself, from its bundle.
 */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { Tallies } from '@mastline/cloud/server/observe/tallies';
import { createCaller } from '@mastline/cloud/server/router';
import type { DemoAnswer } from '@mastline/cloud/server/seed';
import { systemClock } from '@mastline/shared/base/clock';
import { uuidv7 } from '@mastline/shared/domain/uuid';
import { pino } from 'pino';
import { cloudBuilt } from '../../support/build-cloud';
import { authorizationFor, challenge, connect, deviceKey, enrol, openLink } from '../../support/cloud-agent';
import { usageRecord } from '../../support/cloud-world';
import { suite } from '../../support/suite';
import { tempDir } from '../../support/temp';

const test = suite('cloud: the log');
const main = join(import.meta.dirname, '../../../cloud/dist/main.js');

type Line = Record<string, unknown> & { msg: string };

test(
  'names request, node and session, and holds no secret of a whole run',
  async () => {
    await cloudBuilt();
    const dir = await tempDir('cloud-log');
    const output = join(dir.path, 'answer.json');
    const demo = join(dir.path, 'demo.json');
    const endpoint = { name: 'One', protocols: ['socks5'], listen: { host: '127.0.0.1', port: 21_080 } };
    await writeFile(demo, JSON.stringify({ output, endpoints: [{ ...endpoint, slots: [0] }] }));
    const flags = ['--port', '0', '--data-dir', join(dir.path, 'data'), '--demo-seed', demo];
    const child = spawn(process.execPath, [main, ...flags, '--log-level', 'trace', '--metrics-port', '0'], {
      env: { PATH: process.env.PATH, NODE_ENV: 'production' },
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    try {
      let text = '';
      child.stderr.setEncoding('utf8').on('data', chunk => {
        text += chunk;
      });
      const [ready] = (await once(createInterface({ input: child.stdout }), 'line')) as [string];
      const { url, metrics } = JSON.parse(ready) as { url: string; metrics: string };
      const answer = JSON.parse(await readFile(output, 'utf8')) as DemoAnswer;
      const secrets = new Map<string, string>([
        ['password', answer.login.password],
        ['claim code', answer.claimCode ?? ''],
        ['secret key', (await readFile(join(dir.path, 'data/secret.key'), 'utf8')).trim()],
        ...answer.credentials.map(each => [`secret of ${each.name}`, each.secret] as const),
      ]);

      const key = deviceKey();
      const enrolled = await enrol(url, key, answer.claimCode ?? '');
      await enrol(url, deviceKey(), answer.claimCode ?? '');
      const node = { id: String(enrolled.body.nodeId), privateKey: key.privateKey };
      secrets.set('private key', key.privateKey.export({ format: 'jwk' }).d ?? '');
      const nonce = await challenge(url, node.id);
      const authorization = authorizationFor(node.id, nonce, key.privateKey);
      secrets.set('nonce', nonce);
      secrets.set('signature', /signature="([^"]+)"/.exec(authorization)?.[1] ?? '');
      (await openLink(url, authorization)).close();
      // The same proof again is a replay.
      await assert.rejects(openLink(url, authorization));
      const epoch = uuidv7();
      const { link } = await connect(url, node, { epoch });
      const of = { endpointId: 'unknown', credentialId: 'unknown' };
      link.send('usage-batch', { epoch, records: [usageRecord(of, 1, { at: Date.now() })] });
      await link.next('usage-ack');
      link.sendRaw(`{"v":1,"kind":"usage-batch","body":{"password":"${answer.login.password}"}}`);
      await link.closed;

      const logIn = (body: unknown) =>
        fetch(`${url}/api/session`, {
          method: 'POST',
          headers: { 'content-type': 'application/json' },
          body: typeof body === 'string' ? body : JSON.stringify(body),
        });
      const entered = await logIn(answer.login);
      const cookie = (entered.headers.get('set-cookie') ?? '').split(';', 1)[0] ?? '';
      secrets.set('session', cookie.split('=')[1] ?? '');
      await logIn({ ...answer.login, email: 'nobody@example.org' });
      await logIn(`{"password":"${answer.login.password}`);
      await logIn({ password: answer.login.password });
      const headers = { cookie, origin: url, 'content-type': 'application/json' };
      const procedure = (name: string, input: unknown) =>
        fetch(`${url}/api/trpc/${name}`, { method: 'POST', headers, body: JSON.stringify(input) });
      const revealed = await procedure('credentials.reveal', { id: answer.credentials[0]?.id });
      assert.ok(
        (await revealed.text()).includes(answer.credentials[0]?.secret ?? '-'),
        'the secret was handed out',
      );
      await procedure('credentials.reveal', { id: answer.login.password });
      await fetch(`${url}/rotate/${answer.login.password}`);
      await fetch(`${url}/dashboard?token=${answer.login.password}`, { headers });
      await fetch(metrics);
      child.kill('SIGTERM');
      await once(child, 'exit');
      const lines = text
        .split('\n')
        .filter(line => line !== '')
        .map(line => JSON.parse(line) as Line);
      assert.ok(lines.length > 10, text);
      for (const [name, secret] of secrets) {
        assert.ok(secret.length > 7, `${name} is known to the test`);
        assert.ok(!text.includes(secret), `the log holds the ${name}`);
      }
      const ended = lines.filter(line => line.msg === 'agent session ended');
      assert.equal(ended.length, 2);
      for (const line of ended) {
        assert.equal(line.nodeId, node.id);
        assert.match(String(line.sessionId), /^[0-9a-f]{12}$/);
      }
      assert.notEqual(ended[0]?.sessionId, ended[1]?.sessionId);
      const kept = lines.find(line => line.msg === 'usage without an owner kept with the host');
      assert.equal(kept?.sessionId, ended[1]?.sessionId);
      for (const said of ['node enrolled', 'agent request refused'])
        assert.match(String(lines.find(line => line.msg === said)?.requestId), /^[0-9a-f-]{36}$/, said);
    } finally {
      if (child.exitCode === null) child.kill('SIGKILL');
      await dir.remove();
    }
  },
  { deadlineMs: 120_000 },
);

test('a procedure that fails is in the log under the request id that its answer names', async () => {
  const lines: Line[] = [];
  const log = pino({ level: 'trace' }, { write: text => void lines.push(JSON.parse(text) as Line) });
  const away = () => Promise.reject(new Error('the database is away'));
  const services = { log, clock: systemClock, tallies: new Tallies(), db: { pool: { query: away } } };
  const active = { id: uuidv7(), name: 'Operations', kinds: ['operator' as const], role: 'owner' as const };
  const viewer = {
    user: { id: uuidv7(), name: 'A', email: 'a@example.org' },
    organizations: [active],
    active,
  };
  const caller = createCaller({ services: services as never, viewer, sessionId: null, requestId: 'req-1' });
  await assert.rejects(caller.system.get(), /Request req-1 is in the log/);
  assert.equal(lines.length, 1);
  assert.equal(lines[0]?.msg, 'procedure failed');
  assert.equal(lines[0]?.requestId, 'req-1');
  assert.equal(lines[0]?.path, 'system.get');
});

test.run();
