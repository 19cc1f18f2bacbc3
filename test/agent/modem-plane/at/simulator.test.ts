/** The AT simulator itself: that it is honest about what it knows, repeats itself by seed, and runs as a program. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { duplexPair } from 'node:stream';
import { AtModem, ROWS } from '../../../simulators/at/at-modem';
import type { AtKnobs } from '../../../simulators/at/knobs';
import { MODELS } from '../../../simulators/at/models';
import { fakeClock } from '../../../support/clock';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';
import { missingTool } from '../../../support/tools';
import { profiles } from './rig';

const test = suite('AT simulator');
const root = join(import.meta.dirname, '../../../..');

test('every answer names the fact it rests on', () => {
  const known = new Set([...profiles.values()].flatMap(profile => Object.keys(profile.sources)));
  const rest = [...Object.values(MODELS).map(model => ({ source: model.source, where: model.name }))];
  let assumed = 0;
  for (const [family, rows] of Object.entries(ROWS))
    for (const [command, row] of Object.entries(rows))
      rest.push({ source: row?.source ?? '', where: `${family} ${command}` });
  assert.ok(rest.length > 300, `only ${rest.length}`);
  for (const { source, where } of rest) {
    const keys = source.split(';').map(part => /^\s*([\w.-]+)/.exec(part)?.[1] ?? '');
    if (keys.includes('assumed')) assumed += 1;
    for (const key of keys)
      assert.ok(key === 'assumed' || known.has(key), `${where}: "${key}" is no source of a profile`);
  }
  assert.ok(assumed < rest.length / 8, `${assumed} of ${rest.length} are only assumed`);
});

test('every model has a profile that the driver can use', () => {
  for (const [id, model] of Object.entries(MODELS)) {
    assert.equal(model.profile, id);
    assert.ok(profiles.get(id)?.at, `${id} has no AT settings`);
  }
});

test('what it does not know is refused and remembered, and so is what makes no sense', async () => {
  for (const [id, refusal] of [
    ['quectel/ec25', 'ERROR'],
    ['huawei/e3372h-153', 'COMMAND NOT SUPPORT'],
  ] as const) {
    const { modem, talk } = onWire(id);
    assert.match(await talk('AT+NOSUCH?'), new RegExp(refusal));
    assert.match(await talk('AT+CFUN=7'), /CME ERROR: 50/);
    assert.equal(await talk('HELLO'), 'HELLO\r');
    assert.match(await talk('AT+CSQ'), /\+CSQ: 99,99\r\n\r\nOK/);
    assert.deepEqual(
      modem.faults().map(fault => fault.command),
      ['+NOSUCH?', '+CFUN=7', 'HELLO'],
    );
    modem.vanish();
  }
});

test('a command inside a running one is counted', async () => {
  const { modem, talk, clock } = onWire('quectel/ec25');
  await talk('AT+COPS=?');
  await talk('AT');
  assert.equal(modem.interruptions, 1);
  await clock.advance(46_000);
  assert.match(await talk('AT'), /OK/);
  modem.vanish();
});

test('the same seed gives the same bytes, another seed others', async () => {
  const said = async (seed: number) => {
    const { modem, talk } = onWire('quectel/ec25', {
      seed,
      noiseLines: 0.5,
      urcStorm: 0.5,
      damagedLines: 0.5,
    });
    let text = '';
    for (const command of ['ATI', 'AT+CSQ', 'AT+QTEMP', 'AT+CGSN', 'AT+QENG="servingcell"'])
      text += await talk(command);
    modem.vanish();
    return text;
  };
  assert.equal(await said(5), await said(5));
  assert.notEqual(await said(5), await said(6));
});

test('several commands on one line stop at the first that fails', async () => {
  const { modem, talk } = onWire('quectel/ec25', { echo: false });
  assert.equal(await talk('AT+CMEE?;+CSQ'), '\r\n+CMEE: 1\r\n\r\n+CSQ: 99,99\r\n\r\nOK\r\n');
  assert.equal(await talk('AT+CMEE?;+CGDCONT=1,"NO","x";+CSQ'), '\r\n+CMEE: 1\r\n\r\n+CME ERROR: 50\r\n');
  assert.equal(await talk('ATE1V0'), '0\r');
  modem.vanish();
});

const missing = missingTool(['socat']);
if (missing) test.skip('runs as a program', `"${missing}" is missing: apt-get install -y socat`);
else
  test('runs as a program: ready, ended by its parent, and honest in its exit code', async () => {
    const folder = await tempDir('sim');
    const link = join(folder.path, 'ttyAT');
    const child = spawn(
      process.execPath,
      ['--import', 'tsx', 'test/simulators/at/main.ts', '--model', 'quectel/ec25', '--link', link],
      {
        cwd: root,
        stdio: ['pipe', 'pipe', 'inherit'],
      },
    );
    const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
    assert.equal(JSON.parse((await lines.next()).value).link, link);
    const client = spawn('socat', ['-', `FILE:${link},rawer`], { stdio: ['pipe', 'pipe', 'inherit'] });
    client.stdin.write('AT+NOSUCH\r');
    const answer = createInterface({ input: client.stdout })[Symbol.asyncIterator]();
    for (let line = ''; line !== 'ERROR'; ) line = (await answer.next()).value.trim();
    client.kill();
    await once(client, 'exit');
    child.stdin.end();
    assert.deepEqual(JSON.parse((await lines.next()).value).faults, [
      { command: '+NOSUCH', why: 'not known to this model' },
    ]);
    const [code] = child.exitCode === null ? await once(child, 'exit') : [child.exitCode];
    assert.equal(code, 1);
    assert.equal(existsSync(link), false);
    await folder.remove();
  });

test('names the options that it cannot use', async () => {
  const folder = await tempDir('at-options');
  const free = join(folder.path, 'ttyAT');
  for (const [args, expected] of [
    [['--link', free, '--model', 'acme/x1'], /"acme\/x1" is not one of[\s\S]*models: /],
    [[], /--link: give the path/],
    [['--link', free, '--sim', 'gone'], /--sim: must be ready/],
    [['--link', free, '--seed', 'x'], /--seed: must be a number/],
    [['--link', folder.path], /there is something else at .*; give a path that is free/],
  ] as const) {
    const child = spawn(process.execPath, ['--import', 'tsx', 'test/simulators/at/main.ts', ...args], {
      cwd: root,
      stdio: ['ignore', 'ignore', 'pipe'],
    });
    let said = '';
    child.stderr.on('data', chunk => {
      said += chunk;
    });
    const [code] = await once(child, 'close');
    assert.equal(code, 2);
    assert.match(said, expected);
  }
  await folder.remove();
});

test('unplugged while it looks for its network, it looks again when it is back', async () => {
  const clock = fakeClock();
  const modem = new AtModem({ model: 'quectel/rm520n', clock, network: { registrationDelayMs: 1000 } });
  modem.attach(duplexPair()[1]);
  await clock.advance(500);
  modem.vanish();
  await clock.advance(5000);
  assert.equal(modem.state.registered, false);
  modem.appear(duplexPair()[1]);
  await clock.advance(1001);
  assert.equal(modem.state.registered, true);
});

function onWire(id: string, knobs: Partial<AtKnobs> = {}) {
  const clock = fakeClock();
  const modem = new AtModem({ model: id, clock, knobs });
  const [host, device] = duplexPair();
  modem.attach(device);
  let heard = '';
  host.on('data', (chunk: Buffer) => {
    heard += chunk.toString('latin1');
  });
  const talk = async (command: string) => {
    heard = '';
    host.write(`${command}\r`);
    await clock.advance(10);
    return heard;
  };
  return { clock, modem, talk };
}

test.run();
