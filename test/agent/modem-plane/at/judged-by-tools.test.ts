/**
 * The simulated modem judged by programs that know real ones: gammu and chat on a pty, ModemManager through the door it
 * keeps for its own tests (a modem behind a Unix socket, no udev needed). What they read is what our driver reads.
 */
import assert from 'node:assert/strict';
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { sleep, systemClock } from '@mastline/shared/base/clock';
import { AtModem } from '../../../simulators/at/at-modem';
import { startAtModemOnPty } from '../../../simulators/at/at-modem-on-pty';
import { delivered } from '../../../simulators/at/deliver-pdu';
import { openPty } from '../../../simulators/at/pty';
import { suite } from '../../../support/suite';
import { tempDir } from '../../../support/temp';
import { missingTool } from '../../../support/tools';

const test = suite('AT simulator judged by tools');
const TOOL_DEADLINE_MS = 60_000;
const NETWORK = { registrationDelayMs: 50, ussdDelayMs: 200, scanMs: 300 };
const AT = { year: 24, month: 1, day: 31, hour: 10, minute: 20, second: 30, quarters: 12 };
const cleanUps: (() => Promise<unknown>)[] = [];

test.afterEach(async () => {
  for (const cleanUp of cleanUps.splice(0).reverse()) await cleanUp();
});

/** Resolves when the modem has registered; the test's deadline ends it otherwise. */
async function registered(modem: AtModem): Promise<void> {
  while (!modem.state.registered) await sleep(systemClock, 10);
}

/** A test that needs programs, by the packages that bring them. */
function judged(name: string, needs: Record<string, string>, body: () => Promise<void>): void {
  const missing = missingTool(Object.keys(needs));
  if (missing) test.skip(name, `"${missing}" is missing: apt-get install -y ${needs[missing]}`);
  else test(name, body, { deadlineMs: 120_000 });
}

async function folder(): Promise<string> {
  const made = await tempDir('tools');
  cleanUps.push(made.remove);
  return made.path;
}

async function onPty(model: string) {
  const running = await startAtModemOnPty({
    model,
    path: join(await folder(), 'ttyAT'),
    network: NETWORK,
    onFailure: reason => assert.fail(reason),
  });
  cleanUps.push(async () => {
    await running.close();
    assert.deepEqual(running.modem.faults(), []);
    assert.equal(running.modem.interruptions, 0);
  });
  return running;
}

function run(command: string, args: string[], cwd?: string): Promise<string> {
  return new Promise((resolve, reject) =>
    execFile(
      command,
      args,
      { timeout: TOOL_DEADLINE_MS, cwd, env: { ...process.env, LC_ALL: 'C.UTF-8' } },
      (error, stdout, stderr) => {
        if (error) reject(new Error(`${command} ${args.join(' ')}: ${error.message}\n${stdout}${stderr}`));
        else resolve(stdout);
      },
    ),
  );
}

for (const model of ['quectel/ec25', 'huawei/e3372h-153'])
  judged(
    `gammu reads identity, network, messages and balance of ${model}`,
    { gammu: 'gammu', socat: 'socat' },
    async () => {
      const running = await onPty(model);
      const { state } = running.modem;
      // gammu asks the circuit domain, which a modem on LTE alone does not serve.
      state.mode = { ec25: '2', rm5xx: 'WCDMA', huawei: '02', '3gpp': '' }[state.model.family];
      state.receive(delivered({ sender: '+27838890001', text: 'hellohello', alphabet: 'gsm7', at: AT }));
      state.receive(
        delivered({
          sender: 'MegaFon',
          text: 'Баланс: 12.50 😀',
          alphabet: 'ucs2',
          at: { ...AT, quarters: -20 },
        }),
      );
      const part = { reference: 7, total: 2, number: 2 };
      state.receive(delivered({ sender: '3311', text: 'end €@', alphabet: 'gsm7', at: AT, part }));
      const settings = join(await folder(), 'gammurc');
      writeFileSync(settings, `[gammu]\ndevice = ${running.path}\nconnection = at115200\n`);
      // One session for all: gammu takes seconds to find out whom it talks to.
      const batch = join(await folder(), 'batch');
      const balance = state.model.family === 'ec25' ? ['getussd *100#'] : [];
      writeFileSync(
        batch,
        ['identify', 'networkinfo', 'getallsms', 'getsecuritystatus', ...balance].join('\n'),
      );
      const said = await run('gammu', ['-c', settings, 'batch', batch]);

      for (const wanted of [
        /867962040012345/,
        /001010123456789/,
        new RegExp(state.model.firmware),
        /Network state +: home network/,
        /"Mastline Test"/,
        /Sent +: Wed Jan 31 10:20:30 2024 \+0300[\s\S]*"\+27838890001"[\s\S]*UnRead\n\nhellohello\n/,
        /10:20:30 2024 -0500[\s\S]*"MegaFon"[\s\S]*Баланс: 12\.50 😀\n/,
        /"3311"[\s\S]*ID \(8 bit\) 7, part 2 of 2\n\nend €@\n/,
        /Nothing to enter/,
        ...balance.map(() => /"Balance: 12\.50 EUR, valid until 31\.12\."/),
      ])
        assert.match(said, wanted);
    },
  );

judged('gammu finds a locked SIM, and unlocks it', { gammu: 'gammu', socat: 'socat' }, async () => {
  const running = await onPty('quectel/ec25');
  running.modem.state.sim.state = 'pin';
  // gammu claims the tty for itself (TIOCEXCL), and a pty forgets that only when its other end closes: whoever is not
  // root needs a new one for each session.
  const gammu = async (...args: string[]) => {
    const pty = await openPty(join(await folder(), 'ttyAT'), systemClock);
    running.modem.attach(pty.port);
    const settings = join(await folder(), 'gammurc');
    writeFileSync(settings, `[gammu]\ndevice = ${pty.path}\nconnection = at115200\n`);
    try {
      return await run('gammu', ['-c', settings, ...args]);
    } finally {
      await pty.close();
    }
  };
  assert.match(await gammu('getsecuritystatus'), /Waiting for PIN/);
  await gammu('entersecuritycode', 'PIN', '1234');
  assert.match(await gammu('getsecuritystatus'), /Nothing to enter/);
});

judged(
  'a chat script talks with it as with a modem',
  { chat: 'ppp', socat: 'socat', sh: 'dash' },
  async () => {
    const running = await onPty('quectel/ec25');
    const script = `chat -t 5 ABORT ERROR '' ATE1 OK ATI 'Revision: EC25EFAR06A11M4G' '' OK 'AT+CSQ;+CGATT?' 'CGATT: 1' '' OK <"$0" >"$0"`;
    await registered(running.modem);
    await run('sh', ['-c', script, running.path]);
  },
);

judged(
  'ModemManager registers with it, reads it and asks its carrier',
  {
    ModemManager: 'modemmanager',
    mmcli: 'modemmanager',
    'dbus-run-session': 'dbus',
    gdbus: 'libglib2.0-bin',
  },
  async () => {
    const cwd = await folder();
    const socket = join(cwd, 'at.sock');
    const modem = new AtModem({ model: 'quectel/ec25', clock: systemClock, network: NETWORK });
    modem.state.receive(delivered({ sender: '+27838890001', text: 'hellohello', alphabet: 'gsm7', at: AT }));
    const server = createServer(port => modem.attach(port)).listen(socket);
    await once(server, 'listening');
    cleanUps.push(async () => {
      modem.vanish();
      server.close();
      await once(server, 'close');
      assert.deepEqual(modem.faults(), []);
    });
    const said = await inModemManager(socket, cwd, [
      '-m any --enable',
      '-m any',
      '-i any',
      '-m any --messaging-list-sms',
      '-s 0',
      '-m any --3gpp-ussd-initiate=*100#',
      '-m any --timeout=30 --3gpp-scan',
    ]);
    for (const wanted of [
      /equipment id: 867962040012345/,
      /firmware revision: EC25EFAR06A11M4G/,
      /state: registered/,
      /access tech: lte/,
      /signal quality: 70%/,
      /operator id: 00101/,
      /operator name: Mastline Test/,
      /registration: home/,
      /imsi: 001010123456789/,
      /iccid: 8900101234567890123/,
      /number: \+27838890001\s+\|\s+text: hellohello/,
      /timestamp: 2024-01-31T10:20:30\+03/,
      /'Balance: 12\.50 EUR, valid until 31\.12\.'/,
      /25001 - MTS RUS \(lte, available\)/,
    ])
      assert.match(said, wanted);
  },
);

/**
 * A ModemManager of its own on a bus of its own, with one modem behind `socket`; then mmcli once a line of `asked`.
 * Waits for events of the bus and for states of the modem, never for time.
 */
async function inModemManager(socket: string, cwd: string, asked: string[]): Promise<string> {
  const script = `
    ModemManager --test-session --no-auto-scan --test-enable --log-level=WARN &
    manager=$!
    gdbus wait --session --timeout 20 org.freedesktop.ModemManager1 || exit 10
    gdbus call --session -d org.freedesktop.ModemManager1 -o /org/freedesktop/ModemManager1 \\
      -m org.freedesktop.ModemManager1.Test.SetProfile mastline generic "['$0']" || exit 11
    settled() { for i in $(seq 100); do mmcli --test-session -m any 2>/dev/null | grep -Eq "state: .*($1)" && return 0; sleep 0.2; done; return 1; }
    settled disabled || exit 12
    ${asked.map((words, i) => `mmcli --test-session ${words.replace('*', "'*'")} || exit $((20 + ${i}))\n${i === 0 ? 'settled registered || exit 13' : ''}`).join('\n')}
    kill $manager
    wait $manager
    exit 0`;
  const child = spawn('dbus-run-session', ['--', 'sh', '-c', script, socket], {
    cwd,
    env: { ...process.env, LC_ALL: 'C.UTF-8' },
    detached: true,
  });
  let said = '';
  child.stdout.on('data', chunk => {
    said += chunk;
  });
  child.stderr.on('data', chunk => {
    said += chunk;
  });
  // The group ends with its leader: bus, manager and whatever mmcli waits for.
  const timer = setTimeout(() => child.pid !== undefined && process.kill(-child.pid, 'SIGKILL'), 100_000);
  const [code] = await once(child, 'close');
  clearTimeout(timer);
  assert.equal(code, 0, said);
  return said;
}

test.run();
