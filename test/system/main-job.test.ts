/**
 * The main job as a new user meets it: `npm start` in both kinds of virtual modems, with its table, its refusals, its
 * Ctrl-C, its second start; real curl through the endpoints; the bytes in the portal, in a real browser.
 */
import assert from 'node:assert/strict';
import { type ChildProcess, execFile, spawn } from 'node:child_process';
import { createReadStream, existsSync, readFileSync, statSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { promisify } from 'node:util';
import { formatBytes } from '@mastline/shared/base/bytes';
import Sqlite from 'better-sqlite3';
import { buildAll } from '../../installer/local/build';
import { launch, visit } from '../cloud/portal/browser';
import { suite } from '../support/suite';
import { tempDir } from '../support/temp';

const root = join(import.meta.dirname, '../..');
const run = promisify(execFile);
const test = suite('the main job', { needs: ['curl', 'chromium'] });
const MINUTE = 60_000;
const GIGABYTE = 2 ** 30;

let folder: Awaited<ReturnType<typeof tempDir>>;
let server: Server;
let serverPort: number;

test.before(async () => {
  if (process.env.MASTLINE_BUILT !== '1') await buildAll();
  folder = await tempDir('main-job');
  server = createServer((request, response) => {
    // A web server of the user's own, with a body of a known size.
    const size = Number(/^\/(\d+)$/.exec(request.url ?? '')?.[1] ?? 0);
    response.writeHead(200, { 'content-length': size });
    createReadStream('/dev/zero', { end: size - 1 }).pipe(response);
  });
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve));
  serverPort = (server.address() as AddressInfo).port;
});
test.after(async () => {
  server.closeAllConnections();
  await new Promise(resolve => server.close(resolve));
  await folder.remove();
});

const isRoot = process.getuid?.() === 0;
const kinds = [
  { kind: 'rootless', why: undefined },
  { kind: 'namespaces', why: await missingForNamespaces() },
] as const;

for (const { kind, why } of kinds) {
  const name = `npm start -- --once with ${kind} modems agrees in every count and leaves nothing behind`;
  if (why !== undefined) {
    test.skip(name, why);
    continue;
  }
  test(
    name,
    async () => {
      const dir = join(folder.path, `once-${kind}`);
      const { code, out } = await started(['--once', '--kind', kind, '--data-dir', dir, '--port', '0']).ended;
      assert.equal(code, 0, out);
      assert.match(out, /All counts agree\./);
      const rows = out.split('\n').filter(line => /^Modem \d (SOCKS5|HTTP) /.test(line));
      assert.equal(rows.length, 4, out);
      for (const row of rows) assert.match(row, / yes$/);
      const exits = new Set(rows.map(row => /\b\d+\.\d+\.\d+\.\d+\b/.exec(row)?.[0]));
      assert.equal(exits.size, 2, `two modems, two exit addresses: ${[...exits].join(' ')}`);
      assert.equal(statSync(join(dir, 'demo.json')).mode & 0o777, 0o600);
      if (kind === 'namespaces') assert.equal(await leftInKernel(), '');
    },
    { deadlineMs: 2 * MINUTE },
  );
}

test(
  'serves curl by hand, shows its bytes in the portal within seconds, counts 1 GB to the byte, stops in time, and continues',
  async () => {
    const dir = join(folder.path, 'by-hand');
    const args = [
      '--data-dir',
      dir,
      '--port',
      '0',
      '--kind',
      'rootless',
      '--allow-target',
      `127.0.0.1:${serverPort}`,
    ];
    const first = started(args);
    const table = await first.whenReady;
    const proxies = [...table.matchAll(/curl -x (\S+) (\S+)/g)].map(match => ({
      proxy: match[1] ?? '',
      url: match[2] ?? '',
    }));
    assert.equal(proxies.length, 4, table);
    const socks = proxies.find(one => one.proxy.startsWith('socks5h'))?.proxy ?? '';
    const http = proxies.find(one => one.proxy.startsWith('http:'))?.proxy ?? '';
    const url = `http://127.0.0.1:${serverPort}/${GIGABYTE}`;
    const { stdout } = await run('curl', [
      '-sS',
      '--max-time',
      '120',
      '-o',
      '/dev/null',
      '-w',
      '%{size_download} %{size_header} %{size_request}',
      '-x',
      socks,
      url,
    ]);
    const [body = 0, header = 0, request = 0] = stdout.split(' ').map(Number);
    assert.equal(body, GIGABYTE);
    // The meter commits within a second; nothing else has been carried yet.
    await until(() => committed(dir).down >= GIGABYTE);
    assert.deepEqual(
      committed(dir),
      { down: GIGABYTE + header, up: request },
      'after the SOCKS handshake, both ways',
    );

    for (const { proxy, url } of proxies) {
      const { stdout } = await run('curl', ['-sS', '--max-time', '10', '-x', proxy, url]);
      assert.match(stdout, /^127\.\d+\.\d+\.\d+\n$/, 'the address that the origin saw');
    }

    // Not in allowTargets: each protocol's own refusal, by name and by address.
    for (const target of ['127.0.0.1:1', 'localhost:1', '10.0.0.1:80', '169.254.169.254:80', '[::1]:1']) {
      const viaHttp = await run('curl', [
        '-sS',
        '--max-time',
        '10',
        '-o',
        '/dev/null',
        '-w',
        '%{http_code}',
        '-x',
        http,
        `http://${target}/`,
      ]);
      assert.equal(viaHttp.stdout, '403', target);
      const viaSocks = await run('curl', ['-sS', '--max-time', '10', '-x', socks, `http://${target}/`]).catch(
        error => error,
      );
      assert.match(String(viaSocks.stderr), /\(2\)/, `${target}: connection not allowed by ruleset`);
    }
    const wrong = await run('curl', [
      '-sS',
      '--max-time',
      '10',
      '-o',
      '/dev/null',
      '-w',
      '%{http_code}',
      '-x',
      http.replace(/:[^:@]+@/, ':wrong@'),
      url,
    ]);
    assert.equal(wrong.stdout, '407');

    const total = await portalShows(table, GIGABYTE);
    assert.ok(total, 'the portal shows the gigabyte');

    const begun = performance.now();
    first.child.kill('SIGINT');
    const end = await first.ended;
    assert.equal(end.code, 0, end.out);
    assert.ok(performance.now() - begun < 8_000, 'gone in time, with room for a busy machine');
    const second = started(args);
    const again = await second.whenReady;
    assert.match(again, /agent: running/, 'enrolled once');
    assert.equal(/password (\S+)/.exec(again)?.[1], /password (\S+)/.exec(table)?.[1], 'the same log-in');
    assert.ok(await portalShows(again, GIGABYTE), 'the usage is still there');
    second.child.kill('SIGINT');
    assert.equal((await second.ended).code, 0);
  },
  { deadlineMs: 5 * MINUTE },
);

test(
  'says in a sentence what is wrong and what to do',
  async () => {
    const occupied = createServer();
    await new Promise<void>(resolve => occupied.listen(0, '127.0.0.1', resolve));
    const { port } = occupied.address() as AddressInfo;
    const cases: [string[], RegExp][] = [
      [
        ['--port', String(port), '--data-dir', join(folder.path, 'taken')],
        /Port \d+ \(the portal\) is taken[\s\S]*--port N/,
      ],
      [['--data-dir', '/dev/null'], /data directory \/dev\/null is broken[\s\S]*--data-dir/],
      [['--kind', 'magic'], /--kind must be auto, namespaces or rootless/],
      [['--allow-target', 'example.org'], /--allow-target must be an address/],
      [['--port', '99999'], /--port must be a whole number from 0 to/],
    ];
    for (const [args, sentence] of cases) {
      const { code, out } = await started(args).ended;
      assert.equal(code, 1, out);
      assert.match(out, sentence);
      assert.doesNotMatch(out, /\n\s+at .*\(/, 'no stack trace');
    }
    await new Promise(resolve => occupied.close(resolve));
  },
  { deadlineMs: MINUTE },
);

async function until(ready: () => boolean): Promise<void> {
  const deadline = performance.now() + 10_000;
  while (!ready()) {
    assert.ok(performance.now() < deadline, 'not committed within 10 s');
    await wait(50);
  }
}

/** One `npm start`, without npm's own two lines. */
function started(args: string[]): {
  child: ChildProcess;
  whenReady: Promise<string>;
  ended: Promise<{ code: number | null; out: string }>;
} {
  const child = spawn(process.execPath, [join(root, 'installer/local/bootstrap.mjs'), 'start', ...args], {
    cwd: root,
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let out = '';
  const ended = new Promise<{ code: number | null; out: string }>(resolve =>
    child.on('close', code => resolve({ code, out })),
  );
  const whenReady = new Promise<string>((resolve, reject) => {
    const take = (chunk: Buffer) => {
      out += chunk.toString('utf8');
      if (out.includes('Ctrl-C ends everything')) resolve(out);
    };
    child.stdout.on('data', take);
    child.stderr.on('data', take);
    void ended.then(end => reject(new Error(`ended with ${end.code} before it was ready:\n${end.out}`)));
  });
  whenReady.catch(() => undefined);
  return { child, whenReady, ended };
}

/** Logs in with a browser and waits until the dashboard's bytes of today are at least `bytes`. */
async function portalShows(table: string, bytes: number): Promise<boolean> {
  const portal = /Portal +(\S+)/.exec(table)?.[1] ?? '';
  const [, email = '', password = ''] = /Log in +(\S+) +password (\S+)/.exec(table) ?? [];
  const browser = await launch();
  try {
    const { page } = await visit(browser);
    await page.goto(`${portal}/login`);
    await page.getByLabel('E-mail').fill(email);
    await page.getByLabel('Password', { exact: true }).fill(password);
    await page.getByRole('button', { name: 'Log in' }).click();
    await page.waitForURL('**/dashboard');
    const unit = formatBytes(bytes).split(' ')[1] ?? '';
    await page.waitForFunction(wanted => document.body.innerText.includes(wanted), unit, { timeout: 5_000 });
    return true;
  } finally {
    await browser.close();
  }
}

function committed(dir: string): { up: number; down: number } {
  const file = join(dir, 'agent/data/spool.db');
  assert.ok(existsSync(file) && readFileSync(file).length > 0);
  const db = new Sqlite(file, { readonly: true });
  try {
    const row = db
      .prepare<[], { up: number; down: number }>(
        'SELECT committed_up AS up, committed_down AS down FROM spool',
      )
      .get();
    assert.ok(row);
    return row;
  } finally {
    db.close();
  }
}

async function missingForNamespaces(): Promise<string | undefined> {
  if (!isRoot) return 'network namespaces need root';
  for (const [tool, remedy] of [
    ['ip', 'iproute2'],
    ['nft', 'nftables'],
  ] as const)
    try {
      await run(tool, ['-V']);
    } catch {
      return `${tool} is missing: apt-get install -y ${remedy}`;
    }
  return undefined;
}

/** Rules and addresses that only virtual modems have; empty when all were removed. */
async function leftInKernel(): Promise<string> {
  const { stdout } = await run('ip', ['-o', 'address', 'show']);
  return stdout
    .split('\n')
    .filter(line => /\bml\d+-s\d/.test(line))
    .join('\n');
}

test.run();
