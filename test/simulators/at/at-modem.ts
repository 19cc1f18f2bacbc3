/**
 * A modem on an AT port, as its host sees it: line discipline (V.250), echo, results, unasked messages, and every
 * nuisance of knobs.ts. What commands answer is in the rows. A command it does not know, or one with parameters that
 * make no sense, is answered as a modem would and remembered as a fault, so that a test can insist that there was none.
 * Works on any Duplex; a pty for real programs is pty.ts.
 */
import type { Duplex } from 'node:stream';
import type { Clock, Timer } from '@mastline/shared/base/clock';
import { CodedError } from '@mastline/shared/base/coded-error';
import { type AtKnobs, CALM, type NetworkKnobs, type SimKnobs, seededRandom } from './knobs';
import { type Family, MODELS } from './models';
import { ModemState } from './modem-state';
import { cmeText } from './result-texts';
import { done, type Final, type Reply, type RowTable } from './row';
import { COMMON } from './rows-common';
import { HUAWEI } from './rows-huawei';
import { EC25, RM5XX } from './rows-quectel';
import { TOOLS } from './rows-tools';
import { ussdRows } from './rows-ussd';

export const ROWS: Record<Family, RowTable> = {
  ec25: { ...COMMON, ...TOOLS, ...ussdRows(false), ...EC25 },
  rm5xx: { ...COMMON, ...TOOLS, ...ussdRows(false), ...RM5XX },
  huawei: { ...COMMON, ...TOOLS, ...ussdRows(true), ...HUAWEI },
  '3gpp': {
    ...COMMON,
    ...ussdRows(false),
    '+CCID': {
      source: 'assumed: common on newer firmware',
      answer: modem => ({ lines: [`+CCID: ${modem.iccid}`], final: 'OK' }),
    },
  },
};

const MAX_COMMAND_BYTES = 2048;
const MAX_FAULTS = 1000;
const STORM: Record<Family, string[]> = {
  ec25: [
    '+CEREG: 1,"DE10","5F1EA15",7',
    '+QIND: "csq",22,99',
    '+CMTI: "ME",0',
    '+CTZV: "+12"',
    'RING',
    '+QUSIM: 1',
  ],
  rm5xx: [
    '+CEREG: 1,"DE10","5F1EA15",7',
    '+C5GREG: 1,"690E0F","9013B004",11',
    '+CGEV: NW MODIFY 1,0',
    '+QIND: SMS DONE',
  ],
  huawei: [
    '^RSSI:20',
    '^HCSQ:"LTE",53,41,141,22',
    '^DSFLOWRPT:00000012,0000000000000100,0000000000000200,0,0,0,0',
    '^MODE:7,16',
    '^STIN: 1,0,0',
  ],
  '3gpp': ['+CREG: 1', '+CGEV: NW MODIFY 1,0', 'RING'],
};

export interface AtFault {
  command: string;
  why: string;
}

export interface AtModemOptions {
  model: string;
  clock: Clock;
  knobs?: Partial<AtKnobs>;
  network?: Partial<NetworkKnobs>;
  sim?: Partial<SimKnobs>;
  imei?: string;
  iccid?: string;
  /** See modem-state.ts. */
  onBearer?: (address: string | null) => Promise<void>;
  onFailure?: (error: unknown) => void;
  /** The modem leaves the bus; `appear` puts it on a new port. */
  onVanish?: (appear: (port: Duplex) => void) => void;
}

export class AtModem {
  readonly state: ModemState;
  readonly knobs: AtKnobs;
  readonly #options: AtModemOptions;
  readonly #rows: RowTable;
  readonly #random: () => number;
  readonly #faults: AtFault[] = [];
  #port: Duplex | null = null;
  #echo = true;
  #verbose = true;
  #line = '';
  #prompting = false;
  #running: Timer | null = null;
  #silentUntilMs = 0;
  /** Commands that came while another was still running. */
  interruptions = 0;
  /** Every command line, in order. */
  readonly heard: string[] = [];

  constructor(options: AtModemOptions) {
    const model = MODELS[options.model];
    if (!model)
      throw new CodedError(
        'simulator/no-such-model',
        `model: "${options.model}" is not one of ${Object.keys(MODELS).join(', ')}`,
      );
    this.#options = options;
    this.knobs = { ...CALM, ...options.knobs };
    this.#random = seededRandom(this.knobs.seed);
    this.#rows = ROWS[model.family];
    this.state = new ModemState({
      model,
      clock: options.clock,
      random: this.#random,
      ...(options.network ? { network: options.network } : {}),
      ...(options.sim ? { sim: options.sim } : {}),
      ...(options.imei ? { imei: options.imei } : {}),
      ...(options.iccid ? { iccid: options.iccid } : {}),
      ...(options.onBearer ? { onBearer: options.onBearer } : {}),
      ...(options.onFailure ? { onFailure: options.onFailure } : {}),
    });
    this.state.say = line => this.#emit(this.#framed(line));
    this.state.restart = () => this.#restart();
    this.#powerOn();
  }

  /** Requests the simulator does not know. */
  faults(): readonly AtFault[] {
    return this.#faults.slice();
  }

  /** The host's side of the wire begins here. */
  attach(port: Duplex): void {
    this.#port = port;
    port.on('data', (chunk: Buffer) => this.#hear(chunk));
    // Whoever owns the port sees its errors; for a modem a torn wire is silence.
    port.on('error', () => this.#leave(port));
    port.on('close', () => this.#leave(port));
  }

  /** Unplugged: the port ends, and nothing comes back by itself. */
  vanish(): void {
    this.state.powerOff();
    this.state.endCall();
    this.#running?.cancel();
    this.#running = null;
    const port = this.#port;
    this.#port = null;
    // Ended first: destroying one side of a pair tells the other nothing.
    port?.end(() => port.destroy());
  }

  /** Power on, after `vanish`, on a new port. */
  appear(port: Duplex): void {
    this.state.registered = false;
    this.state.address = null;
    this.attach(port);
    this.#powerOn();
  }

  #leave(port: Duplex): void {
    if (this.#port === port) this.#port = null;
  }

  #powerOn(): void {
    const { knobs, state } = this;
    this.#echo = knobs.echo;
    this.#verbose = !knobs.numericResults;
    this.#prompting = knobs.atPrompt;
    this.#line = '';
    state.cmee = knobs.cmee;
    this.#silentUntilMs = state.clock.monotonicMs() + knobs.bootSilenceMs;
    state.review();
  }

  #restart(): void {
    this.vanish();
    const { state } = this;
    // A SIM that has a PIN asks for it at every power-on.
    if (this.#options.sim?.state === 'pin' && state.sim.state === 'ready') state.sim.state = 'pin';
    state.cfun = 1;
    state.copsOff = false;
    state.attached = true;
    state.registered = false;
    state.address = null;
    state.endCall();
    for (const name of Object.keys(state.registrationReports) as (keyof typeof state.registrationReports)[])
      state.registrationReports[name] = 0;
    this.#options.onVanish?.(port => {
      this.attach(port);
      this.#powerOn();
      if (state.model.family !== 'huawei')
        for (const line of ['RDY', '+CFUN: 1', '+CPIN: READY']) state.say(line);
    });
  }

  #hear(chunk: Buffer): void {
    if (this.knobs.hang || this.state.clock.monotonicMs() < this.#silentUntilMs) return;
    for (const byte of chunk) {
      if (this.#prompting) this.#hearText(byte);
      else if (byte === 0x0d) this.#hearLine();
      else if (byte >= 0x20 && this.#line.length < MAX_COMMAND_BYTES) this.#line += String.fromCharCode(byte);
    }
  }

  /** Waiting for the text of a message: only ESC and Ctrl-Z end it. */
  #hearText(byte: number): void {
    if (byte === 0x0d) this.#emit('\r\n> ');
    if (byte !== 0x1b && byte !== 0x1a) return;
    this.#prompting = false;
    this.#emit(this.#result(byte === 0x1b ? 'OK' : { cms: 304 }));
  }

  #hearLine(): void {
    const line = this.#line;
    this.#line = '';
    if (this.#running) {
      this.interruptions += 1;
      return;
    }
    if (line.trim() === '') return;
    this.heard.push(line);
    if (this.#echo) this.#emit(`${line}\r`);
    const body = /^\s*AT(.*)$/i.exec(line)?.[1];
    if (body === undefined) this.#blame(line, 'does not begin with AT');
    else this.#execute(body);
  }

  #execute(body: string): void {
    const reply = this.#runAll(body);
    const takesMs = (reply.takesMs ?? 0) + this.knobs.replyDelayMs;
    if (takesMs === 0) this.#answer(reply, body);
    else
      this.#running = this.state.clock.after(takesMs, () => {
        this.#running = null;
        this.#answer(reply, body);
      });
  }

  /** Several commands on one line run in order; the first that fails ends it (V.250 5.2.1). */
  #runAll(body: string): Reply {
    const sum: Required<Pick<Reply, 'lines' | 'takesMs'>> & { afterwards: (() => void)[] } = {
      lines: [],
      takesMs: 0,
      afterwards: [],
    };
    let final: Final = 'OK';
    for (const command of splitCommands(body)) {
      const reply = this.#run(command);
      sum.lines.push(...(reply.lines ?? []));
      sum.takesMs += reply.takesMs ?? 0;
      if (reply.afterwards) sum.afterwards.push(reply.afterwards);
      final = reply.final ?? 'OK';
      if (final !== 'OK') break;
    }
    return {
      lines: sum.lines,
      takesMs: sum.takesMs,
      final,
      afterwards: () => sum.afterwards.forEach(one => void one()),
    };
  }

  #run(command: string): Reply {
    const basic = /^(E|V)(\d?)$/i.exec(command);
    if (basic?.[1]?.toUpperCase() === 'E') this.#echo = basic[2] !== '0';
    if (basic?.[1]?.toUpperCase() === 'V') this.#verbose = basic[2] !== '0';
    if (basic) return done;
    const { key, args } = keyOf(command);
    const row = this.#rows[key];
    if (!row) {
      this.#blame(command, 'not known to this model');
      return { final: this.state.model.family === 'huawei' ? { words: 'COMMAND NOT SUPPORT' } : 'ERROR' };
    }
    if (key === '+CMGF=' && args === '0' && this.knobs.noPduForm) return { final: { cms: 303 } };
    const reply = row.answer(this.state, args);
    if (reply) return reply;
    this.#blame(command, 'parameters that make no sense');
    return { final: { cme: 50 } };
  }

  #answer(reply: Reply, body: string): void {
    const { knobs } = this;
    if (this.#port === null) return;
    this.#maybeStorm();
    if (this.#random() < knobs.noiseLines) this.#emit('\r\n\x00\xff~#x\xfe\r\n');
    if (knobs.longLineBytes > 0) this.#emit(this.#framed(`+QIND: ${'x'.repeat(knobs.longLineBytes)}`));
    for (const line of reply.lines ?? []) {
      const [head = '', text] = line.split('\n');
      this.#emit(this.#framed(this.#maybeDamage(head)));
      // Header and body of a message may be torn apart too.
      if (text !== undefined) {
        this.#maybeStorm();
        this.#emit(`${text}\r\n`);
      }
      this.#maybeStorm();
    }
    if (!knobs.forgetsResultOf.includes(keyOf(body).key)) this.#emit(this.#result(reply.final ?? 'OK'));
    reply.afterwards?.();
  }

  #maybeStorm(): void {
    const lines = STORM[this.state.model.family];
    while (this.#random() < this.knobs.urcStorm)
      this.#emit(this.#framed(lines[Math.floor(this.#random() * lines.length)] ?? 'RING'));
  }

  #maybeDamage(line: string): string {
    if (this.#random() >= this.knobs.damagedLines) return line;
    const at = Math.floor(this.#random() * line.length);
    return `${line.slice(0, at)}\xff${line.slice(at + 1)}`;
  }

  #framed(line: string): string {
    return this.#verbose ? `\r\n${line}\r\n` : `${line}\r\n`;
  }

  #result(final: Final): string {
    if (final === 'OK') return this.#verbose ? '\r\nOK\r\n' : '0\r';
    const { cmee } = this.state;
    if (typeof final === 'object' && 'words' in final) return this.#framed(final.words);
    if (final === 'ERROR' || (cmee === 0 && 'cme' in final)) return this.#verbose ? '\r\nERROR\r\n' : '4\r';
    if ('cms' in final) return this.#framed(`+CMS ERROR: ${final.cms}`);
    const asText = cmee === 2 || this.knobs.errorsAsText;
    return this.#framed(`+CME ERROR: ${asText ? cmeText(final.cme) : final.cme}`);
  }

  #emit(text: string): void {
    const port = this.#port;
    if (!port || port.destroyed || this.knobs.hang) return;
    const bytes = Buffer.from(text, 'latin1');
    const { splitBytes } = this.knobs;
    if (splitBytes === 0) {
      port.write(bytes);
      return;
    }
    for (let at = 0; at < bytes.length; ) {
      const size = 1 + Math.floor(this.#random() * splitBytes);
      port.write(bytes.subarray(at, at + size));
      at += size;
    }
  }

  #blame(command: string, why: string): void {
    if (this.#faults.length < MAX_FAULTS) this.#faults.push({ command, why });
  }
}

/** `E0V1+CSQ;+COPS?` → `E0`, `V1`, `+CSQ`, `+COPS?`. Semicolons inside quotes do not count. */
function splitCommands(body: string): string[] {
  const parts = body.match(/(?:"[^"]*"?|[^;"])+/g) ?? [''];
  return parts.flatMap(part => {
    const commands: string[] = [];
    let rest = part.trim();
    for (let basic = /^(&?[A-Z])(\d*)/i.exec(rest); basic; basic = /^(&?[A-Z])(\d*)/i.exec(rest)) {
      commands.push(basic[0].toUpperCase());
      rest = rest.slice(basic[0].length);
    }
    if (rest !== '' || commands.length === 0) commands.push(rest);
    return commands;
  });
}

/** `+COPS=3,2` → key `+COPS=`, parameters `3,2`; `+COPS=?` and `+COPS?` are keys as they are; `&D0` → `&D`. */
export function keyOf(command: string): { key: string; args: string } {
  const extended = /^([+^$%*][A-Z0-9]+)(=\?|\?|=)?([\s\S]*)$/i.exec(command);
  if (extended) {
    const [, name = '', form = '', args = ''] = extended;
    return { key: `${name.toUpperCase()}${form}`, args: args.trim() };
  }
  return { key: command.replace(/\d+$/, '').toUpperCase(), args: command.replace(/^\D+/, '') };
}
