/**
 * One host on the line to a simulated modem: frames in and out, OPEN and CLOSE, indications, and the misbehaviour of
 * `knobs.ts`. Owns no socket: bytes go out by `write`, come in by `receive`. A request that the modem does not know is
 * refused as a device would (status 9) and recorded as a fault.
 */
import { FragmentJoiner } from '@mastline/agent/modem-plane/drivers/mbim/fragments';
import {
  DEFAULT_CONTROL_TRANSFER,
  type MbimMessage,
  MIN_CONTROL_TRANSFER,
  writeMessage,
} from '@mastline/agent/modem-plane/drivers/mbim/frame';
import { FrameSplitter } from '@mastline/agent/modem-plane/drivers/mbim/frame-splitter';
import { InfoReader } from '@mastline/agent/modem-plane/drivers/mbim/layout';
import { CIDS, SERVICES } from '@mastline/agent/modem-plane/drivers/mbim/services';
import { messageOf } from '@mastline/shared/base/coded-error';
import { ANSWERS, type Answer } from './answers';
import {
  connectInfo,
  packetServiceInfo,
  radioInfo,
  registerInfo,
  storeStatusInfo,
  subscriberInfo,
  ussdInfo,
} from './layouts';
import type { Change, MbimModem } from './modem';

const STATUS_BUSY = 1;
const STATUS_FAILURE = 2;
const STATUS_NO_DEVICE_SUPPORT = 9;
const STATUS_INVALID_PARAMETERS = 21;
const ERROR_NOT_OPENED = 5;
const LARGEST_CUT = 40;

/** What a device sends until it is subscribed to otherwise, as libmbim 1.28.2 (its proxy) has it. */
const DEFAULT_EVENTS: ReadonlySet<string> = new Set([
  ...[2, 3, 7, 9, 10, 11, 12, 13, 15, 22, 24].map(cid => `${SERVICES.basicConnect} ${cid}`),
  ...[1, 2, 5].map(cid => `${SERVICES.sms} ${cid}`),
  `${SERVICES.ussd} 1`,
]);

export interface ConnectionOptions {
  modem: MbimModem;
  write: (bytes: Buffer) => void;
  /** Speaks as mbim-proxy: the device is to be named before anything else. */
  proxy: boolean;
}

type Command = Extract<MbimMessage, { kind: 'command' }>;

export class MbimConnection {
  readonly #options: ConnectionOptions;
  readonly #splitter = new FrameSplitter();
  readonly #joiner = new FragmentJoiner();
  readonly #forget: () => void;
  #opened = false;
  #configured: boolean;
  /** "service cid" of what the host is told unasked. */
  #subscribed: ReadonlySet<string> = DEFAULT_EVENTS;
  #hostLimit = DEFAULT_CONTROL_TRANSFER;
  #droppedBytes = 0;
  #closed = false;

  constructor(options: ConnectionOptions) {
    this.#options = options;
    this.#configured = !options.proxy;
    this.#forget = options.modem.onChange(change => this.#indicate(change));
  }

  /** Bytes from the host. */
  receive(bytes: Buffer): void {
    const { faults } = this.#options.modem;
    for (const frame of this.#splitter.push(bytes)) {
      const joined = this.#joiner.push(frame);
      if (joined.state === 'whole') this.#take(joined.message);
      if (joined.state !== 'broken') continue;
      faults.push(`transaction ${joined.transaction}: ${joined.why}`);
      this.#send({ kind: 'function-error', transaction: joined.transaction, error: joined.protocolError });
    }
    if (this.#splitter.droppedBytes === this.#droppedBytes) return;
    this.#droppedBytes = this.#splitter.droppedBytes;
    faults.push(`${this.#droppedBytes} bytes that are no MBIM so far`);
  }

  close(): void {
    this.#closed = true;
    this.#forget();
  }

  #take(message: MbimMessage): void {
    const { modem } = this.#options;
    if (modem.knobs.hung) return;
    switch (message.kind) {
      case 'open':
        if (modem.knobs.ignoredOpens > 0) {
          modem.knobs.ignoredOpens -= 1;
          return;
        }
        if (!this.#configured) modem.faults.push('OPEN before the proxy knew the device');
        this.#hostLimit = Math.max(MIN_CONTROL_TRANSFER, message.maxControlTransfer);
        this.#opened = true;
        this.#subscribed = DEFAULT_EVENTS;
        this.#later({ kind: 'open-done', transaction: message.transaction, status: 0 });
        return;
      case 'close':
        this.#opened = false;
        this.#later({ kind: 'close-done', transaction: message.transaction, status: 0 });
        return;
      case 'command':
        void this.#command(message);
        return;
      case 'host-error':
        // The host complains of what a knob made wrong.
        return;
      default:
        modem.faults.push(`a host sent ${message.kind}`);
    }
  }

  async #command(command: Command): Promise<void> {
    const { modem } = this.#options;
    const { transaction, service, cid } = command;
    if (service === SERVICES.proxyControl && this.#options.proxy)
      return this.#reply(command, this.#configure(command));
    const error = this.#functionError();
    if (error !== null) return this.#later({ kind: 'function-error', transaction, error });
    if (modem.knobs.busyTimes > 0) {
      modem.knobs.busyTimes -= 1;
      return this.#reply(command, { status: STATUS_BUSY, info: Buffer.alloc(0) });
    }
    const status = modem.knobs.nextStatus;
    if (status !== null) {
      modem.knobs.nextStatus = null;
      return this.#reply(command, { status, info: Buffer.alloc(0) });
    }
    const found = ANSWERS.find(
      one => one.service === service && one.cid === cid && one.action === command.action,
    );
    if (found === undefined) {
      modem.faults.push(`unknown command: ${command.action} ${cid} of ${service}`);
      return this.#reply(command, { status: STATUS_NO_DEVICE_SUPPORT, info: Buffer.alloc(0) });
    }
    modem.exercised.add(found.fact);
    try {
      if (service === SERVICES.basicConnect && cid === CIDS.subscribeList)
        this.#subscribed = readSubscriptions(command.info);
      this.#reply(
        command,
        await found.answer(modem, new InfoReader(command.info, `${command.action} ${cid}`)),
      );
    } catch (fault) {
      modem.faults.push(`${command.action} ${cid} of ${service}: ${messageOf(fault)}`);
      this.#reply(command, { status: STATUS_INVALID_PARAMETERS, info: Buffer.alloc(0) });
    }
  }

  #configure(command: Command): Answer {
    const { modem } = this.#options;
    try {
      const request = new InfoReader(command.info, 'proxy configuration');
      const path = request.string('device path');
      request.u32('timeout');
      if (command.cid !== CIDS.proxyConfiguration || command.action !== 'set' || path === '')
        throw new Error(`${command.action} ${command.cid} for "${path}"`);
      this.#configured = true;
      modem.exercised.add('libmbim 1.28.2, proxy configuration');
      return { status: 0, info: Buffer.alloc(0) };
    } catch (fault) {
      modem.faults.push(`proxy: ${messageOf(fault)}`);
      return { status: STATUS_FAILURE, info: Buffer.alloc(0) };
    }
  }

  /** The FUNCTION_ERROR that is due instead of an answer. */
  #functionError(): number | null {
    const { knobs } = this.#options.modem;
    const error = knobs.nextFunctionError;
    if (error !== null) {
      knobs.nextFunctionError = null;
      if (error === ERROR_NOT_OPENED) this.#opened = false;
      return error;
    }
    return this.#opened ? null : ERROR_NOT_OPENED;
  }

  #reply(command: Command, { status, info }: Answer): void {
    const { knobs } = this.#options.modem;
    const { service, cid } = command;
    if (service === SERVICES.basicConnect && command.action === 'set' && knobs.lostSets.includes(cid)) return;
    let { transaction } = command;
    if (knobs.nextWrongTransaction) {
      knobs.nextWrongTransaction = false;
      transaction += 1_000;
    }
    let sent = info;
    if (knobs.nextTruncatedInfo !== null) {
      sent = info.subarray(0, knobs.nextTruncatedInfo);
      knobs.nextTruncatedInfo = null;
    }
    for (let count = 0; count < knobs.stormIndications; count += 1) this.#indicate('register');
    this.#later({ kind: 'command-done', transaction, service, cid, status, info: sent });
  }

  #indicate(change: Change): void {
    const { modem } = this.#options;
    if (!this.#opened || modem.knobs.hung) return;
    const [service, cid, info] = indicationOf(modem, change);
    if (this.#subscribed.has(`${service} ${cid}`))
      this.#send({ kind: 'indication', transaction: 0, service, cid, info });
  }

  #later(message: MbimMessage): void {
    const { modem } = this.#options;
    if (modem.knobs.replyDelayMs === 0) this.#send(message);
    else modem.clock.after(modem.knobs.replyDelayMs, () => this.#send(message));
  }

  #send(message: MbimMessage): void {
    if (this.#closed) return;
    const { modem, write } = this.#options;
    const limit = Math.min(modem.knobs.fragmentBytes ?? this.#hostLimit, this.#hostLimit);
    const frames = this.#spoilt(writeMessage(message, limit), message.kind);
    const noise = Buffer.alloc(modem.knobs.noiseBytes, 0xee);
    const bytes = Buffer.concat(frames.flatMap(frame => [noise, frame]));
    for (const chunk of this.#cut(bytes)) write(chunk);
  }

  #spoilt(frames: Buffer[], kind: MbimMessage['kind']): Buffer[] {
    const { knobs } = this.#options.modem;
    const fault = knobs.nextFragmentFault;
    if (fault === 'none' || frames.length < 2 || kind !== 'command-done') return frames;
    knobs.nextFragmentFault = 'none';
    const [first, second, ...rest] = frames as [Buffer, Buffer, ...Buffer[]];
    switch (fault) {
      case 'missing-last':
        return frames.slice(0, -1);
      case 'swapped':
        return [second, first, ...rest];
      case 'doubled':
        return [first, first, second, ...rest];
    }
  }

  #cut(bytes: Buffer): Buffer[] {
    const { knobs, random } = this.#options.modem;
    if (knobs.writes === 'whole') return [bytes];
    const chunks: Buffer[] = [];
    for (let at = 0; at < bytes.length; ) {
      const size = knobs.writes === 'bytes' ? 1 : 1 + Math.floor(random() * LARGEST_CUT);
      chunks.push(bytes.subarray(at, at + size));
      at += size;
    }
    return chunks;
  }
}

function readSubscriptions(info: Buffer): Set<string> {
  const request = new InfoReader(info, 'subscription list');
  const wanted = new Set<string>();
  for (const element of request.structures('service', request.u32('count'))) {
    const service = element.uuid('service');
    const count = element.u32('command count');
    for (let index = 0; index < count; index += 1) wanted.add(`${service} ${element.u32('command')}`);
  }
  return wanted;
}

function indicationOf(modem: MbimModem, change: Change): [service: string, cid: number, info: Buffer] {
  const { basicConnect, sms, ussd } = SERVICES;
  if (typeof change === 'object')
    return 'sms' in change
      ? [sms, CIDS.smsStoreStatus, storeStatusInfo(change.sms, change.index)]
      : [ussd, CIDS.ussd, ussdInfo(change.ussd, true)];
  switch (change) {
    case 'subscriber':
      return [basicConnect, CIDS.subscriberReady, subscriberInfo(modem)];
    case 'radio':
      return [basicConnect, CIDS.radioState, radioInfo(modem)];
    case 'register':
      return [basicConnect, CIDS.registerState, registerInfo(modem)];
    case 'packet-service':
      return [basicConnect, CIDS.packetService, packetServiceInfo(modem)];
    case 'connect':
      return [basicConnect, CIDS.connect, connectInfo(modem)];
  }
}
